"""Background tasks: any command, with a status file, in a process that outlives whoever started
it.
"""

import io
import json
import os
import signal

import pytest
from msgspec import structs
from test_cli import failure, json_of, out_of
from tiny import put_task, wait_for

from hcache.background import kinds, tasks
from hcache.background.kinds import Fitting, Importing, Measuring
from hcache.background.processes import CANCELLED, DIED, DONE, FAILED, RUNNING
from hcache.cache.layout import TASKS
from hcache.cli.background import DOERS
from hcache.cli.main import build_parser
from hcache.directions.fitting import Fit
from hcache.directions.store import list_moves
from hcache.errors import RunBusyError, UsageError


@pytest.fixture(autouse=True)
def no_task_outlives_its_test(copied_run):
    yield
    for task in tasks.list_tasks(copied_run.folder):
        if task.live and task.pid != os.getpid():
            os.kill(task.pid, signal.SIGKILL)


def ended(folder, id):
    return wait_for(
        lambda: (task := tasks.read_task(folder, id)) and not task.live and task,
        "the end of the task",
    )


def test_a_fit_in_the_background_is_cancelled_within_a_step_and_done_when_let_be(
    copied_run, capsys
):
    """One process that is stopped, and one that fits."""
    folder = copied_run.folder
    options = {"iterations": 100000, "tolerance": 0, "last": 0}
    long = Fitting(what=Fit(method="jacobian", run=copied_run.name, options=options), name="slow")
    task = tasks.start(folder, long)
    assert task.live and [found.id for found in tasks.list_tasks(folder, "fit")] == [task.id]
    assert tasks.list_tasks(folder, "measure") == []
    with pytest.raises(RunBusyError, match="by jacobian is at work already"):
        tasks.start(folder, long)
    with pytest.raises(UsageError, match="cancel it first"):
        tasks.forget(folder, task.id)
    wait_for(
        lambda: (
            tasks.read_task(folder, task.id).share > 0 or not tasks.read_task(folder, task.id).live
        ),
        "work",
    )
    home = str(folder.parent.parent)
    (listed,) = json_of(capsys, "tasks", copied_run.name, "--home", home)
    assert (listed["id"], listed["state"], listed["stage"]) == (task.id, RUNNING, "jacobian")
    out_of(capsys, "cancel", copied_run.name, "--task", task.id, "--home", home)
    stopped = ended(folder, task.id)
    assert stopped.state == CANCELLED and 0 < stopped.share < 1, stopped
    assert list_moves(copied_run) == [] and "Traceback" not in tasks.log_of(folder, task.id)
    with pytest.raises(UsageError, match="nothing to cancel"):
        tasks.cancel(folder, task.id)

    short = Fitting(what=Fit(method="naive", run=copied_run.name, positives=(1, 2)), name="naive")
    done = ended(folder, tasks.start(folder, short).id)
    assert (done.state, done.share) == (DONE, 1.0), done
    assert [entry.name for entry in list_moves(copied_run)] == ["naive"]
    tasks.forget(folder, done.id)
    assert [found.id for found in tasks.list_tasks(folder)] == [stopped.id] and not list(
        folder.rglob("*.partial")
    )


def test_a_command_that_fails_leaves_what_to_do_in_its_status_file(copied_run, tmp_path, capsys):
    """In this process: the file is the command's, whoever runs it."""
    arguments = (
        "direction",
        "fit",
        copied_run.name,
        "--home",
        str(copied_run.folder.parent.parent),
        "--method",
        "naive",
        "--positives",
        "1",
        "--status",
    )
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
    assert (
        tasks.list_tasks(copied_run.folder) == []
        and tasks.read_task(copied_run.folder, "../run") is None
    )


WORKS = (
    Fitting(what=Fit(method="naive", run="a-run", positives=(1, 2)), name="smile"),
    Importing(
        run="a-run", folder="blocks-0123456789ab", files=("-smile.pth", "a b.pth"), name="smile"
    ),
    Measuring(run="a-run", what=("codes",), labels=("--status=x", "smile"), samples=4, nulls=2),
)


def test_measures_by_another_reader_say_so_and_others_are_described_as_before():
    work = Measuring(run="a-run", what=("codes",), labels=(), samples=4, nulls=2, reader="-clip")
    assert kinds.read_work(work.kind, "a-run", work.order()) == work
    assert build_parser().parse_args(work.arguments()).reader == "-clip"
    assert "reader" not in structs.replace(work, reader="").order(), (
        "tasks of before have the same id"
    )
    for value in (None, 0.5, [], {}):
        with pytest.raises(UsageError, match="reader"):
            kinds.read_work(work.kind, "a-run", {**work.order(), "reader": value})


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.kind)
def test_a_piece_of_work_is_read_back_as_it_was(work, capsys):
    order = json.loads(json.dumps(work.order()))
    assert kinds.read_work(work.kind, "a-run", order) == work
    arguments = build_parser().parse_args(work.arguments())
    assert arguments.run_name == "a-run" and arguments.status is None, (
        "the command that is shown says the same"
    )
    for name in order:
        with pytest.raises(UsageError):
            kinds.read_work(work.kind, "a-run", {k: v for k, v in order.items() if k != name})
        for value in (
            None,
            0.5,
            True,
            -1,
            {},
            {"method": "none"},
            "../../etc",
            [None],
            "--status=x/y",
            "x" * 200,
        ):
            with pytest.raises(UsageError):
                kinds.read_work(work.kind, "a-run", {**order, name: value})
    with pytest.raises(UsageError):
        kinds.read_work(work.kind, "a-run", {**order, "status": "/etc/passwd"})


def test_every_kind_is_done_by_someone_and_no_other_is_known():
    assert DOERS.keys() == kinds.KINDS.keys()
    for kind in ("", "shell", "../up", "extract "):
        with pytest.raises(UsageError, match="no kind of background work"):
            kinds.read_work(kind, "a-run", {})


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"home": "x"}', b'{"home": 1, "run": 2, "kind": 3, "order": 4}']
)
def test_the_command_refuses_what_is_no_order(text, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert "standard input" in failure(capsys, 2, "background")


def test_an_order_for_a_run_outside_the_home_is_refused(copied_run, tmp_path, monkeypatch, capsys):
    work = Measuring(run="../../elsewhere", what=("codes",), labels=(), samples=1, nulls=1)
    order = {
        "home": str(tmp_path / "copy"),
        "run": work.run,
        "kind": work.kind,
        "order": work.order(),
    }
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(order).encode())))
    assert "no run" in failure(capsys, 2, "background")


def test_a_task_that_came_with_a_run_is_known_by_its_seal(copied_run, tmp_path, monkeypatch):
    folder, work = (
        copied_run.folder,
        Fitting(what=Fit(method="random", run=copied_run.name), name="noise"),
    )
    task = ended(folder, tasks.start(folder, work).id)
    assert task.state == DONE and task.ours and task.to_do() == work
    path = tasks.status_path(folder, task.id)
    data = json.loads(path.read_text())
    for changed in (
        {"order": {**data["order"], "name": "another"}},
        {"seal": ""},
        {"seal": "ü"},
        {"kind": "import"},
    ):
        path.write_text(json.dumps({**data, **changed}))
        assert not tasks.read_task(folder, task.id).ours, changed
    path.write_text(json.dumps(data))
    assert tasks.read_task(folder, task.id).ours
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user"))
    assert not tasks.read_task(folder, task.id).ours


def test_a_task_of_an_earlier_version_is_read_and_its_words_are_not_run(copied_run):
    (copied_run.folder / TASKS).mkdir()
    written = {
        "id": "fit-1",
        "run": "x",
        "kind": "fit",
        "title": "a fit",
        "arguments": ["bench", "--out", "/etc/x"],
        "state": "failed",
        "pid": 0,
        "process_started": 0.0,
        "begun": 1.0,
        "updated": 2.0,
        "work_begun": 0.0,
        "share": 0.5,
        "stage": "",
        "message": "why",
    }
    (copied_run.folder / TASKS / "fit-1.json").write_text(json.dumps(written))
    (task,) = tasks.list_tasks(copied_run.folder)
    assert (task.title, task.state, task.message, task.share) == ("a fit", FAILED, "why", 0.5)
    assert not task.ours and "bench" not in str(task)
    with pytest.raises(UsageError, match="start it again"):
        task.to_do()


def test_a_folder_of_tasks_that_is_a_link_is_neither_read_nor_written(copied_run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (copied_run.folder / TASKS).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "fit-1.json").write_text(json.dumps({"title": "x"}))
    assert tasks.list_tasks(copied_run.folder) == []
    with pytest.raises(UsageError, match="is a link"):
        tasks.start(
            copied_run.folder, Fitting(what=Fit(method="random", run=copied_run.name), name="noise")
        )
