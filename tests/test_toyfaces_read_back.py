"""Readers by texts and by clicks on the drawn faces, whose factors are known."""

import json

import pytest

from hcache.cards import default_spec
from hcache.extraction.run import extract
from hcache.models.loading import load_model
from hcache.toyfaces import read_back
from hcache.toyfaces.drawing import draw_dataset
from hcache.toyfaces.factors import NAMES


def test_texts_read_the_factors_of_drawings():
    """As docs/reference/readers.md says of 512 of them; 0.9 leaves room for 96."""
    from numpy import corrcoef

    pictures, factors = draw_dataset(range(20_000_000, 20_000_096))
    found = read_back.by_texts()(pictures)
    for i, name in enumerate(NAMES):
        assert corrcoef(found[name], factors[:, i])[0, 1] > 0.85, name


def test_the_command_tells_every_factor(tmp_path, capsys, monkeypatch):
    spec = default_spec("toyfaces-ddpm-64", samples=12, steps=2, store={"h": "none"})
    run = extract(load_model("toyfaces-ddpm-64"), spec, tmp_path)
    monkeypatch.setattr(read_back, "NAMES", NAMES[:1])
    read_back.main([str(run.folder), "--drawings", "16", "--positives", "8"])
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert row["factor"] == NAMES[0] and -1 <= row["texts, truth"] <= 1
    assert row["clicks on pixels, truth"] == "refused" or -1 <= row["clicks on pixels, truth"] <= 1
    assert row["texts, toy reader"] == pytest.approx(row["texts, toy reader"])
