"""Probes over a run: a record a label and site that grows by steps, looked up again, stale when the run grows."""

import dataclasses

import pytest
from tiny import drain

from hcache.analysis.estimate import Estimate
from hcache.bench.probes import heat_map_seconds, made_up_run
from hcache.cache.labels import save_labels
from hcache.cache.measures import list_records
from hcache.cache.reading import open_run
from hcache.cli.main import main
from hcache.errors import AnalysisError, NotStoredError, UsageError
from hcache.measures import decodability as module
from hcache.measures.cells import cells_of
from hcache.measures.decodability import ProbeOptions, decodability, default_sites, stored_decodability
from hcache.measures.learning import learning, stored_learning

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
    assert Estimate.from_json(result["steps"][1]["score"]).n == 12 and found["half", "h"].result["metric"] == "AUC"
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
        known.values("score").shape == (1, 4) and known.values("score")[0, 3] == known.cells["x", 3]["score"]["value"]
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
    assert set(stored_decodability(run, "level", SITES, QUICK).cells) == {("h", 0), ("h", 3), ("x", 0)}
    assert drain(decodability(run, ["level"], ["h", "x"], [0, 3], QUICK))[0] == [1.0, 1.0]


def test_results_are_of_their_options(run):
    """A kind that is the label's own is none that was asked for; another is no part of the verdict."""
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
    bad = {"some": {0: 1.0, 1: 2.0}, "flat": dict.fromkeys(samples, 1.0), "rare": {s: float(s == 5) for s in samples}}
    save_labels(run, "bad", bad)
    run = open_run(run.folder)
    unread()
    for name, words in (("some", "some: 10 of 12 samples have no value"), ("flat", "flat: all samples have the same"),
                        ("rare", "rare: the smaller class has 1 samples; 3 folds")):  # fmt: skip
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
    assert result["scores"][-1]["value"] == pytest.approx(scores[0]), "all training samples are what a probe has"
    assert stored_learning(run, "level", 3, SITES, QUICK) == {site: record.result for site, record in found.items()}
    unread()
    assert drain(learning(run, "level", 3, ["h", "x"], QUICK)) == ([1.0], found)


def test_the_shell_prints_probes_and_curves(run, capsys):
    common = ["probe", run.name, "--home", str(run.folder.parent.parent), "--label", "level", "--site", "x",
              "--folds", "3", "--controls", "2", "--draws", "50"]  # fmt: skip
    assert main([*common, "--step", "3"]) == 0
    printed = capsys.readouterr().out
    assert "selectivity" in printed and "R²" in printed and "level" in printed
    assert set(stored_decodability(run, "level", ["x"], QUICK).cells) == {("x", 3)}, "the page finds it"
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
