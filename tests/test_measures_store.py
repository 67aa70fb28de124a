"""Measures over a run: stored with what made them, looked up when asked again, stale when the
run grows.
"""

import json

import numpy as np
import pytest
from tiny import drain, synthetic_run

from hcache.analysis.estimate import Contrast, Estimate
from hcache.analysis.swaps import PIXELS
from hcache.cache import records
from hcache.cache.layout import MEASURES
from hcache.cache.reading import first_samples
from hcache.cache.records import (
    delete_stale,
    list_records,
    load_record,
    load_sheet,
    plain,
    record_path,
    save_record,
    stale_results,
)
from hcache.directions.direction import in_units, random_direction, spread
from hcache.directions.supervised import difference_direction
from hcache.edits.batches import RendersHere
from hcache.edits.declared import Moved
from hcache.edits.executor import Executor
from hcache.edits.pair_swap import PairSwap
from hcache.errors import UnknownSiteError, UsageError
from hcache.extraction.run import extract
from hcache.measures.declared.swaps import carriers, exhibits
from hcache.measures.decodability import alignment_of
from hcache.measures.driver import Driver, TrialGrid
from hcache.measures.edits import additivity_of, controllability_over, leakage_of
from hcache.measures.evidence import Evidence
from hcache.measures.exhibits import PictureSheet
from hcache.measures.noise import log_snr_of, says_noise
from hcache.measures.responses import direction, null_dimensions, responses
from hcache.measures.stored import Pictured, measured
from hcache.measures.stored_levels import configured_levels
from hcache.measures.swapping import COLUMNS, Pairs, swaps
from hcache.recipes.window import Window
from hcache.specs import RunSpec

ALL = Window(first=0, last=3)
QUICK = {"repeats": 50}


def read(images):
    """Two readings that any picture has."""
    pixels = images.astype(np.float64)
    return {"light": pixels.mean((1, 2, 3)), "warm": (pixels[..., 0] - pixels[..., 2]).mean((1, 2))}


@pytest.fixture
def driver(tiny_model, copied_run):
    return Driver(tiny_model, copied_run, read, "light and warm", batch=7)


@pytest.fixture
def move(copied_run):
    return random_direction(spread(copied_run), 3, copied_run.spec.model, copied_run.timesteps)


@pytest.fixture
def grid():
    return TrialGrid(samples=(0, 1, 2, 3), window=ALL, strengths=(-4.0, 0.0, 4.0))


class Unrunnable:
    """Stands for an executor that must not be run again."""

    def __getattr__(self, name):
        raise AssertionError(f"the executor was asked for {name}")


def test_a_result_is_stored_with_its_parameters_and_found_again(copied_run):
    estimate = Estimate(value=1.0, low=0.5, high=float("inf"), n=12)
    result = {"a": estimate, "b": np.arange(3), "c": (np.float32(2), None, True)}
    saved = save_record(copied_run, "thing", {"x": (1, 2)}, result)
    assert load_record(copied_run, "thing", {"x": [1, 2]}) == saved
    assert saved.result["b"] == [0, 1, 2] and saved.result["c"] == [2.0, None, True]
    assert saved.result["a"]["high"] is None and saved.samples == 12
    assert load_record(copied_run, "thing", {"x": (1, 3)}) is None
    assert load_record(copied_run, "other", {"x": (1, 2)}) is None
    assert list_records(copied_run) == [saved] == list_records(copied_run, "thing")
    assert (
        json.loads(record_path(copied_run, "thing", {"x": (1, 2)}).read_text())["kind"] == "thing"
    )
    with pytest.raises(UsageError, match="object is not"):
        plain({"a": object()})
    with pytest.raises(UsageError, match="kind"):
        save_record(copied_run, "../thing", {}, 1)


def test_results_are_stale_when_the_run_grows(tiny_model, tiny_spec, tmp_path):
    import dataclasses

    small = extract(tiny_model, dataclasses.replace(tiny_spec, samples=5), tmp_path)
    save_record(small, "thing", {}, 1)
    grown = extract(tiny_model, dataclasses.replace(tiny_spec, samples=10), tmp_path)
    assert load_record(grown, "thing", {}) is None and list_records(grown) == []
    assert load_record(small, "thing", {}).result == 1, "of what it is of it still is"
    save_record(grown, "other", {}, 2)
    assert delete_stale(grown) == 1 and [record.kind for record in list_records(grown)] == ["other"]
    (grown.folder / MEASURES / "thing-0123.json").write_text("{")
    assert [record.kind for record in list_records(grown)] == ["other"] and delete_stale(grown) == 1


def test_all_that_is_deleted_is_listed_before(copied_run, monkeypatch):
    save_record(copied_run, "current", {}, 1)
    folder = copied_run.folder / MEASURES
    (folder / "thing-0123.json").write_text("{")
    (folder / "of-someone-else.txt").write_text("notes")
    assert [path.name for path in stale_results(copied_run)] == ["thing-0123.json"]
    read = records.read_file
    monkeypatch.setattr(
        records, "read_file", lambda path: read(path) if path.suffix != ".json" else denied(path)
    )
    assert stale_results(copied_run) == [], "what may not be read now is no garbage"
    monkeypatch.undo()
    assert delete_stale(copied_run) == 1
    assert {path.name.partition("-")[0] for path in folder.iterdir()} == {"current", "of"}


def denied(path):
    raise PermissionError(path)


def test_the_noise_of_a_run_is_told_once(copied_run):
    """By its description; of a run of before, by what the model's configuration gives."""
    told = log_snr_of(copied_run)
    assert np.isfinite(told).all() and (np.diff(told) > 0).all()
    drain(configured_levels(copied_run))
    object.__setattr__(copied_run, "provenance", {})
    assert not says_noise(copied_run)
    np.testing.assert_allclose(log_snr_of(copied_run), told, atol=1e-6)
    for path in (copied_run.folder / MEASURES).glob("levels-*.json"):
        path.unlink()
    assert np.isnan(log_snr_of(copied_run)).all()


def test_what_is_stored_is_not_computed_again(copied_run):
    calls = []

    def compute():
        calls.append(1)
        yield 0.5
        return {"x": 1}

    for shares in ([0.5, 1.0], [1.0]):
        found, record = drain(measured(copied_run, "thing", {"k": 1}, compute))
        assert found == shares and record.result == {"x": 1}
    assert calls == [1]


def test_pictures_lie_beside_a_result_and_go_with_it(copied_run):
    sheet = np.random.default_rng(0).integers(
        0, 256, (2, 3, *copied_run.anatomy.image), dtype=np.uint8
    )

    def compute():
        yield 0.5
        return Pictured(result={"x": 1}, pictures=sheet)

    drain(measured(copied_run, "thing", {}, compute))
    np.testing.assert_array_equal(load_sheet(copied_run, "thing", {}), sheet)
    assert load_sheet(copied_run, "other", {}) is None
    path = record_path(copied_run, "thing", {}).with_suffix(".png")
    path.write_bytes(path.read_bytes()[:100])
    assert load_sheet(copied_run, "thing", {}) is None, (
        "what cannot be read is as good as not there"
    )
    object.__setattr__(copied_run, "shards", copied_run.shards[:1])
    assert delete_stale(copied_run) == 1 and not path.exists()


def test_alignment_is_stored_by_step(copied_run):
    shares, record = drain(alignment_of(copied_run, [4, 0, 7, 4], [0, 2], **QUICK))
    assert [row["step"] for row in record.result] == [0, 2] and record.parameters["positives"] == [
        0,
        4,
        7,
    ]
    assert {"alignment", "reliability", "p", "warning"} <= set(record.result[0]) and shares[-1] == 1
    with pytest.raises(UsageError, match="choose some"):
        next(alignment_of(copied_run, []))


def test_responses_at_strength_0_are_the_runs_own(driver, move, grid):
    shares, record = drain(responses(driver, move, grid))
    assert shares == sorted(shares) and shares[-1] == 1
    own = read(driver.run.images[:4])
    for name, values in record.result["readings"].items():
        assert np.shape(values) == (4, 3)
        np.testing.assert_array_equal(np.array(values)[:, 1], own[name])
    none = Moved(moves=(move,), strengths=(0.0,) * 4, window=ALL)
    _, again = drain(driver.images((0, 1, 2, 3), none, 0, asymmetric=True))
    assert np.abs(again.astype(int) - driver.unedited((0, 1, 2, 3))).max() <= 1, (
        "rendered anew it would be the same"
    )
    pixels = np.array(record.result["pixels"])
    assert (pixels[:, 1] == 0).all() and (pixels[:, [0, 2]] > 0).all()


def test_a_directions_measures_share_their_pictures_and_are_looked_up(driver, move, grid):
    _, record = drain(direction(driver, move, grid, nulls=2, **QUICK))
    assert set(record.result["readings"]) == {"light", "warm"}
    found = record.result["readings"]["light"]
    assert (
        found["curve"][1]["value"] == 0 and found["curve"][0]["low"] <= found["curve"][0]["value"]
    )
    assert (
        Estimate.from_json(found["linearity"]["slope"]).n == 4
        and len(found["linearity"]["nulls"]) == 2
    )
    assert found["verdict"] in (
        "linear",
        "monotone, not linear",
        "not linear",
        "undecided",
        "no further than random",
    )
    assert found["natural"] is None, "noise has no length of its own"
    assert found["controllability"]["directions"] == 2 and np.shape(found["null_curves"]) == (2, 3)
    assert len(list_records(driver.run, "responses")) == 3
    other = random_direction(spread(driver.run), 4, driver.run.spec.model, driver.run.timesteps)
    drain(responses(driver, other, grid))
    driver.renders = RendersHere(Unrunnable())
    assert drain(direction(driver, move, grid, nulls=2, **QUICK))[1] == record
    _, leak = drain(leakage_of(driver, {"light": move, "warm": other}, grid, **QUICK))
    matrix = leak.result["leakage"]["matrix"]
    assert (
        np.shape(matrix) == (2, 2)
        and leak.result["chance"] == 0.5
        and leak.parameters["moves"].keys() == {"light", "warm"}
    )


def test_random_directions_are_of_unit_length_and_of_two_kinds(driver):
    for kind in ("noise", "samples"):
        found = driver.randoms(3, kind)
        for each in found:
            assert np.sqrt(np.square(each.profile).mean()) == pytest.approx(1, rel=1e-4)
        assert len({each.delta.tobytes() for each in found}) == 3
        assert all(
            (a.delta == b.delta).all() for a, b in zip(found, driver.randoms(3, kind), strict=True)
        )
    with pytest.raises(UsageError, match="noise or samples"):
        driver.randoms(2, "none")


def test_the_null_of_samples_is_as_many_unseen_samples_at_their_own_length(driver):
    """What the same procedure makes of labels that are dealt out anew: same sizes, none that is
    tried.
    """
    run, tried = driver.run, (0, 1, 2)
    like = difference_direction(run, [4, 5, 6], [7, 8])
    for each in driver.randoms(5, "samples", like, tried):
        chosen = [each.made_by[name] for name in ("positives", "negatives")]
        assert [len(part) for part in chosen] == [3, 2] and not set(chosen[0]) & set(chosen[1])
        assert not set(sum(map(list, chosen), [])) & set(tried) and each.length > 0
    for each in driver.randoms(2, "samples", None, tried):
        assert len(each.made_by["positives"]) == (len(run) - 3) // 4
    grid = TrialGrid(samples=tried, window=ALL, strengths=(-1.0, 0.0, 1.0))
    _, record = drain(direction(driver, like, grid, nulls=3, null="samples", **QUICK))
    found, lengths = record.result["readings"]["light"], record.result["lengths"]
    assert len(lengths) == 4 and lengths[0] == pytest.approx(like.length)
    change = found["controllability"]["change"]["value"]
    assert found["natural"]["change"]["value"] == pytest.approx(change * like.length)
    assert record.result["null_dimensions"] is None, "of 3 it cannot be told"
    with pytest.raises(UsageError, match="try fewer"):
        driver.randoms(2, "samples", like, run.sample_ids.tolist())


def test_random_directions_in_few_dimensions_are_told_to_be_so():
    rng = np.random.default_rng(0)
    sigma = np.ones((2, 8, 4, 4), np.float32)
    plane = rng.normal(size=(3, *sigma.shape))
    few = [
        in_units(np.tensordot(rng.normal(size=3), plane, 1).astype(np.float32), sigma, {})
        for _ in range(12)
    ]
    many = [random_direction(sigma, seed) for seed in range(12)]
    assert 2 < null_dimensions(few) < 4.5 and null_dimensions(many) > 50
    assert null_dimensions(few[:1]) is None


def test_a_pullback_is_driven_by_moving_x_once(driver):
    """A direction in x_t: the driver's pictures are those that its recipe renders; random ones
    are as long.
    """
    from hcache.directions.fitting import Fit, fit
    from hcache.edits.render import render_recipes, shift_by
    from hcache.recipes.recipe import recipe_of

    run, window = driver.run, Window(first=1, last=3)
    wanted = Fit(method="pullback", run=run.name, options={"step": 1, "count": 1, "iterations": 3})
    _, (move,) = drain(fit(wanted, run, driver.model))
    grid = TrialGrid(samples=(0, 1, 2), window=window, strengths=(0.0, 4.0))
    _, record = drain(direction(driver, move, grid, nulls=2, null="samples", **QUICK))
    assert record.result["readings"]["light"]["controllability"]["directions"] == 2
    sheet = load_sheet(
        run,
        "responses",
        {
            "move": record.parameters["move"],
            "grid": record.parameters["grid"],
            "reader": driver.reader_name,
        },
    )
    recipes = [
        recipe_of(run, sample, [shift_by(move, 4.0, window)], asymmetric=True)
        for sample in grid.samples
    ]
    _, cells = drain(
        render_recipes(
            driver.model, run, recipes, run.folder.parent.parent, {record.parameters["move"]: move}
        )
    )
    assert np.abs(sheet[:, 1].astype(int) - np.stack([cell.picture for cell in cells])).max() <= 1
    assert np.abs(sheet[:, 1].astype(int) - sheet[:, 0]).max() > 1, "it does something"
    for kind in ("noise", "samples"):
        for other in driver.randoms(2, kind, move):
            assert np.linalg.norm(other.delta) == pytest.approx(
                np.linalg.norm(move.delta), rel=1e-5
            )
            assert other.index == 1 and not np.allclose(other.delta, move.delta)
    with pytest.raises(UsageError, match="before step 1, which is not among the steps 2 to 3"):
        Executor(driver.model, driver.run).moved(move, [1.0], Window(first=2, last=3))
    with pytest.raises(UsageError, match="moves x_t"):
        drain(additivity_of(driver, {"a": move, "b": driver.randoms(1)[0]}, grid, nulls=1, **QUICK))


def test_controllability_comes_by_window(driver, move):
    windows = [Window(first=0, last=1), Window(first=2, last=3)]
    shares, record = drain(
        controllability_over(
            driver, move, windows, (0, 1, 2), strength=4.0, nulls=2, null="samples", **QUICK
        )
    )
    assert shares == sorted(shares) and [row["window"]["first"] for row in record.result] == [0, 2]
    assert Estimate.from_json(record.result[0]["readings"]["warm"]["change"]).n == 3


def test_additivity_stands_beside_that_of_random_directions(driver, move, grid):
    other = random_direction(spread(driver.run), 4, driver.run.spec.model, driver.run.timesteps)
    shares, record = drain(additivity_of(driver, {"a": move, "b": other}, grid, nulls=1, **QUICK))
    for name in ("readings", "pixels"):
        (found,) = map(Contrast.from_json, record.result[name])
        assert found == Contrast.from_json(record.result["all"][name]), "of one pair it is the same"
        assert 0 <= found.measured.value <= 1 and 0 <= found.null.value <= 1
    assert shares == sorted(shares)


def test_swaps_come_with_their_controls_and_go_on_where_they_stood(driver):
    pairs = Pairs.draw(driver.run.sample_ids, 4)
    for row in zip(pairs.recipients, pairs.donors, pairs.others, strict=True):
        assert len(set(row)) == 3
    shares, found = drain(swaps(driver, pairs, ALL, ["h", "skip.3"], **QUICK))
    assert set(found) == {"h", "skip.3"} and shares == sorted(shares) and shares[-1] == 1
    for record in found.values():
        assert record.result["own"] <= 2, (
            "a sample's own activations change nothing but the last digit"
        )
        assert record.result["pairs"] == 4 and set(record.result["kept"]) == {"light", "warm"}
    evidence = Evidence(driver.run)
    assert {row.quantity for row in carriers(evidence).rows} == {
        PIXELS,
        "structure",
        "colour",
        "light",
        "warm",
    }
    shown = exhibits("skip.3", {driver.run.name: evidence})
    strip = next(each.shown for each in shown if isinstance(each.shown, PictureSheet))
    assert strip.pictures.shape[:2] == (4, len(COLUMNS)) == (4, len(strip.columns))
    np.testing.assert_array_equal(strip.pictures[:, 1], driver.unedited(pairs.donors))
    driver.renders = RendersHere(Unrunnable())
    assert drain(swaps(driver, pairs, ALL, ["h", "skip.3"], **QUICK))[1] == found
    with pytest.raises(UnknownSiteError):
        next(swaps(driver, pairs, ALL, ["skip.9"]))


def test_noise_has_the_norm_of_what_it_stands_for(driver):
    import torch

    from hcache.sampling.loop import Moment

    moment = Moment(index=1, t=driver.run.timesteps[1])
    donor, noise = (
        PairSwap(driver.model, driver.run, "skip.1", [4, 5], ALL, seed) for seed in (None, 0)
    )
    start = donor.donated(moment).map(lambda _, tensor: tensor.flip(0))
    given, noisy = donor(start, moment), noise(start, moment)
    for member in driver.run.anatomy.members("skip.1"):
        wanted, got = (
            (part[member] - start[member]).flatten(1).norm(dim=1) for part in (given, noisy)
        )
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
        assert not torch.equal(given[member], noisy[member])
    assert given.h is start.h and donor(start, Moment(index=9, t=0)) is start


def test_what_cannot_be_tried_is_refused_in_words():
    with pytest.raises(UsageError, match="0 among them"):
        TrialGrid(samples=(0, 1), window=ALL, strengths=(1.0, 2.0))
    with pytest.raises(UsageError, match="2 different samples"):
        TrialGrid(samples=(0, 0), window=ALL)
    with pytest.raises(UsageError, match="no more than the 5 samples; got 6"):
        Pairs.draw(range(5), 6)


def test_results_of_first_samples_are_kept_apart_from_those_of_the_run(tmp_path):
    """They have a file of their own, are listed with the cut run alone, and are not stale."""
    spec = RunSpec(model="planted", samples=6, steps=1, store_dtype="float32")
    h = np.arange(6 * 4, dtype=np.float32).reshape(1, 6, 1, 2, 2)
    run = synthetic_run(tmp_path, spec, h, [(0, 2), (2, 4), (4, 6)])
    part = first_samples(run, 4)
    save_record(run, "thing", {"a": 1}, {"of": 6})
    save_record(part, "thing", {"a": 1}, {"of": 4})
    assert load_record(run, "thing", {"a": 1}).result == {"of": 6}
    found = load_record(part, "thing", {"a": 1})
    assert found.result == {"of": 4} and found.parameters == {"a": 1, "first": 4}
    assert [record.samples for record in list_records(run)] == [6]
    assert [record.samples for record in list_records(part)] == [4]
    assert stale_results(run) == []
    other = synthetic_run(tmp_path / "other", spec, h + 1, [(0, 2), (2, 4), (4, 6)])
    (other.folder / MEASURES).mkdir()
    record_path(part, "thing", {"a": 1}).rename(other.folder / MEASURES / "thing-0123.json")
    assert len(stale_results(other)) == 1, "first samples that are others now"
