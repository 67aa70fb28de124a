"""Directions beside random positives, by one-step previews, at three lengths."""

import numpy as np
import pytest
from linear import NAMES, linear_model, read
from msgspec import structs
from tiny import drain, synthetic_run

from hcache.cache.labels import save_labels
from hcache.cache.reading import open_run
from hcache.cache.records import list_records
from hcache.directions.differences import EQUAL, LENGTHS, OWN, REST, differences
from hcache.directions.supervised import difference_direction
from hcache.errors import AnalysisError, UsageError
from hcache.extraction.run import extract
from hcache.figures.evidence import chart_of
from hcache.measures import setting as setting_module
from hcache.measures.cells import cells_of
from hcache.measures.declared.random import BEYOND_RANDOM, cells, exhibits
from hcache.measures.driver import Driver
from hcache.measures.evidence import Evidence
from hcache.measures.judged import null_in_words
from hcache.measures.kinds import PREVIEWS
from hcache.measures.previews import against_random, agreement, compared_with_random
from hcache.measures.registry import measures
from hcache.measures.suite import Suite
from hcache.progress import drive
from hcache.specs import RunSpec

SETS = ([*range(0, 10)], [*range(10, 20)])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """60 samples of 3 steps whose h has two strong components."""
    rng = np.random.default_rng(0)
    h = rng.normal(size=(3, 60, 64)) + 4 * rng.normal(size=(60, 2)) @ rng.normal(size=(3, 2, 64))
    spec = RunSpec(model="planted", samples=60, steps=3, store_dtype="float32")
    home = tmp_path_factory.mktemp("differences")
    return synthetic_run(home, spec, h.reshape(3, 60, 4, 4, 4).astype(np.float32))


def test_many_differences_are_those_made_one_by_one(plain):
    sets = [SETS, ([3, 4, 5], [30, 31])]
    found = drive(differences(plain, sets, 1, 2))
    for row, pair in enumerate(sets):
        alone = difference_direction(plain, *pair)
        np.testing.assert_allclose(found.delta[EQUAL][row], alone.delta[1], atol=1e-4)
        assert found.lengths[row] == pytest.approx(alone.length, rel=1e-4)
        own = found.lengths[row] * found.delta[EQUAL][row]
        np.testing.assert_allclose(found.delta[OWN][row], own, atol=1e-4)


def test_without_the_first_components_nothing_lies_along_them(plain):
    found = drive(differences(plain, [SETS], 1, 2))
    h = plain.matrix("h", 1)
    z = (h - h.mean(0)) / h.std(0)
    axes = np.linalg.svd(z, full_matrices=False)[2]
    along = found.delta[REST].reshape(1, -1) / h.std(0) @ axes.T
    assert np.abs(along[0, :2]).max() < 1e-3 < np.abs(along[0, 2:]).max()
    assert 0.3 < found.share[0] < 1, "h varies mostly along two components"
    whole = drive(differences(plain, [SETS], 1, 0))
    np.testing.assert_allclose(whole.delta[REST], whole.delta[EQUAL], rtol=1e-5)
    assert whole.share[0] == pytest.approx(0, abs=1e-6)


def test_what_has_no_difference_is_refused(plain):
    with pytest.raises(AnalysisError, match="same mean h"):
        drive(differences(plain, [([1, 2], [1, 2])], 1, 2))
    with pytest.raises(AnalysisError, match="59 principal components nothing is left"):
        drive(differences(plain, [SETS], 1, 59))
    with pytest.raises(AnalysisError, match="1 sample or more"):
        drive(differences(plain, [([], [1])], 1, 2))


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """The linear model's run; readings a, b, c and d, and a label that means nothing."""
    model = linear_model()
    spec = RunSpec(
        model="linear", samples=120, steps=4, batch=40, store={"h": "full"}, store_dtype="float32"
    )
    run = extract(model, spec, tmp_path_factory.mktemp("random home"))

    def reader(images):
        found = read(images)
        return {**found, "nothing": found["a"] * 0 + found["c"]}

    own = reader(run.images)
    own["nothing"] = np.random.default_rng(5).normal(size=len(run))
    columns = {
        name: dict(zip(run.sample_ids.tolist(), values.tolist(), strict=True))
        for name, values in own.items()
    }
    save_labels(run, "own", columns)
    run = open_run(run.folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setting_module, "readers_of", lambda run: ["own"])
        patch.setattr(setting_module, "STRENGTHS", (-0.2, -0.1, 0.0, 0.1, 0.2))
        sizes = {"samples": 12, "nulls": 19, "random_positives": 99, "components_out": 1}
        found = Suite(run, ("a", "nothing"), lambda: Driver(model, run, reader, "own"), sizes)
        drive(found.run_all(["random", "directions"]))
    return found


def test_a_planted_direction_is_beyond_random_positives_and_one_of_nothing_is_not(suite):
    known = cells_of(suite.run)
    planted, nothing = (known[BEYOND_RANDOM, name] for name in ("a", "nothing"))
    assert planted.p == 0.01 and planted.estimate.value > 2 * planted.null
    assert nothing.p > 0.05 and len(nothing.drawn) == 99
    for words in ("equal length", "own length", "without the first components", "99 random"):
        assert words in planted.note
    assert planted.warning == "" and "agree with full renders of 20 directions" in planted.note


def test_previews_are_told_apart_from_renders_that_they_do_not_stand_for(suite):
    (record,) = [
        each for each in list_records(suite.run, PREVIEWS) if each.parameters["name"] == "a"
    ]
    (rendered,) = [
        each for each in list_records(suite.run, "direction") if each.parameters["name"] == "a"
    ]
    r, count = agreement(record, rendered, "a")
    assert r > 0.9 and count == 20
    swapped = {**record.result["readings"], "a": record.result["readings"]["c"]}
    other = structs.replace(record, result={**record.result, "readings": swapped})
    assert agreement(other, rendered, "a")[0] < 0.5
    assert agreement(record, None, "a") is None


def test_three_lengths_stand_beside_each_other(suite):
    (record,) = [
        each for each in list_records(suite.run, PREVIEWS) if each.parameters["name"] == "a"
    ]
    found = record.result["readings"]["a"]
    assert set(LENGTHS) < set(found) and len(record.result["lengths"]) == 100
    ratio = found[OWN]["change"]["value"] / found[EQUAL]["change"]["value"]
    assert ratio == pytest.approx(record.result["lengths"][0], rel=0.05), "the response is linear"
    (exhibit,) = exhibits("a", {"run": Evidence(suite.run)})
    assert list(exhibit.shown.runs["run"]) == [
        "equal length",
        "own length",
        "without the first components",
    ]
    assert "random positives" in str(chart_of(exhibit.shown).to_dict())


def test_what_cannot_be_tried_is_refused_and_what_is_stored_is_looked_up(suite):
    driver = suite.driver
    with pytest.raises(UsageError, match="take 120 that are not tried"):
        drain(
            against_random(
                driver,
                "a",
                ([*range(60)], [*range(60, 120)]),
                [0, 1],
                2,
                directions=19,
                components=1,
            )
        )
    seconds = measures()["random"].parts(suite)
    assert [each.title for each in seconds] == [
        "a against random positives",
        "nothing against random positives",
    ]
    assert set(NAMES) <= set(driver.spreads)


def test_pages_say_which_null_a_direction_was_held_against(suite):
    words = null_in_words(suite.run, "a")
    for part in ("99 directions to random positives", "at equal length", "at its own length"):
        assert part in words
    assert "In full renders, beside 19 random directions to random positives" in words
    nothing = null_in_words(suite.run, "b")
    assert "was not compared with a null" in nothing and "--what random" in nothing


def test_where_no_random_direction_moves_a_reading_nothing_is_told(suite):
    (record,) = [
        each for each in list_records(suite.run, PREVIEWS) if each.parameters["name"] == "a"
    ]
    found = compared_with_random({at: np.zeros((20, 6)) for at in LENGTHS}, 20)
    assert found[EQUAL] is None and found[OWN] is None
    plain = {**record.result, "readings": {"a": {**found, "changes": [0.0] * 20}}}
    (cell,) = cells(structs.replace(record, result=plain), suite.run)
    assert not cell.estimate.defined and "there is no null" in str(cell)
