"""Every page in every state that its run may be in: nothing there, being loaded, partial,
complete, failed, gone.
"""

import json
import os
import shutil

import psutil
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from hcache.background import extractions as jobs
from hcache.background import tasks
from hcache.cache.layout import JOB_JSON, JOB_LOG, MANIFEST, RUN_JSON
from hcache.cards import default_spec
from hcache.extraction.run import extract
from hcache.models.loading import load_model
from hcache.ui import frame

MODEL = "toyfaces-ddpm-64"
PAGES = {label: path for path, label, _ in frame.PAGES}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A home with a run of two shards."""
    home = tmp_path_factory.mktemp("whole home")
    (home / "runs").mkdir()
    extract(load_model(MODEL), default_spec(MODEL, samples=20, steps=3, batch=16), home)
    return home


@pytest.fixture
def home(whole, tmp_path, monkeypatch):
    """A copy to be spoilt; nothing is started in it."""
    folder = tmp_path / "home"
    shutil.copytree(whole, folder)
    monkeypatch.setenv("HCACHE_HOME", str(folder))
    monkeypatch.setattr(jobs, "start", lambda *_: None)
    monkeypatch.setattr(tasks, "start", lambda *_: None)
    st.cache_data.clear()
    st.cache_resource.clear()
    return folder


def run_of(home):
    return next((home / "runs").iterdir())


def put_job(run, state, done, message=""):
    """A job file; one at work is at work in this process."""
    process = psutil.Process(os.getpid())
    job = {
        "run": run.name,
        "state": state,
        "pid": process.pid,
        "process_started": process.create_time(),
        "begun": 1000.0,
        "updated": 1010.0,
        "done": done,
        "total": 20,
        "work": float(done),
        "message": message,
    }
    (run / JOB_JSON).write_text(json.dumps(job))
    (run / JOB_LOG).write_text("loading\n 10%\r 80%\nthe last line\n")


def cut(run):
    """Leaves the first 16 samples: the small shard that a run begins with, and the one that
    fills its batch.
    """
    path = run / MANIFEST
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))


def show(page, **address):
    app = AppTest.from_file("../dashboard.py", default_timeout=60)
    if page != "Overview":
        app.switch_page(PAGES[page])
    app.query_params.update(address)
    app.run()
    assert not app.exception, app.exception
    return app


def said(app):
    """All that the page says."""
    kinds = (app.info, app.warning, app.error, app.success, app.caption, app.markdown, app.title)
    bars = [bar.proto.text for bar in app.get("progress")]
    return "\n".join([*(element.value for kind in kinds for element in kind), *bars])


@pytest.mark.parametrize("page", PAGES)
def test_empty(page, tmp_path, monkeypatch):
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path / "nothing"))
    started = []
    monkeypatch.setattr(jobs, "start", lambda spec, home: started.append(spec.model))
    app = show(page)
    assert started == [MODEL] and not app.error
    assert app.title[0].value == page
    assert "a demo run was started" in said(app) or page in ("Extract", "Help")


@pytest.mark.parametrize("page", PAGES)
def test_loading(page, home):
    run = run_of(home)
    for name in (RUN_JSON, MANIFEST):
        (run / name).unlink()
    put_job(run, jobs.STARTING, 0)
    app = show(page)
    assert not app.error and "starting, loading the model" in said(app)
    if page not in ("Overview", "Extract", "Help"):
        assert "the run has 0 so far" in said(app)
        assert any(button.label == "Cancel" for button in app.button)


@pytest.mark.parametrize("page", PAGES)
def test_partial(page, home):
    run = run_of(home)
    cut(run)
    put_job(run, jobs.RUNNING, 16)
    app = show(page)
    assert not app.error
    assert "16 of 20 samples, 1.6 samples/s, 2 s left" in said(app)


def test_a_job_that_claims_more_than_the_run_holds_does_not_draw_the_page_for_ever(home):
    run = run_of(home)
    cut(run)
    put_job(run, jobs.RUNNING, 20)
    app = show("Gallery")
    assert not app.error and "20 of 20 samples" in said(app)


@pytest.mark.parametrize("page", PAGES)
def test_complete(page, home):
    put_job(run_of(home), jobs.DONE, 20)
    app = show(page)
    assert not app.error and "20 of 20 samples" in said(app)


@pytest.mark.parametrize("page", PAGES)
def test_failed(page, home):
    """What there is is shown all the same, and what went wrong."""
    run = run_of(home)
    cut(run)
    put_job(run, jobs.FAILED, 16, "the disk is full")
    app = show(page)
    (error,) = [message.value for message in app.error]
    assert "the disk is full" in error and "Resume" in error
    assert "16 of 20 samples" in said(app)


def test_a_failed_job_can_be_resumed_and_its_log_opened(home, monkeypatch):
    run = run_of(home)
    put_job(run, jobs.FAILED, 16, "the disk is full")
    started = []
    monkeypatch.setattr(jobs, "start", lambda spec, home, folder: started.append(folder.name))
    app = show("Extract")
    assert any(code.value == "loading\n 80%\nthe last line" for code in app.code)
    app.button(key=f"resume-{run.name}").click().run()
    assert started == [] and "came from elsewhere" in said(app), (
        "an earlier version wrote it, or someone else"
    )
    assert any(run.name in code.value and "extract" in code.value for code in app.code)
    app.button(key=f"agree-resume-{run.name}").click().run()
    assert started == [run.name] and not app.exception


@pytest.mark.parametrize("page", PAGES)
def test_gone(page, home):
    """A link to a run that was removed, and a click on one that is there."""
    app = show(page, run="removed-0123456789", step="1")
    assert "There is no run 'removed-0123456789'" in said(app)
    there = run_of(home).name
    app.button(key=f"instead-{there}").click().run()
    assert not app.exception and not app.error and "20 of 20 samples" in said(app)
    assert there in app.query_params["run"]


@pytest.mark.parametrize("page", PAGES)
def test_removed_under_an_open_page(page, home):
    app = show(page)
    shutil.rmtree(run_of(home))
    app.run()
    assert not app.exception and not app.error and "in this home" in said(app)
