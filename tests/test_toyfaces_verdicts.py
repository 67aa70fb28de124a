"""The verdict by texts and by clicks beside that by the toy reader."""

import re
from dataclasses import replace

import numpy as np
from test_verdict import cell

from hcache.cards import default_spec
from hcache.extraction.run import extract
from hcache.models.loading import load_model
from hcache.toyfaces import verdicts
from hcache.toyfaces.factors import NAMES
from hcache.toyfaces.verdicts import TEXTS, TOY, Answer, table


def answer(p):
    told = replace(cell(0.4), family_p=p)
    return Answer(own=told, toy=told)


def test_the_table_counts_where_ways_say_the_same():
    found = {
        TOY: {name: answer(0.05) for name in NAMES},
        TEXTS: {name: answer(0.05 if i else 0.4) for i, name in enumerate(NAMES[1:])},
    }
    said = table(found)
    assert f"{TEXTS}: the same answer for {len(NAMES) - 2} of {len(NAMES) - 1} factors" in said
    first = next(line for line in said.splitlines() if NAMES[0].replace("_", " ") in line)
    assert "yes, +0.40" in first and "refused" in first, "texts have no answer to the first"
    second = next(line for line in said.splitlines() if NAMES[1].replace("_", " ") in line)
    assert "| no, +0.40" in second


def test_the_command_measures_both_and_goes_on_where_it_stood(tmp_path, capsys, monkeypatch):
    spec = default_spec("toyfaces-ddpm-64", samples=16, steps=2, store={"h": "full"})
    run = extract(load_model("toyfaces-ddpm-64"), spec, tmp_path)
    monkeypatch.setattr(verdicts, "NAMES", NAMES[:1])
    asked = [str(run.folder), "--samples", "4", "--nulls", "2", "--strengths", "0", "1"]
    asked += ["--positives", "8", "--ways", TEXTS]
    verdicts.main(asked)
    said = capsys.readouterr().out
    assert re.search(rf"{TEXTS}: the same answer for [01] of 1 factors", said)
    assert len(re.findall(r"(?:yes|no), [+-]\d", said)) == 2

    def unrunnable(*_):
        raise AssertionError("nothing is rendered again")

    monkeypatch.setattr("hcache.measures.driver.Driver.images", unrunnable)
    verdicts.main(asked)
    assert capsys.readouterr().out == said


def test_a_reading_is_taken_once_of_each_reader():
    calls = []

    class Counting:
        def __call__(self, pictures):
            calls.append(len(pictures))
            return {"a": [1.0], "b": [2.0]}

    reader = Counting()
    found = verdicts.read_all({"way": {"a": reader, "b": reader}}, np.zeros(1))
    assert found == {"way/a": [1.0], "way/b": [2.0]} and calls == [1]
