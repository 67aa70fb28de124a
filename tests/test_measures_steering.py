"""Whether sparse features detect labels and move them, beside PCA and the naive direction."""

import dataclasses
import re

import numpy as np
import pytest
from test_sparse import OPTIONS, planted, run_of
from test_suite import read
from tiny import drain

from hcache.cache.records import load_sheet
from hcache.errors import AnalysisError
from hcache.extraction.run import extract
from hcache.measures.declared.steering import MEASURE, cells, verdict
from hcache.measures.driver import Driver
from hcache.measures.setting import Setting
from hcache.measures.steering import (
    COMPONENT,
    FEATURE,
    NAIVE,
    detection,
    fitted,
    steering,
)
from hcache.progress import drive
from hcache.sparse.dictionary import make_dictionary
from hcache.sparse.plan import plan_of


def test_detection_is_the_correlation_of_held_out_samples():
    rng = np.random.default_rng(0)
    x, held_out = rng.normal(size=200), np.arange(200) % 2 == 0
    label = np.where(held_out, x + 0.5 * rng.normal(size=200), -x).astype(np.float32)
    label[:10] = np.nan
    rows = held_out & np.isfinite(label)
    found = detection(x, label, held_out)
    expected = np.corrcoef(x[rows], label[rows])[0, 1]
    assert found["detects"].value == pytest.approx(expected, abs=1e-6)
    assert found["detects"].n == rows.sum() == 95 and found["detects_p"] == 0.001
    assert found["detects"].low < expected < found["detects"].high < 1


def test_noise_is_not_detected_and_too_few_say_so():
    rng = np.random.default_rng(1)
    every = np.ones(40, bool)
    p = [detection(rng.normal(size=40), rng.normal(size=40), every)["detects_p"] for _ in range(40)]
    assert np.mean(np.array(p) <= 0.05) <= 0.15 and 0.3 < np.mean(p) < 0.7
    few = detection(rng.normal(size=40), rng.normal(size=40), np.arange(40) < 4)
    assert not few["detects"].defined and few["detects_p"] is None
    assert "4 held-out samples" in few["detects"].why
    same = detection(np.zeros(40), rng.normal(size=40), every)
    assert "all the same" in same["detects"].why


def test_the_feature_that_carries_a_label_is_found(tmp_path):
    """One planted direction is there twice as often in half of the samples, and is the label."""
    h, atoms = planted(n=60)
    label = (np.arange(60) % 2).astype(np.float32)
    more = np.random.default_rng(2).random(h.shape[:2] + h.shape[3:]) < 0.4 * label[:, None, None]
    h += (1.5 * more[:, :, None] * atoms[0][:, None, None]).astype(np.float32)
    run = run_of(tmp_path, h)
    _, dictionary = drain(make_dictionary(run, plan_of(run, "h", OPTIONS | {"tokens": 60_000})))
    held_out = np.isin(run.sample_ids, dictionary.about["held_out"])
    ways = drive(fitted(run, dictionary, {"there": label, "gone": 1 - label}, ~held_out))
    found = ways["there"][FEATURE]
    truth = atoms[0] / dictionary.array("sigma").mean((0, 2))
    own = dictionary.decoder[found.number]
    assert own @ truth / np.linalg.norm(truth) > 0.9
    told = detection(found.values, label, held_out)
    assert told["detects"].value > 0.8 and told["detects_p"] < 0.01
    opposite = ways["gone"][FEATURE]
    assert opposite.number == found.number
    np.testing.assert_array_equal(opposite.move.delta, -found.move.delta)
    assert found.move.cosine(ways["there"][NAIVE].move) > 0.25


@pytest.fixture(scope="module")
def measured(tiny_spec, tiny_model, tmp_path_factory):
    """Two readings of the tiny model's samples, tried on the held-out ones."""
    spec = dataclasses.replace(tiny_spec, samples=25)
    tiny_run = extract(tiny_model, spec, tmp_path_factory.mktemp("steered"))
    plan = plan_of(tiny_run, "h", OPTIONS | {"features": 0, "active": 0, "tokens": 2000})
    driver = Driver(tiny_model, tiny_run, read, "own")
    labels = read(tiny_run.images)
    return tiny_run, *drain(steering(driver, plan, labels, 9, (-1.0, 0.0, 1.0), nulls=3))


def test_all_three_ways_are_measured_alike(measured):
    run, shares, record = measured
    assert shares == sorted(shares) and shares[-1] == 1
    assert set(record.result["labels"]) == {"light", "warm"}
    for ways in record.result["labels"].values():
        for way in (FEATURE, COMPONENT, NAIVE):
            control = ways[way]["response"]["controllability"]
            assert np.isfinite(control["change"]["value"]) and 0 < control["p"] <= 1
            assert control["directions"] == 3
            assert "linearity" in ways[way]["response"]
        slope = {
            way: ways[way]["response"]["controllability"]["change"]["value"]
            for way in (FEATURE, NAIVE)
        }
        difference = slope[FEATURE] - slope[NAIVE]
        assert ways["beside"][NAIVE]["value"] == pytest.approx(difference, abs=1e-6)
    for each in record.result["leakage"].values():
        assert each["chance"] == 0.5 and len(each["leakage"]["matrix"]) == 2
    assert load_sheet(run, record.kind, record.parameters) is None


def test_too_few_samples_to_try_are_refused(tiny_run, tiny_model, measured):
    plan = plan_of(tiny_run, "h", OPTIONS | {"features": 0, "active": 0, "tokens": 500})
    driver = Driver(tiny_model, tiny_run, read, "own")
    with pytest.raises(AnalysisError, match="tried on 5 held-out samples or more, got 2; extract"):
        drain(steering(driver, plan, read(tiny_run.images), 9, (-1.0, 0.0, 1.0), nulls=3))
    for run, samples, said in (
        (tiny_run, 16, "got 2; extract 25 samples"),
        (measured[0], 4, "got 4; use"),
    ):
        setting = Setting(run, (), lambda: driver, {"samples": samples})
        assert said in MEASURE.refuses(setting)


def test_a_result_answers_two_questions_a_label(measured):
    run, _, record = measured
    found = {(cell.question, cell.subject): cell for cell in cells(record, run)}
    assert set(found) == {
        (question.name, label) for question in MEASURE.questions for label in ("light", "warm")
    }
    for cell in found.values():
        assert (cell.null is not None) == cell.estimate.defined


def ways_of(detects_p, steers_p, low, high):
    """Answers as they are stored."""
    return {
        FEATURE: {"detects_p": detects_p, "response": {"controllability": {"p": steers_p}}},
        "beside": {
            "naive": {"value": (low + high) / 2, "low": low, "high": high, "n": 9, "level": 0.95}
        },
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((0.01, 0.5, -2, -1), "detects the label, but does not move it.*; less than the naive"),
        ((0.01, 0.01, 1, 2), "detects the label, and moves it; more than the naive"),
        ((0.4, 0.01, -1, 1), "does not detect .* beyond chance, but moves it; as far as"),
        ((0.4, 0.5, -1, 1), "does not detect .* beyond chance, and does not move it"),
        ((None, 0.01, -1, 1), "was not tried as a detector, and moves it"),
    ],
)
def test_the_verdict_says_whether_a_feature_detects_and_steers(given, said):
    assert re.match(said, verdict(ways_of(*given)))
