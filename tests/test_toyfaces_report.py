"""The report on the toy models: what the documentation states is what the files of results say."""

import json
from pathlib import Path

import numpy as np
import pytest

from hcache.cards import default_spec
from hcache.errors import UsageError
from hcache.toyfaces import report
from hcache.toyfaces.measure import ATTRIBUTES, grain
from hcache.toyfaces.reader import WEIGHTS

DOCS = Path(__file__).parent.parent / "docs"
KNOWN = ("weights", "samples", "directions", "meaningless", "methods", "per-sample")


def test_grain_is_the_deviation_of_white_noise_and_nothing_else():
    rng = np.random.default_rng(0)
    flat = np.full((2, 64, 64, 3), 128.0)
    flat[:, :32] = 40  # a straight edge is no grain
    assert grain(flat.astype(np.uint8)) == 0
    for deviation in (0.05, 0.1):
        noisy = flat + 127.5 * deviation * rng.normal(size=flat.shape)
        assert grain(noisy.clip(0, 255).round().astype(np.uint8)) == pytest.approx(
            deviation, rel=0.05
        )


def test_a_table_is_written_between_its_comments_and_nothing_else_changes():
    text = "a\n<!-- measured: weights -->\nold\nrows\n<!-- end -->\nb\n"
    after = report.filled(text, {"weights": "| new |"})
    assert after == "a\n<!-- measured: weights -->\n| new |\n<!-- end -->\nb\n"
    assert report.filled(after, {"weights": "| new |"}) == after
    assert report.filled("no tables\n", {}) == "no tables\n"
    with pytest.raises(UsageError, match="no measured table is named 'weight'.*weights"):
        report.filled(text.replace("weights", "weight"), {"weights": ""})


def test_the_documentation_has_the_tables_as_they_were_measured():
    found, asked = report.tables(), []
    for path in DOCS.rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        asked += [match["name"] for match in report.BLOCK.finditer(text)]
        assert report.filled(text, found) == text, (
            f"{path.name}: run python -m hcache.toyfaces.report again"
        )
    assert set(asked) >= set(KNOWN) and len(asked) == len(set(asked))


def test_every_method_for_each_sample_was_tried_on_128_samples():
    facts = json.loads((WEIGHTS.parent / "per_sample.json").read_text())
    assert len(facts["cells"]) == 60
    for cell in facts["cells"]:
        assert {len(values) for values in cell["changes"].values()} == {128}, cell["row"]


def test_directions_stand_beside_random_positives_at_three_lengths():
    def beside(value: float, p: float) -> dict:
        change = {"value": value, "low": value - 0.5, "high": value + 0.5, "n": 16}
        return {"change": change, "random": 0.25, "p": p}

    found = {"equal": beside(1.0, 0.005), "own": beside(0.5, 0.02), "rest": None}
    table = report.random_table({"model": {"readings": {"smile": found}}}).splitlines()
    assert table[0] == "| direction | length | `model` |"
    assert "| smile | equal length | +1.00 (+0.50 to +1.50); random 0.25; p 0.005 |" in table
    assert "| smile | own length | +0.50 (+0.00 to +1.00); random 0.25; p 0.020 |" in table
    assert "| smile | 5 components out | no random direction changes it |" in table
    assert len(table) == 2 + len(ATTRIBUTES) * 3


@pytest.mark.parametrize("model", report.MODELS)
def test_the_results_are_of_the_weights_that_ship(model):
    weights = default_spec(model).weights
    files = [WEIGHTS.parent / f"{model}.{part}.json" for part in ("facts", "verdict")]
    if model == report.MODEL:
        files += [WEIGHTS.parent / f"{part}.json" for part in ("readers", "methods", "per_sample")]
    for path in filter(Path.exists, files):
        assert json.loads(path.read_text())["settings"]["weights"] == weights, path.name
    card = (WEIGHTS.parent / model / "README.md").read_text(encoding="utf-8")
    assert f"`{weights}`" in card, "run python -m hcache.toyfaces.card again"


def test_a_table_of_directions_names_the_strength_of_the_largest_change():
    facts = {
        model: {
            "directions": {
                name: {at: {name: [float(at) * sign, -1.0, 1.0]} for at in ("1.2", "2")}
                for name in ATTRIBUTES
            }
        }
        for model, sign in (("a", 1), ("b", -1))
    }
    first = report.directions_table(facts).splitlines()[2]
    assert first == "| yaw | +2.00 (-1.00 to +1.00) at 2 | -2.00 (-1.00 to +1.00) at 2 |"


def test_a_verdict_shows_what_all_models_have_and_says_what_is_not_defined():
    def cell(question, value):
        return {"question": question, "subject": "h", "value": value, "low": 0.1, "high": 0.3}

    verdicts = {
        report.MODELS[0]: {"cells": [cell("read", 0.2), cell("carried", 0.2)]},
        report.MODELS[1]: {"cells": [cell("read", None)]},
    }
    assert report.verdict_table(verdicts).splitlines()[2:] == [
        "| read h | 0.20 (0.10 to 0.30) | not defined |"
    ]


def test_the_command_measures_what_is_asked_for_and_writes_it(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        report,
        "WORK",
        {part: lambda *given, part=part: asked.append((part, given[0])) for part in report.PARTS},
    )
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("<!-- measured: weights -->\n<!-- end -->\n")
    report.main(
        ["--work", str(tmp_path), "--only", "facts", "--model", report.MODEL, "--docs", str(docs)]
    )
    assert asked == [("facts", report.MODEL)]
    assert default_spec(report.MODEL).weights[:12] in (docs / "a.md").read_text()
