"""What a run's files ask for is done after one press if this user asked for it here, and else
only once agreed to.
"""

import json
from dataclasses import replace

import pytest
import streamlit as st
from msgspec import structs
from streamlit.testing.v1 import AppTest
from tiny import put_task

from hcache.background import extractions, tasks
from hcache.background.kinds import Fitting
from hcache.background.processes import FAILED
from hcache.background.status import StatusFile
from hcache.cache.layout import RUN_JSON, TASKS
from hcache.directions.fitting import Fit


@pytest.fixture
def started(copied_run, tmp_path, monkeypatch):
    """What is started, of a run that is opened on a page."""
    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path / "copy"))
    found = []
    monkeypatch.setattr(tasks, "start", lambda folder, work: found.append(work))
    return found


def open_page(name):
    app = AppTest.from_file("../dashboard.py", default_timeout=60)
    if name != "dashboard":
        app.switch_page(f"pages/{name}.py")
    app.run()
    assert not app.exception, app.exception
    return app


def failed_task(run, work, sealed):
    task = structs.replace(tasks.new_task(work), state=FAILED, message="the disk is full")
    task = task if sealed else structs.replace(task, seal="0" * 64)
    (run.folder / TASKS).mkdir()
    (run.folder / TASKS / f"{task.id}.json").write_text(json.dumps(structs.asdict(task)))
    return task


def test_ones_own_task_is_tried_again_by_one_press(copied_run, started):
    work = Fitting(what=Fit(method="random", run=copied_run.name), name="noise")
    task = failed_task(copied_run, work, sealed=True)
    open_page("edit").button(key=f"again-{task.id}").click().run()
    assert started == [work]


def test_a_received_task_is_shown_and_tried_again_only_once_agreed_to(copied_run, started):
    work = Fitting(what=Fit(method="random", run=copied_run.name), name="noise")
    task = failed_task(copied_run, work, sealed=False)
    app = open_page("edit")
    app.button(key=f"again-{task.id}").click().run()
    assert started == [] and any("came from elsewhere" in each.value for each in app.warning)
    assert any("--name=noise" in each.value for each in app.code), "all that would be done"
    app.button(key=f"leave-again-{task.id}").click().run()
    assert started == [] and not app.warning
    app.button(key=f"again-{task.id}").click().run()
    app.button(key=f"agree-again-{task.id}").click().run()
    assert started == [work]


@pytest.mark.parametrize("order", [{}, {"fit": 3, "name": "x"}, {"arguments": ["bench"]}])
def test_a_received_task_that_is_none_of_the_known_ones_cannot_be_tried(copied_run, started, order):
    task = put_task(copied_run.folder, state=FAILED, order=order)
    app = open_page("edit")
    button = app.button(key=f"again-{task.id}")
    if not button.disabled:
        app = button.click().run()
        assert app.error and not [
            each for each in app.button if each.key == f"agree-again-{task.id}"
        ]
    assert started == [] and not app.exception


def test_a_received_runs_model_is_not_run_before_it_was_agreed_to(copied_run, tmp_path, started):
    """Resume: a run whose model is named like an option, as in the attack."""
    spec = replace(copied_run.spec, model="--status=victim")
    folder = copied_run.folder.rename(copied_run.folder.with_name(spec.name))
    data = json.loads((folder / RUN_JSON).read_text())
    (folder / RUN_JSON).write_text(json.dumps({**data, "name": spec.name, "spec": spec.to_json()}))
    StatusFile.of_extraction(folder, copied_run.spec).finish(extractions.FAILED, "the disk is full")
    app = open_page("extract")
    app.button(key=f"resume-{spec.name}").click().run()
    assert started == [] and any("-- --status=victim" in each.value for each in app.code)
    app.button(key=f"agree-resume-{spec.name}").click().run()
    assert [work.spec for work in started] == [spec]


def test_ones_own_run_is_resumed_by_one_press(copied_run, started):
    StatusFile.of_extraction(copied_run.folder, copied_run.spec).finish(
        extractions.FAILED, "the disk is full"
    )
    open_page("extract").button(key=f"resume-{copied_run.name}").click().run()
    assert [work.spec for work in started] == [copied_run.spec]
