"""Estimates of what work costs: they follow the sizes, agree with the suite's own counts, and
are never guessed.
"""

import numpy as np
import pytest
from tiny import synthetic_run

from hcache.cache.labels import save_labels
from hcache.cache.layout import H, X
from hcache.cache.reading import open_run
from hcache.measures.costs import (
    CHEAP,
    EDITED,
    about,
    is_cheap,
    probe_seconds,
    projection_seconds,
    render_seconds,
)
from hcache.measures.measure import MODEL
from hcache.measures.registry import measures
from hcache.measures.suite import Suite
from hcache.recipes.window import Window
from hcache.specs import RunSpec

STEP = 0.02


def made(home, samples, steps=4, side=4):
    """A run of a model with a reader, as large as one likes; its numbers are zeros."""
    spec = RunSpec(model="toyfaces-ddpm-64", samples=samples, steps=steps, store_dtype="float16")
    h = np.zeros((steps, samples, 2, side, side), np.float32)
    run = synthetic_run(home, spec, h, x=np.zeros((steps + 1, samples, 3, 8, 8), np.float32))
    rng = np.random.default_rng(0)
    values = {
        name: {i: float(rng.normal()) for i in range(samples)} for name in ("smile", "yaw", "skin")
    }
    save_labels(run, "toyfaces", values)
    save_labels(run, "mine", {"yes": {i: float(i % 2) for i in range(samples)}})
    return open_run(run.folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made(tmp_path_factory.mktemp("costs"), 24)


def suite_of(run, labels, **options):
    return Suite(run, labels, lambda: pytest.fail("no model is needed to count"), options)


@pytest.mark.parametrize("options", [{}, {"samples": 8, "nulls": 3}])
def test_what_renders_is_counted_in_passes_through_all_steps(run, options):
    """Of 3 labels that the reader reads, at 4 strengths but 0, beside the random directions."""
    suite = suite_of(run, ("smile", "yaw", "skin", "yes"), **options)
    samples, nulls = options.get("samples", 16), options.get("nulls", 19)
    rendering = [name for name, each in measures().items() if MODEL in each.needs]
    counted = {name: sum(each.passes for each in suite.parts([name])) for name in rendering}
    assert counted["directions"] == samples * 4 * (3 + nulls)
    assert counted["additivity"] == samples * (3 + 3 + 3 * (nulls // 4 or 1))
    assert counted["windows"] > 2 * 8 * (3 + nulls) * 0.9, "one window has all steps"
    assert counted["swaps"] > 4 * 1.5 * samples * len(run.anatomy.sites)
    for name, passes in counted.items():
        own = sum(each.seconds or 0.0 for each in suite.parts([name]))
        expected = own + EDITED * passes * run.spec.steps * STEP
        assert suite.seconds([name], STEP) == pytest.approx(expected)


def test_without_a_measured_step_nothing_that_renders_has_an_estimate(run):
    suite = suite_of(run, ("smile",))
    assert suite.seconds(["swaps"], None) is None
    assert render_seconds(run, 5, Window(first=0, last=3), None) is None
    assert suite.seconds(["decodability"], None) > 0, "probes need no model"
    assert not is_cheap(None) and is_cheap(CHEAP) and not is_cheap(CHEAP + 0.1)


def test_labels_that_no_reader_reads_cost_no_edits(run):
    assert suite_of(run, ("yes",)).seconds(["directions"], STEP) == 0
    assert suite_of(run, ("smile", "yes")).seconds(["additivity"], STEP) == 0, (
        "one label alone has no pair"
    )


def test_probes_cost_more_with_samples_cells_and_classes(run, tmp_path):
    yes, smile = run.labels["mine"]["yes"], run.labels["toyfaces"]["smile"]
    one = probe_seconds(run, {H: 1}, [smile])
    assert probe_seconds(run, {H: 4}, [smile]) == pytest.approx(4 * one)
    assert probe_seconds(run, {H: 4, X: 4}, [smile]) > 4 * one
    assert probe_seconds(run, {H: 1}, [yes]) > one
    large = made(tmp_path, 200)
    assert probe_seconds(large, {H: 1}, [large.labels["toyfaces"]["smile"]]) > one
    assert projection_seconds(large, H) > projection_seconds(run, H)


def test_a_run_of_thousands_is_not_cheap_and_the_demo_is(run, monkeypatch):
    """By the sizes alone: 20 steps of 5 sites and x_t, h of 8,192 numbers."""
    monkeypatch.setattr(type(run), "width", lambda self, site: 8192)
    monkeypatch.setattr("hcache.measures.costs.workers", lambda: 2)
    smile, cells = (
        run.labels["toyfaces"]["smile"],
        {"h": 20, "skip.1": 20, "skip.2": 20, "skip.3": 20, "x": 20},
    )
    for samples, cheap in ((64, True), (256, True), (4096, False)):
        monkeypatch.setattr(type(run), "__len__", lambda self, samples=samples: samples)
        assert is_cheap(probe_seconds(run, cells, [smile])) == cheap
        monkeypatch.setattr(type(run), "__len__", lambda self: 24)


def test_all_measures_have_an_estimate(run):
    suite = suite_of(run, ("smile", "yaw"))
    seconds = {name: suite.seconds([name], STEP) for name in measures()}
    assert seconds.pop("sites") == 0, "the run stores no place besides h and skips"
    assert all(value > 0 for value in seconds.values())
    assert seconds["codes"] > seconds["alignment"] > 0
    total = suite.seconds(list(measures()), STEP)
    assert total == pytest.approx(sum(seconds.values()))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "about 5 s"),
        (31, "about 35 s"),
        (58, "about 1 min"),
        (370, "about 6 min"),
        (7300, "about 2 h"),
        (None, "time unknown"),
    ],
)
def test_times_are_said_roughly(seconds, words):
    assert about(seconds) == words


def test_the_benchmark_puts_measured_seconds_beside_every_estimate(tmp_path):
    from hcache.bench.costs import STEPS, costs_of
    from hcache.bench.probe_map import made_up_run

    found = costs_of(made_up_run(tmp_path, 26, STEPS, "pooled"))
    assert set(found) == {
        "ridge probes",
        "logistic probes",
        "projections",
        "alignment",
        "codes",
        "CKA",
        "t-SNE",
        "sparse features",
        "components",
    }
    assert all(pair["measured"] >= 0 and pair["estimated"] > 0 for pair in found.values())
