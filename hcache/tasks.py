"""Long work on a run as a background task: a command of hcache in a process of its own, with a status file.

Any command can be one. It is told ``--status FILE`` and keeps that file up to date while it works; whoever watches
reads the file. So a task outlives the dashboard and a closed tab, and is found again after either.

    <run>/tasks/<id>.json   what it is, how far it is, what it came to
    <run>/tasks/<id>.log    all that it printed

The id is made of the command's arguments: the same command is not run twice at once, and run again it takes the
place of the earlier one. Knows files and processes only; no torch.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .cache.files import write_json
from .cache.layout import TASKS
from .errors import RunBusyError, UsageError
from .processes import (
    CANCELLED,
    DIED,
    DONE,
    LIVE,
    RUNNING,
    STARTING,
    ask_to_stop,
    is_alive,
    launch,
    of_the_dead,
    this_process,
    write_status,
)

_KIND = re.compile(r"[a-z][a-z-]{0,39}")
_LONGEST = 4000
"""Characters of a message, and of a log where it is shown."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is known of a task.

    ``kind``: what sort of work it is (``fit``, ``measure``), to list some only. ``title``: what it is, for people.
    ``arguments``: after ``python -m hcache``. ``share`` done, in [0, 1]; ``stage``: what it is at.
    """

    id: str
    run: str
    kind: str
    title: str
    arguments: tuple[str, ...]
    state: str
    pid: int
    process_started: float
    begun: float
    updated: float
    work_begun: float = 0.0
    share: float = 0.0
    stage: str = ""
    message: str = ""

    def check(self) -> None:
        """Makes sure that a task that was read from a file can be reckoned with."""
        texts = (self.id, self.run, self.kind, self.title, self.state, self.stage, self.message, *self.arguments)
        numbers = (self.process_started, self.begun, self.updated, self.work_begun, self.share)
        fine = all(isinstance(text, str) for text in texts) and type(self.pid) is int and 0 <= self.pid < 2**31
        if not fine or not all(type(n) in (int, float) and abs(n) < 1e12 for n in numbers):
            raise ValueError(f"not a task: {self}")

    @property
    def live(self) -> bool:
        return self.state in LIVE

    @property
    def remaining(self) -> float | None:
        """Seconds left at the rate so far; None as long as there is none."""
        if not self.live or not 0 < self.share <= 1 or self.updated <= self.work_begun:
            return None
        return (self.updated - self.work_begun) * (1 - self.share) / self.share


class StatusFile:
    """The command's own side: keeps its status file up to date, a few times a second at most."""

    def __init__(self, path: Path) -> None:
        self.path = path
        now = time.time()
        found = _load(path) or Task(id=path.stem, run="", kind="", title=path.stem, arguments=(), state=RUNNING,
                                    pid=0, process_started=0.0, begun=now, updated=now)  # fmt: skip
        self.task = replace(found, state=RUNNING, updated=now, work_begun=0.0, share=0.0, stage="", message="",
                            **this_process())  # fmt: skip
        self._written = 0.0
        self._write()

    def update(self, share: float, stage: str = "") -> None:
        """Says how far the work is, and what it is at."""
        now = time.time()
        new_stage = stage != self.task.stage
        self.task = replace(self.task, share=share, stage=stage, updated=now, work_begun=self.task.work_begun or now)
        if new_stage or now - self._written > 0.25:
            self._write()

    def finish(self, state: str, message: str = "") -> None:
        """The last word: ``done``, ``failed`` or ``cancelled``, and why."""
        share = self.task.share if state != DONE else 1.0
        self.task = replace(self.task, state=state, message=message[:_LONGEST], updated=time.time(), share=share)
        self._write()

    def _write(self) -> None:
        write_status(self.path, asdict(self.task))
        self._written = time.time()


def start(folder: Path, kind: str, title: str, arguments: Sequence[str]) -> Task:
    """Starts a command on a run in a process of its own, which outlives this one.

    Args:
        folder: The run's.
        kind: Of work: ``fit``, ``measure``.
        title: What it is, for people.
        arguments: What to type after ``python -m hcache``; the home and ``--status`` are added.

    Raises:
        RunBusyError: this very command is at work already.
    """
    path = _path(folder, task_id(kind, arguments))
    task = read_task(folder, path.stem)
    if task and task.live:
        raise RunBusyError(f"{task.title} is at work already, as process {task.pid}")
    path.parent.mkdir(exist_ok=True)
    now = time.time()
    task = Task(id=path.stem, run=folder.name, kind=kind, title=title, arguments=tuple(arguments), state=STARTING,
                begun=now, updated=now, **this_process())  # fmt: skip
    write_json(path, asdict(task), durable=False)
    home = str(folder.parent.parent)
    try:
        process = launch([*arguments, "--home", home, "--status", str(path)], _log(path))
    except OSError:
        path.unlink(missing_ok=True)
        raise
    task = replace(task, **process)
    write_json(path, asdict(task), durable=False)
    return task


def task_id(kind: str, arguments: Sequence[str]) -> str:
    """The id that a command's task has."""
    if not _KIND.fullmatch(kind):
        raise UsageError(f"a kind of task has small letters and dashes, got {kind!r}")
    return f"{kind}-{hashlib.sha256(json.dumps(list(arguments)).encode()).hexdigest()[:12]}"


def read_task(folder: Path, id: str) -> Task | None:
    """A task of a run, its state put right by whether the process lives; None if there is none of that id."""
    path = _path(folder, id)
    task = _load(path)
    if task is None or not task.live or is_alive(task.pid, task.process_started):
        return task
    if task.message == CANCELLED:
        return replace(task, state=CANCELLED, message="")
    return replace(task, state=DIED, message=of_the_dead(_log(path)))


def list_tasks(folder: Path, kind: str | None = None) -> list[Task]:
    """A run's tasks, or those of a kind, the latest first."""
    found = [read_task(folder, path.stem) for path in (folder / TASKS).glob(f"{kind or ''}*.json")]
    tasks = [task for task in found if task is not None and kind in (None, task.kind)]
    return sorted(tasks, key=lambda task: task.begun, reverse=True)


def cancel(folder: Path, id: str) -> Task:
    """Asks a task to stop after its current step.

    Raises:
        UsageError: it is not at work.
    """
    task = read_task(folder, id)
    if task is None or not task.live:
        raise UsageError(f"no task {id!r} of {folder.name} is at work; there is nothing to cancel")
    ask_to_stop(_path(folder, id), asdict(task), task.title)
    return task


def forget(folder: Path, id: str) -> None:
    """Takes the status and the log of a task away that has ended.

    Raises:
        UsageError: it is at work.
    """
    task = read_task(folder, id)
    if task and task.live:
        raise UsageError(f"{task.title} is at work; cancel it first")
    for path in (_path(folder, id), _log(_path(folder, id))):
        path.unlink(missing_ok=True)


def log_of(folder: Path, id: str) -> str:
    """The end of what a task printed, each bar in its last state."""
    try:
        text = _log(_path(folder, id)).read_bytes().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(line.rstrip("\r").split("\r")[-1] for line in text.strip().split("\n"))[-_LONGEST:]


def _path(folder: Path, id: str) -> Path:
    return folder / TASKS / f"{Path(id).name}.json"


def _log(path: Path) -> Path:
    return path.with_suffix(".log")


def _load(path: Path) -> Task | None:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        data["arguments"] = tuple(data["arguments"])
        task = Task(**data)
        task.check()
        return task
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
