"""CKA over runs: what is stored, said and drawn, by the command, the verdict and the pages."""

import dataclasses

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from test_cli import failure, json_of, out_of
from tiny import drain, synthetic_run

from hcache import figures
from hcache.cache.records import list_records
from hcache.errors import UsageError
from hcache.extraction.run import extract
from hcache.measures.alike import runs_alike, shared_samples, sites_alike, steps_alike
from hcache.measures.cells import cells_of
from hcache.measures.declared.cka import ALIKE, SETTLED, map_of
from hcache.measures.evidence import Evidence
from hcache.measures.verdict import compare
from hcache.report.document import verdict_report
from hcache.report.exhibits import exhibits
from hcache.specs import RunSpec

N, STEPS = 20, 4
SPEC = RunSpec(model="made-up", samples=N, steps=STEPS, seed=3)


def planted(home, spec=SPEC, seed=0):
    """h that is noise at steps 0 and 1, and one thing, turned about, at steps 2 and 3; x is noise
    but at step 2, where it is h.
    """
    rng = np.random.default_rng(seed)
    h = rng.normal(size=(STEPS, spec.samples, 3, 8, 8)).astype(np.float32)
    turn = np.linalg.qr(rng.normal(size=(192, 192)))[0].astype(np.float32)
    h[3] = (h[2].reshape(-1, 192) @ turn).reshape(h[3].shape)
    x = rng.normal(size=(STEPS + 1, spec.samples, 3, 8, 8)).astype(np.float32)
    x[2] = 2 * h[2] + 1
    cut = spec.samples // 3
    return synthetic_run(home, spec, h, [(0, cut), (cut, spec.samples)], x)


@pytest.fixture
def run(tmp_path):
    return planted(tmp_path / "home")


def home_of(run):
    return ("--home", str(run.home))


def test_steps_of_the_same_thing_are_alike_and_noise_is_not(run):
    shares, record = drain(steps_alike(run, "h", 256, 99))
    assert shares == sorted(shares) and shares[-1] == 1
    value, p = np.array(record.result["value"]), np.array(record.result["p"], float)
    assert value[2, 3] == pytest.approx(1, abs=1e-3) and p[2, 3] == 0.01
    assert abs(value[0, 1]) < 0.3 and np.isnan(p[0, 0])
    np.testing.assert_array_equal(value, value.T)
    assert drain(steps_alike(run, "h", 256, 99))[0] == [1.0], "what is stored is looked up"


def test_sites_of_a_step_are_compared_with_x_t_among_them(run):
    _, record = drain(sites_alike(run, 2, 256, 19))
    assert record.result["rows"] == ["x", "h"]
    assert record.result["value"][0][1] == pytest.approx(1, abs=1e-3)
    _, other = drain(sites_alike(run, 1, 256, 19))
    assert abs(other.result["value"][0][1]) < 0.3


def test_fewer_samples_are_the_first(run):
    _, few = drain(steps_alike(run, "h", 8, 9))
    assert few.parameters["compared"] == 8 and few.result["value"] != []
    again = planted(run.home, dataclasses.replace(SPEC, samples=8, seed=4))
    assert again.name != run.name


def test_two_runs_are_compared_over_the_same_seeds(run):
    """The other begins 5 seeds later; what its samples hold is what ours hold, scaled."""
    spec = dataclasses.replace(SPEC, seed=8, samples=15, model="another")
    h = np.stack([run.matrix("h", step) for step in range(STEPS)]).reshape(STEPS, N, 3, 8, 8)
    other = synthetic_run(run.home, spec, 3 * h[::-1, 5:])
    own, theirs = shared_samples(run, other)
    assert own.tolist() == list(range(5, 20)) and theirs.tolist() == list(range(15))
    _, record = drain(runs_alike(run, other, "h", 256, 19))
    value = np.array(record.result["value"])
    np.testing.assert_allclose(value[[0, 1, 2, 3], [3, 2, 1, 0]], 1, atol=1e-3)
    assert abs(value[0, 0]) < 0.4
    cell = cells_of(run)[ALIKE, "another run"]
    assert other.name in cell.note and not cell.warning and cell.estimate.n == 15
    (other.folder / "manifest.jsonl").write_text("")
    assert "measure again" in cells_of(run)[ALIKE, "another run"].warning


def test_runs_that_share_no_noise_are_refused(run, tmp_path):
    far = planted(run.home, dataclasses.replace(SPEC, seed=100, model="far"))
    with pytest.raises(UsageError, match="0 seeds in common; CKA takes 5"):
        shared_samples(run, far)
    turned = dataclasses.replace(far, spec=dataclasses.replace(far.spec, seed=3))
    wide = dataclasses.replace(turned, anatomy=dataclasses.replace(far.anatomy, x=(3, 16, 16)))
    with pytest.raises(UsageError, match="equal seeds are not equal noise"):
        shared_samples(run, wide)


def test_the_command_measures_and_says_what_it_found(run, capsys):
    other = planted(run.home, dataclasses.replace(SPEC, model="another"), seed=1)
    out = out_of(
        capsys, "measure", run.name, "--what", "cka", "--beside", other.name, *home_of(run)
    )
    assert "settled h" in out and "alike another run" in out
    kinds = [record.parameters["of"] for record in list_records(run, "cka")]
    assert sorted(kinds) == ["runs", "sites", "steps"]
    cells = cells_of(run)
    assert cells[SETTLED, "h"].estimate.value == pytest.approx(1, abs=1e-3)
    assert cells[SETTLED, "h"].p == 0.01 and "step 2 with the last step, 3" in out
    assert cells[ALIKE, "another run"].p > 0.01
    said = failure(capsys, 2, "measure", run.name, "--what=cka", "--beside=nowhere", *home_of(run))
    assert "no run 'nowhere' to compare with" in said
    said = failure(
        capsys, 2, "measure", run.name, "--what=cka", f"--beside={run.name}", *home_of(run)
    )
    assert "the run itself" in said


def test_the_row_of_another_run_is_shown_only_where_one_was_named(run):
    drain(steps_alike(run, "h", 256, 9))
    keys = [row.key for row in compare([run])]
    assert (SETTLED, "h") in keys and (ALIKE, "another run") not in keys


def test_the_verdict_shows_the_maps(run):
    drain(steps_alike(run, "h", 256, 19))
    drain(sites_alike(run, 2, 256, 19))
    shown = exhibits(SETTLED, "h", {run.name: Evidence(run)})
    steps, sites = (each.figure for each in shown)
    assert np.shape(steps.data[0].z) == (4, 4) and list(sites.data[0].y) == ["x", "h"]
    dots = set(zip(steps.data[1].x, steps.data[1].y, strict=True))
    assert ("0", "1") in dots and ("2", "3") not in dots, "what is not above chance is dotted"
    assert "95 % of shuffles below" in steps.data[0].customdata[0][1]
    assert "h halfway is similar to h at the end" in verdict_report([run])


def test_the_figure_for_print_shows_every_cell(run, tmp_path, capsys):
    out = tmp_path / "map.svg"
    found = json_of(capsys, "figure", "cka", run.name, "--out", str(out), *home_of(run))
    assert "20 samples" in found["caption"] and out.read_text().startswith("<")
    (record,) = list_records(run, "cka")
    drawn = figures.similarity_map(map_of(record))
    cells, *dots = drawn.ax.collections
    assert cells.get_array().size == 16
    assert sum(len(each.get_offsets()) for each in dots) == sum(
        p is not None and p > 0.05 for row in record.result["family_p"] for p in row
    )
    said = failure(
        capsys, 2, "figure", "cka", run.name, "--site=skip.9", f"--out={out}", *home_of(run)
    )
    assert "does not store skip.9" in said


def test_the_compare_page_shows_two_runs_maps(copied_run, tiny_model, monkeypatch):
    run = copied_run
    spec = dataclasses.replace(run.spec, store_dtype="float32", samples=8)
    other = extract(tiny_model, spec, run.home)
    monkeypatch.setenv("HCACHE_HOME", str(run.home))
    st.cache_data.clear()
    st.cache_resource.clear()
    started = []
    monkeypatch.setattr("hcache.background.tasks.start", lambda folder, work: started.append(work))
    app = AppTest.from_file("../dashboard.py", default_timeout=120)
    for name, value in {"run": run.name, "A-run": run.name, "B-run": other.name}.items():
        app.query_params[name] = value
    app.run()
    app.switch_page("pages/compare.py").run()
    assert not app.exception
    app.button(key="start-measure").click().run()
    assert started[0].what == ("cka",) and started[0].options == {"beside": other.name}
    assert not app.get("plotly_chart")
    drain(runs_alike(run, other, "h", 256, 9))
    app.run()
    assert not app.exception and len(app.get("plotly_chart")) == 1
