"""Sparse features as a measure: stored, in the verdict, by the command and on the PCA page."""

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from test_cli import failure, json_of, out_of
from test_sparse import OPTIONS, planted, run_of
from tiny import drain

from hcache.background.kinds import read_work
from hcache.cache.records import list_records
from hcache.measures.cells import cells_of
from hcache.measures.costs import sparse_seconds
from hcache.measures.declared.sparse import DRAWN, EXPLAINED, SUBJECT
from hcache.measures.evidence import Evidence
from hcache.measures.sparse import measured_features, sparse_features
from hcache.report.exhibits import exhibits
from hcache.sparse.dictionary import load_dictionary
from hcache.sparse.plan import plan_of
from hcache.ui.panels.sparse import training_work

SMALL = OPTIONS | {"tokens": 3000}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("measured"), planted(n=20)[0], [(0, 12), (12, 20)])


def test_a_result_is_stored_and_answers_a_question(run):
    plan = plan_of(run, "h", SMALL)
    assert measured_features(run, plan) is None
    shares, record = drain(sparse_features(run, plan))
    assert shares == sorted(shares) and shares[-1] == 1
    assert measured_features(run, plan).result == record.result
    found = record.result
    assert found["alive"] + found["dead"] == found["features"] == 32
    assert np.shape(found["rate"]) == (min(24, found["alive"]), 2)
    assert set(np.ravel(found["top"])) <= set(range(20))
    cell = cells_of(run)[EXPLAINED, SUBJECT]
    assert cell.estimate.value == found["explained"]["value"] and cell.null < cell.estimate.value
    assert "3 principal components" in cell.note and cell.estimate.n == 4
    load_dictionary(run, plan).path.unlink()
    drain(sparse_features(run, plan))
    assert load_dictionary(run, plan) is not None, "a result without its dictionary is of no use"


def test_the_command_trains_and_refuses_in_one_line(run, capsys):
    home = ("--home", str(run.home))
    options = [f"--sparse-{name}={value}" for name, value in SMALL.items()]
    out = out_of(capsys, "measure", run.name, "--what=sparse", *options, *home)
    assert "explained sparse features" in out
    for changed, said in (
        ("--sparse-active=40", "expected 1 to 32, got 40"),
        ("--sparse-site=skip.1", "no site 'skip.1'"),
    ):
        more = [*options, changed]
        assert said in failure(capsys, 2, "measure", run.name, "--what=sparse", *more, *home)


def test_a_task_that_trains_is_the_command(run):
    work = training_work(run, plan_of(run, "h", SMALL))
    again = read_work("measure", run.name, work.order())
    assert again == work and "--sparse-features=32" in again.arguments()


def test_the_cost_grows_with_what_is_trained(run):
    small, large = (plan_of(run, "h", SMALL | {"tokens": n}) for n in (1000, 1_000_000))
    assert sparse_seconds(run, large) > 20 * sparse_seconds(run, small) > 0


def test_the_page_trains_features_and_shows_them(tiny_run, copied_run, monkeypatch):
    run = copied_run
    monkeypatch.setattr("hcache.sparse.plan.FEWEST", min(10, len(run)))
    monkeypatch.setenv("HCACHE_HOME", str(run.home))
    st.cache_data.clear()
    st.cache_resource.clear()
    started = []
    monkeypatch.setattr("hcache.background.tasks.start", lambda folder, work: started.append(work))
    app = AppTest.from_file("../dashboard.py", default_timeout=120)
    for name, value in {"run": run.name, "over": "sparse features", "step": "2"}.items():
        app.query_params[name] = value
    app.run()
    app.switch_page("pages/pca.py").run()
    assert not app.exception
    app.button(key="start-measure").click().run()
    assert started[0].what == ("sparse",)
    plan = plan_of(run, "h", {name: 0 for name in OPTIONS})
    assert {f"sparse_{name}": getattr(plan, name) for name in OPTIONS} == started[0].options
    _, record = drain(sparse_features(run, plan))
    assert record.result["alive"]
    app.run()
    assert not app.exception
    titles = [each.value for each in app.subheader]
    assert {"What these features explain", "When they fire"} <= set(titles)
    app.button(key="start-fit").click().run()
    assert not app.exception and started[1].what.method == "sparse"
    sheets = exhibits(EXPLAINED, SUBJECT, {run.name: Evidence(run)})
    assert len(sheets) == 3 and len(list_records(run, "sparse")) == 1


def test_the_figure_for_print_has_a_row_for_each_feature(copied_run, tmp_path, monkeypatch, capsys):
    run = copied_run
    monkeypatch.setattr("hcache.sparse.plan.FEWEST", min(10, len(run)))
    asked = ("figure", "sparse", run.name, "--out", str(tmp_path / "sparse.svg"))
    home = ("--home", str(run.home))
    assert "no sparse features of x were trained" in failure(capsys, 2, *asked, "--site=x", *home)
    record = drain(sparse_features(run, plan_of(run, "h", SMALL)))[1]
    told = json_of(capsys, *asked, *home)
    shares = [record.result["explained"]["value"], record.result["pca"]["value"]]
    assert all(f"{share:.2f}" in told["caption"] for share in shares)
    drawn = (tmp_path / "sparse.svg").read_text()
    features = min(DRAWN, len(record.result["rate"]))
    assert features > 1
    assert all(f">feature {number}</text>" in drawn for number in range(features))
    assert drawn.count("<image ") == features, "the strongest samples of each, in one strip"
