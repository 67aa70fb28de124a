"""A piece of background work and its status file, by which whoever watches it knows how far it is.

    <run>/tasks/<id>.json, <id>.log    what it is, its progress and result; what it printed
    <run>/job.json, job.log            the same of the run's extraction, whose id is ``extract``

The process keeps its status file up to date while it works. So a task outlives the dashboard and a
closed tab, and is found again after either. The id is made of what is to be done: the same work is
not done twice at once, and done again it takes the place of the earlier one.

A status file may have come with a run from elsewhere. It is checked field by field, links are not
followed, and the work in it is only ever read back as one of ``kinds``. Files that earlier versions
wrote are read as well; their words for a command line are not kept.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import asdict, replace

from ..atomic import make_folder
from ..cache.files import write_json
from ..cache.layout import JOB_JSON, JOB_LOG, TASKS, home_of
from ..errors import RunBusyError, UsageError
from ..foreign import is_foreign
from ..schemas import checked
from .kinds import EXTRACT, Extraction, Work, read_work
from .origin import is_ours, seal_of
from .processes import (
    CANCELLED,
    DEAD,
    DIED,
    LIVE,
    STARTING,
    UNKNOWN,
    State,
    ask_to_stop,
    launch,
    life,
    log_text,
    of_the_dead,
    read_plain,
    this_process,
)

SCHEMA = 2
"""The schema version. 1 was two schemas: an extraction's, and that of other tasks with words of a
command line.
"""

MOST = 10**15
"""The largest time in seconds and count of ticks."""
Number = Annotated[int, Meta(ge=-MOST, le=MOST)] | Annotated[float, Meta(ge=-MOST, le=MOST)]
Small = Annotated[int, Meta(ge=0, lt=2**31)]

HEARD = 120.0
"""The seconds after which a silent task on another machine is no longer waited for."""
LONGEST = 4000
"""The largest number of characters of a message."""
MOST_BYTES = 2**22
"""The largest status file that is read, in bytes."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Task(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a task, as its status file holds it.

    ``kind``: what sort of work it is, one of ``kinds.KINDS``. ``title``: what it is, for people.
    ``order``: what is to be done, for ``kinds.read_work``; an extraction's stands in ``run.json``.
    ``seal``: see ``origin``. ``pid`` to ``ticks``: of the process, see ``processes``. ``share`` is
    done, in [0, 1], of which ``share_before`` was done when the work began. ``stage``: what it is
    at. Work on samples counts them: ``done`` of ``total`` are committed.
    """

    run: str
    state: State
    begun: Number
    updated: Number
    id: str = EXTRACT
    kind: str = EXTRACT
    title: str = ""
    order: dict[str, Any] = {}
    seal: str = ""
    pid: Small = 0
    process_started: Number = 0.0
    host: str = ""
    boot: str = ""
    ticks: Annotated[int, Meta(ge=0, le=MOST)] = 0
    work_begun: Number = 0.0
    share: Number = 0.0
    share_before: Number = 0.0
    done: Small = 0
    total: Small = 0
    stage: str = ""
    message: str = ""
    schema: Annotated[int, Meta(ge=1, le=SCHEMA)] = SCHEMA

    @property
    def live(self) -> bool:
        """Whether the task waits or runs."""
        return self.state in LIVE

    @property
    def remaining(self) -> float | None:
        """The seconds left at the rate so far.

        It is None without a rate.
        """
        took, grown = self.updated - self.work_begun, self.share - self.share_before
        if not self.live or not 0 < self.share <= 1 or took <= 0 or grown <= 0:
            return None
        return took * (1 - self.share) / grown

    @property
    def work(self) -> float:
        """The samples done, including a share of the current ones.

        It is 0 for a task that is not on samples.
        """
        return self.share * self.total

    @property
    def rate(self) -> float:
        """The samples per second since the task began."""
        grown = (self.share - self.share_before) * self.total
        return max(0.0, grown) / max(1e-6, self.updated - self.work_begun)

    def to_do(self) -> Work:
        """Returns the checked order.

        Raises:
            UsageError: the order is missing, or its kind is unknown.
        """
        if not self.order:
            raise UsageError(f"{self.title} does not say what to do; start it again from its page")
        return read_work(self.kind, self.run, self.order)

    @property
    def ours(self) -> bool:
        """Whether this user started it on this machine.

        Otherwise its contents came from elsewhere.
        """
        return is_ours(self.seal, self.run, self.kind, self.order)


def new_task(work: Work, state: State = STARTING) -> Task:
    """Returns the task of work that begins now, in this process."""
    now, order = time.time(), identity(work)
    return Task(
        id=task_id(work),
        run=work.run,
        kind=work.kind,
        title=work.title,
        order={} if work.kind == EXTRACT else order,
        seal=seal_of(work.run, work.kind, order),
        total=work.spec.samples if isinstance(work, Extraction) else 0,
        state=state,
        begun=now,
        updated=now,
        **this_process(),
    )


def identity(work: Work) -> dict[str, Any]:
    """Returns the sealed contents of a task.

    For an extraction these exclude the number of samples and the batch size.
    """
    order = json.loads(json.dumps(work.order()))
    if work.kind == EXTRACT:
        order = {name: value for name, value in order.items() if name not in ("samples", "batch")}
    return order


def start(folder: Path, work: Work) -> Task:
    """Starts a task in its own process.

    The process may outlive this one.

    Args:
        folder: The folder of the run, which a user may have renamed. For an extraction it need not
            exist yet.
        work: The task.

    Raises:
        RunBusyError: the task is already running.
        UsageError: the folder of the run's tasks is a link.
    """
    path = status_path(folder, task_id(work))
    _refuse_busy(read_task(folder, task_id(work)))
    if path.parent.is_symlink():
        raise UsageError(f"{path.parent} is a link; put a folder in its place")
    make_folder(path.parent)
    task = new_task(work)
    write_json(path, asdict(task), durable=False)
    home = str(home_of(folder.absolute()))
    order = {"home": home, "folder": folder.name, "run": work.run, "kind": work.kind}
    order["order"] = work.order()
    try:
        process = launch(
            json.dumps(order).encode(), log_path(folder, task.id), append=work.kind == EXTRACT
        )
    except OSError:
        path.unlink(missing_ok=True)
        raise
    task = replace(task, **process)
    write_json(path, asdict(task), durable=False)
    return task


def task_id(work: Work) -> str:
    """Returns the id of a task.

    A run has only one extraction.
    """
    if work.kind == EXTRACT:
        return EXTRACT
    order = json.dumps(work.order(), sort_keys=True).encode()
    return f"{work.kind}-{hashlib.sha256(order).hexdigest()[:12]}"


def read_task(folder: Path, id: str) -> Task | None:
    """Returns a run's task, or None if none has that id.

    Its state is corrected if the process no longer lives.
    """
    task = load_task(folder, id)
    if task is None or not task.live:
        return task
    found = life(task.pid, task.process_started, task.host, task.boot, task.ticks)
    if found == UNKNOWN:
        heard = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(task.updated))
        return replace(
            task,
            state=UNKNOWN,
            message=f"at work on the machine {task.host}, last heard of {heard}",
        )
    if found != DEAD:
        return task
    if task.message == CANCELLED:
        return replace(task, state=CANCELLED, message="cancelled before it began")
    return replace(task, state=DIED, message=of_the_dead(log_path(folder, id)))


def list_tasks(folder: Path, kind: str | None = None) -> list[Task]:
    """Returns a run's tasks, or those of a kind, the latest first.

    Its extraction is included only if that kind is requested.
    """
    if kind == EXTRACT:
        task = read_task(folder, EXTRACT)
        return [task] if task else []
    paths = () if (folder / TASKS).is_symlink() else (folder / TASKS).glob(f"{kind or ''}*.json")
    ids = [path.stem for path in paths if path.stem != EXTRACT and not is_foreign(path.name)]
    found = [read_task(folder, id) for id in ids]
    tasks = [task for task in found if task is not None and kind in (None, task.kind)]
    return sorted(tasks, key=lambda task: task.begun, reverse=True)


def cancel(folder: Path, id: str) -> Task:
    """Asks a task to stop after its current step.

    Raises:
        UsageError: the task does not run, or runs on another machine.
    """
    task = read_task(folder, id)
    if task is not None and task.state == UNKNOWN:
        raise UsageError(f"{task.title} is {task.message}; cancel it there")
    if task is None or not task.live:
        raise UsageError(f"no task {id!r} of {folder.name} is at work; there is nothing to cancel")
    ask_to_stop(status_path(folder, id), asdict(task), task.title)
    return task


def forget(folder: Path, id: str) -> None:
    """Deletes the status and the log of an ended task.

    Raises:
        UsageError: the task is running.
    """
    task = read_task(folder, id)
    if task and task.live:
        raise UsageError(f"{task.title} is at work; cancel it first")
    for path in (status_path(folder, id), log_path(folder, id)):
        path.unlink(missing_ok=True)


def log_of(folder: Path, id: str) -> str:
    """Returns the end of a task's output.

    Each progress bar is in its last state.
    """
    return log_text(log_path(folder, id))


def status_path(folder: Path, id: str) -> Path:
    """Returns the path of a task's status. No id leads out of the run's folder."""
    return folder / JOB_JSON if id == EXTRACT else folder / TASKS / f"{Path(id).name}.json"


def log_path(folder: Path, id: str) -> Path:
    """Returns the path of a task's log."""
    return folder / JOB_LOG if id == EXTRACT else status_path(folder, id).with_suffix(".log")


def load_task(folder: Path, id: str) -> Task | None:
    """Loads and checks a task from its file.

    It is None if there is no such file, or if it is not a task.
    """
    path = status_path(folder, id)
    if id != EXTRACT and (path.parent.is_symlink() or not _ID.fullmatch(path.stem)):
        return None
    try:
        return _parse(read_plain(path, MOST_BYTES), folder.name, id)
    except (OSError, ValueError, RecursionError):
        return None


def _parse(text: bytes, run: str, id: str) -> Task:
    """Parses a task from its file's JSON. The place of the file gives its run and id.

    Raises:
        ValueError, RecursionError: it is not a task.
    """
    data = msgspec.json.decode(text)
    is_old = isinstance(data, dict) and "schema" not in data
    task = _of_schema_1(data) if is_old else checked(data, Task)
    message = task.message[:LONGEST]
    return replace(task, run=run, id=id, title=task.title or run, message=message)


class _OldExtraction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``job.json`` of schema 1."""

    run: str
    state: str
    begun: Number
    updated: Number
    pid: Small = 0
    process_started: Number = 0.0
    host: str = ""
    boot: str = ""
    ticks: int = 0
    done: Small = 0
    total: Small = 0
    work: Number = 0.0
    work_at_start: Number = 0.0
    message: str = ""


def _of_schema_1(data: dict[str, Any]) -> Task:
    """Converts a task of schema 1, from before extractions were tasks like the others.

    Words of a command line are left out: nothing is run from them.
    """
    if "arguments" in data:
        return checked({k: v for k, v in data.items() if k != "arguments"}, Task)
    old = asdict(checked(data, _OldExtraction))
    total = max(1, old["total"])
    shares = {"share": old.pop("work") / total, "share_before": old.pop("work_at_start") / total}
    return checked({**old, **shares, "work_begun": old["begun"]}, Task)


def _refuse_busy(task: Task | None) -> None:
    if task is None or not (task.live or task.state == UNKNOWN):
        return
    if task.live:
        where = f"as process {task.pid}" + (
            f" of {task.host}" if task.host not in ("", platform.node()) else ""
        )
        raise RunBusyError(f"{task.title} is at work already, {where}")
    if abs(time.time() - task.updated) < HEARD:
        raise RunBusyError(f"{task.title} is {task.message}; wait, or cancel it there")
