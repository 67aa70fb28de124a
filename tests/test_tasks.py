"""Background tasks: any command, with a status file, in a process that outlives whoever started it."""

import os
import signal

import pytest
from test_cli import failure, json_of, out_of
from tiny import put_task, wait_for

from hcache import tasks
from hcache.cache.layout import TASKS
from hcache.directions.store import list_moves
from hcache.errors import RunBusyError, UsageError
from hcache.processes import CANCELLED, DIED, DONE, FAILED, RUNNING


@pytest.fixture(autouse=True)
def no_task_outlives_its_test(copied_run):
    yield
    for task in tasks.list_tasks(copied_run.folder):
        if task.live and task.pid != os.getpid():
            os.kill(task.pid, signal.SIGKILL)


def ended(folder, id):
    return wait_for(lambda: (task := tasks.read_task(folder, id)) and not task.live and task, "the end of the task")


def test_a_fit_in_the_background_is_cancelled_within_a_step_and_done_when_let_be(copied_run, capsys):
    """One process that is stopped, and one that fits."""
    folder = copied_run.folder
    long = ["direction", "fit", copied_run.name, "--method", "jacobian", "--device", "cpu",
            "--option", "iterations=100000", "--option", "tolerance=0", "--option", "last=0"]  # fmt: skip
    task = tasks.start(folder, "fit", "by jacobian", long)
    assert task.live and [found.id for found in tasks.list_tasks(folder, "fit")] == [task.id]
    assert tasks.list_tasks(folder, "measure") == []
    with pytest.raises(RunBusyError, match="by jacobian is at work already"):
        tasks.start(folder, "fit", "by jacobian", long)
    with pytest.raises(UsageError, match="cancel it first"):
        tasks.forget(folder, task.id)
    wait_for(lambda: tasks.read_task(folder, task.id).share > 0 or not tasks.read_task(folder, task.id).live, "work")
    home = str(folder.parent.parent)
    (listed,) = json_of(capsys, "tasks", copied_run.name, "--home", home)
    assert (listed["id"], listed["state"], listed["stage"]) == (task.id, RUNNING, "jacobian")
    out_of(capsys, "cancel", copied_run.name, "--task", task.id, "--home", home)
    stopped = ended(folder, task.id)
    assert stopped.state == CANCELLED and 0 < stopped.share < 1, stopped
    assert list_moves(copied_run) == [] and "Traceback" not in tasks.log_of(folder, task.id)
    with pytest.raises(UsageError, match="nothing to cancel"):
        tasks.cancel(folder, task.id)

    short = ["direction", "fit", copied_run.name, "--method", "naive", "--positives", "1,2"]
    done = ended(folder, tasks.start(folder, "fit", "naive", short).id)
    assert (done.state, done.share) == (DONE, 1.0), done
    assert [entry.name for entry in list_moves(copied_run)] == ["naive"]
    tasks.forget(folder, done.id)
    assert [found.id for found in tasks.list_tasks(folder)] == [stopped.id] and not list(folder.rglob("*.partial"))


def test_a_command_that_fails_leaves_what_to_do_in_its_status_file(copied_run, tmp_path, capsys):
    """In this process: the file is the command's, whoever runs it."""
    arguments = ("direction", "fit", copied_run.name, "--home", str(copied_run.folder.parent.parent), "--method",
                 "naive", "--positives", "1", "--status")  # fmt: skip
    path = copied_run.folder / TASKS / "fit-2.json"
    path.parent.mkdir()
    said = failure(capsys, 1, *arguments, str(path))
    task = tasks.read_task(copied_run.folder, "fit-2")
    assert task.state == FAILED and "2 positives" in task.message and task.message in said
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "as it was"
    assert "make it first" in failure(capsys, 2, *arguments, str(tmp_path / "none" / "x.json"))


def test_a_task_is_dead_when_its_process_is(copied_run):
    folder = copied_run.folder
    put_task(folder)
    assert tasks.read_task(folder, "fit-1").state == RUNNING
    put_task(folder, process_started=0.0)
    (folder / TASKS / "fit-1.log").write_text("fit: 10%\rfit: 20%\nMemoryError: all gone\n")
    task = tasks.read_task(folder, "fit-1")
    assert task.state == DIED and "MemoryError: all gone" in task.message
    assert tasks.log_of(folder, "fit-1") == "fit: 20%\nMemoryError: all gone"
    put_task(folder, process_started=0.0, message=CANCELLED)
    assert tasks.read_task(folder, "fit-1").state == CANCELLED, "asked to stop before it listened"


def test_time_left_follows_the_share(copied_run):
    task = put_task(copied_run.folder, work_begun=100.0, updated=130.0, share=0.25)
    assert task.remaining == pytest.approx(90)
    assert put_task(copied_run.folder, share=0.0).remaining is None
    assert put_task(copied_run.folder, state=DONE, work_begun=1.0, share=1.0).remaining is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"id": "x"}', '{"arguments": 3}'])
def test_a_status_file_that_is_none_is_no_task(copied_run, text):
    (copied_run.folder / TASKS).mkdir()
    (copied_run.folder / TASKS / "fit-1.json").write_text(text)
    assert tasks.list_tasks(copied_run.folder) == [] and tasks.read_task(copied_run.folder, "../run") is None
    with pytest.raises(UsageError, match="kind of task"):
        tasks.task_id("../up", [])
