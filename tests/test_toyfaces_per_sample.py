"""Per-sample methods against the naive direction: what is tried, and what is kept."""

from types import SimpleNamespace

import numpy as np
import pytest

from hcache.toyfaces import per_sample
from hcache.toyfaces.factors import NAMES
from hcache.toyfaces.measure import ATTRIBUTES


@pytest.fixture
def run():
    """512 samples whose labels are drawn independently; glasses are on or off."""
    rng = np.random.default_rng(0)
    labels = {name: rng.normal(size=512) for name in NAMES}
    labels["glasses"] = (rng.random(512) < 0.3).astype(float)
    return SimpleNamespace(name="r", labels={"toyfaces": labels}, sample_ids=np.arange(512))


def test_positives_are_of_one_kind_of_two_or_the_highest(run):
    labels = run.labels["toyfaces"]
    for attribute in ATTRIBUTES:
        sets = per_sample.positives_of(labels, run, attribute)
        kinds = labels["hair_colour" if attribute == "yaw" else "yaw"]
        one, two = kinds[sets[per_sample.ALIGNED]], kinds[sets[per_sample.MISALIGNED]]
        assert len(set(sets[per_sample.MISALIGNED])) == len(one) == len(two) == per_sample.FEW
        assert np.abs(one).max() < 0.5 < np.abs(two).min(), "near the middle; far from it"
        assert (two > 0).sum() == (two < 0).sum() == per_sample.FEW // 2
        lowest = 0.5 if attribute == "glasses" else np.quantile(labels[attribute], 0.75)
        assert labels[attribute][sets[per_sample.ALIGNED] + sets[per_sample.MISALIGNED]].min() > (
            lowest
        )
        highest = np.sort(labels[attribute])[-64:]
        assert sorted(labels[attribute][sets[per_sample.HIGHEST]]) == highest.tolist()


def test_every_cell_is_named_once_and_what_decides_comes_first(run):
    found = list(per_sample.cells(run))
    assert len({cell.key for cell in found}) == len(found)
    rows = [cell.row for cell in found if cell.key[:2] == (per_sample.MISALIGNED, "smile")]
    assert rows == [
        "naive",
        "VAE, all of h",
        "VAE, 32 components",
        "local naive",
        "VAE, 32 components, one a step",
    ]
    assert {cell.attribute for cell in found} == set(ATTRIBUTES)


def test_changes_of_further_samples_are_added_and_compared_in_pairs(run):
    rng, facts = np.random.default_rng(1), {"cells": []}
    cells = [cell for cell in per_sample.cells(run) if cell.attribute == "smile"][:2]
    made = SimpleNamespace(
        move=SimpleNamespace(made_by={"net": {"net_rms": 1.0, "to_mean": 0.1}}), seconds=1.0
    )
    shared = {name: rng.normal(size=64) for name in NAMES}
    for start in (0, 32):
        for number, cell in enumerate(cells):
            changes = {
                name: (shared[name][start : start + 32] + 1 - 0.5 * number).tolist()
                for name in NAMES
            }
            per_sample.keep(facts, cell, made, run, None, changes)
    table = per_sample.as_table(facts)
    naive, other = (line for line in table.splitlines() if line.startswith("| smile"))
    assert f"**Positives: {per_sample.MISALIGNED}**" in table and table.count("**Positives") == 1
    assert naive.split("|")[3].strip() == other.split("|")[3].strip() == "64"
    assert naive.split("|")[5].strip() == ""
    assert other.split("|")[5].strip() == "-0.50 (-0.50 to -0.50)", "what both share cancels"
    low, high = naive.split("(")[1].split(")")[0].split(" to ")
    assert float(high) - float(low) > 0.3, "one alone varies over samples"
