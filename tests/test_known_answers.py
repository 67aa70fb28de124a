"""A model whose truth is exact goes through extraction, HDF5, measures, verdict and report as
any model does.
"""

import json

import numpy as np
import pytest
from linear import NAMES, finished, linear_model, read, truth

from hcache.analysis.estimate import Estimate
from hcache.analysis.swaps import SwapEffect
from hcache.cache.labels import save_labels
from hcache.cache.layout import RUN_JSON
from hcache.cache.reading import open_run
from hcache.cache.records import list_records
from hcache.directions.supervised import difference_direction
from hcache.extraction.run import extract
from hcache.measures import setting as setting_module
from hcache.measures.cells import cells_of
from hcache.measures.declared.codes import QUESTION as DISENTANGLED
from hcache.measures.declared.decodability import DECODABLE, IN_X
from hcache.measures.declared.directions import CONTROLLABLE, EDITS, LINEAR
from hcache.measures.decodability import decodability
from hcache.measures.driver import Driver
from hcache.measures.edits import controllability_over
from hcache.measures.kinds import DIRECTION, LEAKAGE, SWAP
from hcache.measures.suite import Suite
from hcache.progress import drive
from hcache.report.document import verdict_report
from hcache.specs import RunSpec

SIZES = {"samples": 12, "nulls": 19}
STRENGTHS = (-0.2, -0.1, 0.0, 0.1, 0.2)
"""Beyond which pictures leave the range of grey levels, and truth is not exact any more."""

WHAT = ("decodability", "directions", "swaps")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The suite of a run of the linear model, measured, and the run."""
    model = linear_model()
    spec = RunSpec(
        model="linear", samples=120, steps=4, batch=40, store={"h": "full"}, store_dtype="float32"
    )
    run = extract(model, spec, tmp_path_factory.mktemp("linear home"))
    own = read(run.images)
    columns = {
        name: dict(zip(run.sample_ids.tolist(), values.tolist(), strict=True))
        for name, values in own.items()
    }
    save_labels(run, "own", columns)
    run = open_run(run.folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setting_module, "readers_of", lambda run: ["own"])
        patch.setattr(setting_module, "STRENGTHS", STRENGTHS)
        suite = Suite(run, NAMES, lambda: Driver(model, run, read, "own"), SIZES)
        drive(suite.run_all(WHAT))
        assert suite.readable == list(NAMES)
    return suite


def changes_of(suite, strength):
    """The exact change of every coordinate (4 edits, tried, 4) at a strength of each label's
    direction.
    """
    run = suite.run
    alpha_bar = json.loads((run.folder / RUN_JSON).read_text())["provenance"]["alpha_bar"]
    x_t = np.stack([run.x(sample, 0).ravel() for sample in suite.tried])
    rest = truth(x_t, alpha_bar, np.zeros((4, 256)), 0.0)
    moved = [
        truth(x_t, alpha_bar, suite.moves[name].delta.reshape(4, -1), strength) for name in NAMES
    ]
    return np.stack(moved) - rest


def test_pictures_are_what_matrices_make(measured):
    """The loop, the stored x_t, the stored pictures and the reader, against DDIM of matrices."""
    run = measured.run
    alpha_bar = json.loads((run.folder / RUN_JSON).read_text())["provenance"]["alpha_bar"]
    x_t = np.stack([run.x(sample, 0).ravel() for sample in run.sample_ids.tolist()])
    found = np.stack(list(read(run.images).values()), 1)
    np.testing.assert_allclose(found, truth(x_t, alpha_bar, np.zeros((4, 256)), 0.0), atol=0.03)


def test_what_h_holds_is_decodable_and_what_a_skip_holds_is_not(measured):
    cells = cells_of(measured.run)
    for name in ("a", "b"):
        assert cells[DECODABLE, name].estimate.low > 0.9 and cells[DECODABLE, name].family_p <= 0.05
    nothing = cells[DECODABLE, "d"]
    assert nothing.family_p > 0.05 and nothing.estimate.low <= 0 and nothing.asked == 4
    assert cells[IN_X, "d"].p <= 0.05, "but x_t holds it"


def test_directions_move_what_matrices_say(measured):
    """Every curve, every slope and every cell of the leakage matrix, at the grey levels'
    precision.
    """
    spreads = np.array([measured.driver.spreads[name] for name in NAMES])
    records = {
        record.parameters["name"]: record.result for record in list_records(measured.run, DIRECTION)
    }
    for strength in (-0.2, 0.1, 0.2):
        exact = changes_of(measured, strength).mean(1) / spreads
        for i, name in enumerate(NAMES):
            column = STRENGTHS.index(strength)
            found = [records[name]["readings"][other]["curve"][column]["value"] for other in NAMES]
            np.testing.assert_allclose(found, exact[i], atol=0.03, err_msg=name)
    (leak,) = list_records(measured.run, LEAKAGE)
    exact = changes_of(measured, 0.2).mean(1) / spreads
    for i in range(4):
        for j in range(4):
            cell = leak.result["leakage"]["matrix"][i][j]
            assert cell["low"] - 0.03 <= exact[i, j] <= cell["high"] + 0.03, (
                NAMES[i],
                NAMES[j],
                exact[i, j],
                cell,
            )
    share = np.square(np.diag(exact)).sum() / np.square(exact).sum()
    assert cells_of(measured.run)[DISENTANGLED, EDITS].estimate.value == pytest.approx(
        share, abs=0.03
    )


def test_a_line_is_called_linear_and_what_is_bent_monotone(measured):
    cells = cells_of(measured.run)
    verdicts = {
        name: record.result["readings"][name]["verdict"]
        for record in list_records(measured.run, DIRECTION)
        if (name := record.parameters["name"]) in NAMES
    }
    assert verdicts["c"] in ("monotone, not linear", "no further than random")
    straight = [cells[LINEAR, name].estimate.value for name in ("a", "b")]
    assert min(straight) > 0.98 > 0.95 > cells[LINEAR, "c"].estimate.value
    assert cells[CONTROLLABLE, "d"].family_p > 0.05, "h does not hold it"


def test_a_swap_carries_exactly_what_its_site_holds(measured):
    effects = {
        record.parameters["site"]: SwapEffect.from_json(record.result)
        for record in list_records(measured.run, SWAP)
        if record.parameters["own"]
    }
    for site, held in (("h", "abc"), ("skip.3", "d"), ("skip.1", "")):
        for name in NAMES:
            carried, kept = effects[site].carried[name].measured, effects[site].kept[name]
            assert carried.value == pytest.approx(float(name in held), abs=0.05), (
                site,
                name,
                str(carried),
            )
            assert kept.value == pytest.approx(float(name not in held), abs=0.05), (
                site,
                name,
                str(kept),
            )
        assert effects[site].own <= 1


def test_the_report_is_made_of_it(measured):
    html = verdict_report([measured.run], list(NAMES))
    assert "a: decodable from h" in html and "nan" not in html[: html.index("<script>")]


SEEDS, TRIED, POPULATION = 100, 16, 20_000
READ = ("c", "skewed", "rarely on")
"""Readings whose change differs from sample to sample: bent by tanh, log-normal, and a probability
that is near 0 for most samples, as that of glasses is."""


def skewed(coordinates):
    """The readings of finished coordinates (n, 4)."""
    a, _, c, _ = np.asarray(coordinates, np.float64).T
    return {"a": a, "c": c, "skewed": np.exp(0.6 * a), "rarely on": 1 / (1 + np.exp(3 - 3 * a))}


def one_world(seed, home):
    """A run of 72 fresh samples, measured: which true changes it covers, and the p of what
    means nothing."""
    model = linear_model()
    spec = RunSpec(
        model="linear",
        samples=72,
        steps=3,
        batch=72,
        seed=100_000 + 1000 * seed,
        store={"h": "full"},
        store_dtype="float32",
    )
    run = extract(model, spec, home)

    def reader(images):
        return skewed(np.stack(list(read(images).values()), 1) / scale)

    alpha_bar = json.loads((run.folder / RUN_JSON).read_text())["provenance"]["alpha_bar"]
    still = np.zeros((3, 256))
    x = np.random.default_rng(7).normal(size=(POPULATION, 4))
    scale = finished(x, alpha_bar, still, 0.0).std(0)
    rng = np.random.default_rng(seed)
    own = {**reader(run.images), "nothing": rng.exponential(size=len(run))}
    ids = run.sample_ids.tolist()
    columns = {name: dict(zip(ids, values.tolist(), strict=True)) for name, values in own.items()}
    save_labels(run, "own", columns)
    run = open_run(run.folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setting_module, "readers_of", lambda run: ["own"])
        labels = ("a", "c", "nothing")
        driver = Driver(model, run, reader, "own")
        suite = Suite(run, labels, lambda: driver, {"samples": TRIED})
        ends = {name: suite.ends(name) for name in labels}
    drive(decodability(run, ["nothing"], ["h"], [1]))
    found, moves = {}, {name: difference_direction(run, *pair) for name, pair in ends.items()}
    for name, move in moves.items():
        work = controllability_over(
            driver,
            move,
            [suite.whole],
            suite.tried,
            name=name,
            strength=0.1,
            nulls=19,
            null="samples",
            repeats=1000,
        )
        found[name] = drive(work).result[0]["readings"]
    covered = {}
    for name in READ:
        of = "c" if name == "c" else "a"
        delta = moves[of].delta.reshape(3, -1)
        up, down = (skewed(finished(x, alpha_bar, delta, s) / scale)[name] for s in (0.1, -0.1))
        true = (up - down).mean() / 0.2 / driver.spreads[name]
        covered[name] = Estimate.from_json(found[of][name]["change"]).covers(true)
    called = {name: found["nothing"][name]["p"] for name in READ}
    return covered, {**called, "decodable": cells_of(run)[DECODABLE, "nothing"].p}


@pytest.mark.slow
def test_over_many_worlds_intervals_cover_the_truth_and_nothing_is_called_rarely(tmp_path):
    """From extraction to stored results, on fresh samples each time. 95 % intervals of mean changes
    cover the exact change of the population; labels of nothing are called in 5 %."""
    worlds = [one_world(seed, tmp_path / str(seed)) for seed in range(SEEDS)]
    covered = {name: np.mean([each[0][name] for each in worlds]) for name in READ}
    called = {
        name: np.mean([each[1][name] <= 0.05 for each in worlds]) for name in (*READ, "decodable")
    }
    told = {"covered": covered, "called": called}
    assert 0.90 <= np.mean(list(covered.values())) <= 0.98, told
    assert min(covered.values()) >= 0.88, told  # 2.8 standard errors of 100 below 0.95
    assert np.mean(list(called.values())) <= 0.07, told
    assert max(called.values()) <= 0.11, told  # likewise above 0.05
