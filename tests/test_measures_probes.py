"""Probes over a run: a record a label and site that grows by steps, looked up again, stale when
the run grows.
"""

import dataclasses

import numpy as np
import pytest
from tiny import drain, synthetic_run

from hcache.analysis.decoding import Probing
from hcache.analysis.estimate import Estimate
from hcache.analysis.probes import Space
from hcache.bench.probe_map import heat_map_seconds, made_up_run
from hcache.cache.labels import save_labels
from hcache.cache.reading import open_run
from hcache.cache.records import list_records
from hcache.cli.main import main
from hcache.errors import AnalysisError, NotStoredError, UsageError
from hcache.figures.probe_charts import probe_heatmap
from hcache.measures import decodability as module
from hcache.measures.cells import cells_of
from hcache.measures.decodability import (
    ProbeMap,
    ProbeOptions,
    decodability,
    default_sites,
    stored_decodability,
)
from hcache.measures.groups import groups_of
from hcache.measures.learning import learning, stored_learning
from hcache.specs import Conditioning, RunSpec

QUICK = ProbeOptions(folds=3, controls=2, repeats=50)
SITES = ("h", "skip.1", "skip.2", "skip.3", "x")


@pytest.fixture
def run(copied_run):
    """With a label that x_t holds at its last step, and one of two classes."""
    level = copied_run.matrix("x", 3)[:, :64].mean(1)
    values = {int(s): float(v) for s, v in zip(copied_run.sample_ids, level, strict=True)}
    save_labels(copied_run, "own", {"level": values, "half": {s: float(s % 2) for s in values}})
    return open_run(copied_run.folder)


@pytest.fixture
def unread(monkeypatch):
    """From now on nothing may be read of the run's activations."""

    def forbid():
        def read(*_):
            raise AssertionError("activations were read")

        monkeypatch.setattr(module, "data_of", read)
        monkeypatch.setattr("hcache.measures.learning.data_of", read)

    return forbid


def test_labels_are_probed_at_every_site_once(run, unread):
    assert default_sites(run) == SITES
    shares, found = drain(decodability(run, ["level", "half"], ["h", "x"], [0, 3], QUICK))
    assert set(found) == {("level", "h"), ("level", "x"), ("half", "h"), ("half", "x")}
    assert shares == [0.25, 0.5, 0.75, 1.0, 1.0], "a share for every site and step"
    result = found["level", "x"].result
    assert result["metric"] == "R²" and [row["step"] for row in result["steps"]] == [0, 3]
    assert (
        Estimate.from_json(result["steps"][1]["score"]).n == 12
        and found["half", "h"].result["metric"] == "AUC"
    )
    unread()
    assert drain(decodability(run, ["level", "half"], ["h", "x"], [0, 3], QUICK)) == ([1.0], found)
    save_labels(run, "own", {"level": {int(s): float(s) for s in run.sample_ids}})
    with pytest.raises(AssertionError):
        drain(decodability(open_run(run.folder), ["level"], ["h"], [0, 3], QUICK))


def test_a_record_grows_by_the_steps_asked_for(run, unread):
    drain(decodability(run, ["level"], ["x"], [3], QUICK))
    first = stored_decodability(run, "level", ["x"], QUICK)
    shares, found = drain(decodability(run, ["level"], ["x"], None, QUICK))
    assert shares == [1 / 3, 2 / 3, 1, 1] and len(list_records(run)) == 1
    assert [row["step"] for row in found["level", "x"].result["steps"]] == [0, 1, 2, 3]
    known = stored_decodability(run, "level", ["x"], QUICK)
    assert first.missing == 3 and known.missing == 0 and known.cells["x", 3] == first.cells["x", 3]
    assert (
        known.values("score").shape == (1, 4)
        and known.values("score")[0, 3] == known.cells["x", 3]["score"]["value"]
    )
    unread()
    drain(decodability(run, ["level"], ["x"], [1, 2], QUICK))


def test_what_comes_out_does_not_hang_on_how_many_work_on_it(run, monkeypatch):
    """Nor on what else is probed along with it."""
    found = {}
    for workers, labels in (("1", ["level"]), ("3", ["half", "level"])):
        monkeypatch.setenv("OMP_NUM_THREADS", workers)
        drain(decodability(run, labels, None, None, QUICK))
        found[workers] = stored_decodability(run, "level", SITES, QUICK).cells
        for record in (run.folder / "measures").iterdir():
            record.unlink()
    assert found["1"] == found["3"] and len(found["1"]) == 20


def test_probing_goes_on_where_it_was_cancelled(run):
    work = decodability(run, ["level"], ["h", "x"], [0, 3], QUICK)
    for _ in range(3):
        next(work)
    work.close()
    assert set(stored_decodability(run, "level", SITES, QUICK).cells) == {
        ("h", 0),
        ("h", 3),
        ("x", 0),
    }
    assert drain(decodability(run, ["level"], ["h", "x"], [0, 3], QUICK))[0] == [1.0, 1.0]


def test_results_are_of_their_options(run):
    """A kind that is the label's own is none that was asked for; another is no part of the
    verdict.
    """
    drain(decodability(run, ["level"], ["h"], [2], QUICK))
    for options, known in (
        (dataclasses.replace(QUICK, kind="ridge"), 1),
        (dataclasses.replace(QUICK, kind="logistic"), 0),
        (dataclasses.replace(QUICK, pooled=True), 0),
        (dataclasses.replace(QUICK, controls=3), 0),
    ):
        assert len(stored_decodability(run, "level", ["h"], options).cells) == known
    logistic = dataclasses.replace(QUICK, kind="logistic")
    drain(decodability(run, ["level"], ["h"], [2], logistic))
    assert stored_decodability(run, "level", ["h"], logistic).metric == "AUC"
    assert cells_of(run)["decodable", "level"].unit == "R²"


def test_bad_questions_are_refused_before_anything_is_read(run, unread):
    samples = [int(s) for s in run.sample_ids]
    bad = {
        "some": {0: 1.0, 1: 2.0},
        "flat": dict.fromkeys(samples, 1.0),
        "rare": {s: float(s == 5) for s in samples},
    }
    save_labels(run, "bad", bad)
    run = open_run(run.folder)
    unread()
    for name, words in (
        ("some", "some: 10 of 12 samples have no value"),
        ("flat", "flat: all samples have the same"),
        ("rare", "rare: the smaller class has 1 samples; 3 folds"),
    ):
        with pytest.raises(AnalysisError, match=words):
            next(decodability(run, [name], options=QUICK))
        with pytest.raises(AnalysisError, match=words):
            next(learning(run, name, 0, options=QUICK))
    with pytest.raises(AnalysisError, match="13-fold probes need 26 samples or more, got 12"):
        next(decodability(run, ["level"], options=dataclasses.replace(QUICK, folds=13)))
    with pytest.raises(UsageError, match="step must lie in 0 to 3, got 4"):
        next(decodability(run, ["level"], steps=[4], options=QUICK))


def test_a_site_that_is_not_stored_is_refused_before_anything_is_read(tmp_path):
    import numpy as np
    from tiny import synthetic_run

    from hcache.specs import RunSpec

    h = np.random.default_rng(0).normal(size=(1, 12, 2, 2, 2)).astype(np.float32)
    run = synthetic_run(tmp_path, RunSpec(model="m", samples=12, steps=1, store={"h": "none"}), h)
    save_labels(run, "own", {"level": {s: float(s) for s in range(12)}})
    with pytest.raises(NotStoredError, match="--store h=full or =pooled"):
        next(decodability(open_run(run.folder), ["level"], ["h"], options=QUICK))


def test_learning_curves_come_with_what_is_read_beyond_x(run, unread):
    shares, found = drain(learning(run, "level", 3, ["h", "x"], QUICK))
    assert shares == [0.25, 0.5, 0.75, 1, 1] and set(found) == {"h", "x"}
    result = found["h"].result
    assert result["sizes"] == [6, 8] and len(result["scores"]) == len(result["controls"]) == 2
    assert found["x"].result["beyond_x"] is None and result["beyond_x"]["n"] == 12
    known = stored_decodability(run, "level", ["h", "x"], QUICK)
    assert not known.cells, "another measure"
    drain(decodability(run, ["level"], ["h", "x"], [3], QUICK))
    scores = stored_decodability(run, "level", ["h", "x"], QUICK).values("score")[:, 3]
    assert result["beyond_x"]["value"] == pytest.approx(scores[0] - scores[1])
    assert result["scores"][-1]["value"] == pytest.approx(scores[0]), (
        "all training samples are what a probe has"
    )
    assert stored_learning(run, "level", 3, SITES, QUICK) == {
        site: record.result for site, record in found.items()
    }
    unread()
    assert drain(learning(run, "level", 3, ["h", "x"], QUICK)) == ([1.0], found)


def test_the_shell_prints_probes_and_curves(run, capsys):
    common = [
        "probe",
        run.name,
        "--home",
        str(run.folder.parent.parent),
        "--label",
        "level",
        "--site",
        "x",
        "--folds",
        "3",
        "--controls",
        "2",
        "--draws",
        "50",
    ]
    assert main([*common, "--step", "3"]) == 0
    printed = capsys.readouterr().out
    assert "selectivity" in printed and "R²" in printed and "level" in printed
    assert set(stored_decodability(run, "level", ["x"], QUICK).cells) == {("x", 3)}, (
        "the page finds it"
    )
    assert main([*common, "--curve"]) == 0
    assert "beyond x_t" in capsys.readouterr().out
    assert main(["probe", run.name, "--home", str(run.folder.parent.parent)]) == 2
    assert "level, half" in capsys.readouterr().err


def test_the_benchmark_probes_every_site_and_step_and_finds_what_it_planted(tmp_path):
    assert heat_map_seconds("ridge", 24, 2, controls=2, home=tmp_path) > 0
    run = made_up_run(tmp_path, 24, 2, "pooled")
    known = stored_decodability(run, "values", run.anatomy.sites, ProbeOptions(controls=2))
    assert known.missing == 0 and len(known.sites) == 5 and len(run) == 24
    assert known.values("score")[0, 1] > 0.3 > known.values("control")[0, 1]


@pytest.mark.parametrize(
    ("sets", "most"), [(20, 0.2), pytest.param(60, 0.13, marks=pytest.mark.slow)]
)
def test_a_map_of_labels_of_nothing_is_crossed_out_in_95_per_cent(sets, most):
    """12 cells that go with one another; cells alone are significant somewhere far more often. A
    label that is there stays in."""
    rng, n, steps = np.random.default_rng(0), 40, 6
    spaces = {}
    for site in ("h", "x"):
        state = rng.normal(size=(n, 8))
        for step in range(steps):
            state = 0.7 * state + 0.7 * rng.normal(size=(n, 8))
            spaces[site, step] = Space.of(
                (state @ rng.normal(size=(8, 60)) + rng.normal(size=(n, 60))).astype("f4")
            )

    def uncrossed(label):
        probing = Probing.of(label, controls=39, repeats=2, folds=4)
        found = {cell: probing.decode(space) for cell, space in spaces.items()}
        rows = {
            cell: {
                "step": cell[1],
                "score": each.score.to_json(),
                "accuracy": None,
                "control": each.control,
                "selectivity": each.selectivity.to_json(),
                "p": each.p,
                "drawn": each.drawn.tolist(),
            }
            for cell, each in found.items()
        }
        known = ProbeMap(label="nothing", metric="R²", sites=("h", "x"), steps=steps, cells=rows)
        figure = probe_heatmap(known, "score", list(range(steps)), np.full(steps, np.nan), ("h", 0))
        crosses = next(
            t for t in figure.data if t.type == "scatter" and t.marker.symbol == "x-thin"
        )
        return len(rows) - len(crosses.x), sum(each.p <= 0.05 for each in found.values())

    told = np.array(
        [uncrossed(np.random.default_rng([1, seed]).normal(size=n)) for seed in range(sets)]
    )
    family, alone = (told > 0).mean(0)
    assert family <= most and alone > 0.2, (family, alone)
    assert uncrossed(state[:, 0])[0] > 0


def test_a_run_says_which_of_its_samples_belong_together(tmp_path):
    h = np.random.default_rng(0).normal(size=(2, 6, 2, 4, 4)).astype(np.float32)

    def grouped(name, by="run", **more):
        spec = RunSpec(
            model=name, samples=6, steps=2, store_dtype="float32", conditioning=Conditioning(**more)
        )
        run = synthetic_run(tmp_path / name, spec, h)
        save_labels(run, "own", {"pair": {s: float(s // 2) for s in range(6)}})
        found = groups_of(open_run(run.folder), by)
        return None if found is None else found.tolist()

    assert grouped("none") is None and grouped("one", prompts=("a",)) is None, (
        "what all have in common tells nothing"
    )
    assert grouped("prompts", prompts=tuple("aabbcc")) == [0, 0, 1, 1, 2, 2]
    assert grouped("both", prompts=tuple("aabbcd"), classes=(0, 1, 2, 3, 4, 2)) == [
        0,
        0,
        1,
        1,
        2,
        1,
    ]
    assert grouped("apart", by="none", prompts=tuple("aabbcc")) is None
    assert grouped("label", by="pair") == [0, 0, 1, 1, 2, 2]


def test_a_map_says_what_its_probes_see_and_what_its_intervals_are():
    def cell(n, **more):
        return {"score": {"value": 0.5, "low": 0.4, "high": 0.6, "n": n, "level": 0.95}, **more}

    def words(metric, cells):
        sites = ("h", "x")
        return ProbeMap(label="age", metric=metric, sites=sites, steps=1, cells=cells).in_words()

    small = words("R²", {("h", 0): cell(64, nested=True), ("x", 0): cell(64)})
    assert "nested cross-validation" in small and "random directions" not in small
    large = words("R²", {("h", 0): cell(4096, projected=1024), ("x", 0): cell(4096)})
    assert "Probes of h see projected features: 1,024 random directions" in large
    assert "bootstrap over the held-out samples" in large
    assert "bootstrap over the held-out samples" in words("AUC", {("h", 0): cell(64)})
