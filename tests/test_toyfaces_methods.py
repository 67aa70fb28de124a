"""The comparison of methods on toyfaces: what is measured is what the table says."""

import json
from pathlib import Path

import numpy as np
import pytest

from hcache.cards import default_spec
from hcache.directions.fitting import METHODS
from hcache.toyfaces import methods
from hcache.toyfaces.factors import NAMES
from hcache.toyfaces.measure import ATTRIBUTES, MODEL
from hcache.toyfaces.reader import WEIGHTS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
MEASURED = WEIGHTS.parent / "methods.json"


def test_changes_are_per_unit_of_strength_and_in_spreads():
    rng = np.random.default_rng(0)
    before = {name: rng.normal(size=500) for name in NAMES}
    after = {name: values + 3 * (name == "yaw") + rng.normal(size=500) for name, values in before.items()}
    found = methods.changes(before, after, {name: 2.0 for name in NAMES}, 0.5)
    mean, low, high, absolute = found["yaw"]
    assert mean == pytest.approx(3, abs=0.15) and low < 3.05 and high > 2.95 and absolute >= mean
    assert all(abs(found[name][0]) < 0.15 < 0.6 < found[name][3] for name in NAMES if name != "yaw")


def test_the_table_has_a_line_a_cell_with_its_worst_side_effect():
    def cell(method, attribute, **moved):
        changes = {name: [moved.get(name, 0.0), -0.1, 0.1, abs(moved.get(name, 0.0))] for name in NAMES}
        return {"method": method, "attribute": attribute, "seconds": 1.0, "changes": changes}

    facts = {"cells": [cell("naive", "smile", smile=0.5, yaw=-0.3, skin=0.1), cell("PCA", "", glasses=-2.0, yaw=1.0),
                       cell("random", "", skin=0.2, yaw=-0.1)]}  # fmt: skip
    head, _, first, second, *random = methods.as_table(facts).splitlines()
    assert head.startswith("| attribute | method")
    assert first.startswith("| smile | naive | +0.50 (-0.10 to +0.10) | yaw -0.30 | 0.06 | 1.0 |")
    assert second.startswith("| glasses (moved most) | PCA | -2.00") and "yaw +1.00" in second
    assert [line.split(" | ")[0][2:] for line in random] == [name.replace("_", " ") for name in ATTRIBUTES]
    assert any(line.startswith("| yaw | random | -0.10") and "skin +0.20" in line for line in random)


def test_few_positives_are_chosen_as_their_names_say():
    class Labelled:
        labels = {"toyfaces": {}}
        sample_ids = np.arange(400)

    rng, run = np.random.default_rng(0), Labelled()
    run.labels = {"toyfaces": {"glasses": rng.random(400), "yaw": rng.uniform(-1, 1, 400)}}
    chosen, yaw = methods.few_positives(run), run.labels["toyfaces"]["yaw"]
    assert [len(samples) for samples in chosen.values()] == [5, 20, 100, 20, 20]
    one, two = yaw[list(chosen["20 of one pose"])], yaw[list(chosen["20 of two poses"])]
    assert np.abs(one).max() < 0.2 and np.abs(two).min() > 0.7 and abs(two.mean()) < 0.2
    assert all((run.labels["toyfaces"]["glasses"][list(samples)] > 0.5).all() for samples in chosen.values())


def test_what_the_readme_says_of_the_methods_is_what_was_measured_on_these_weights():
    facts = json.loads(MEASURED.read_text())
    assert facts["settings"]["weights"] == default_spec(MODEL).weights, "measure again: the weights have changed"
    assert methods.as_table(facts) in README
    measured = {cell["method"].split(",")[0].split()[0].lower() for cell in facts["cells"]}
    assert set(METHODS) - {"asyrp", "arithmetic"} <= measured | {"conditional"}
    assert {cell["attribute"] for cell in facts["cells"] if cell["attribute"]} == set(ATTRIBUTES)
