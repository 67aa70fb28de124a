"""The status file of a task, written by its process at most a few times per second."""

from __future__ import annotations

import time
from pathlib import Path

from msgspec.structs import asdict, replace

from ..cache.layout import JOB_JSON
from ..specs import RunSpec
from .kinds import EXTRACT, Extraction
from .processes import DONE, RUNNING, this_process, write_status
from .tasks import LONGEST, Task, load_task, new_task

OFTEN = 0.25
"""The smallest time between two writes, in seconds."""


class StatusFile:
    """A status file and its task.

    Nothing is written before the first call of a method.
    """

    def __init__(self, path: Path, task: Task) -> None:
        self.path, self.task = path, task
        self._written = 0.0
        self._before: Task | None = None

    @classmethod
    def at(cls, path: Path) -> StatusFile:
        """Returns the status file of this process's task, and writes it.

        It replaces the file at ``path``.
        """
        now = time.time()
        folder, id = (
            (path.parent, EXTRACT) if path.name == JOB_JSON else (path.parent.parent, path.stem)
        )
        beside = path.name == JOB_JSON or path.parent.name == "tasks"
        found = (load_task(folder, id) if beside else None) or Task(
            id=id, run="", kind="", title=path.stem, state=RUNNING, begun=now, updated=now
        )
        status = cls(
            path,
            replace(
                found,
                state=RUNNING,
                updated=now,
                work_begun=0.0,
                share=0.0,
                share_before=0.0,
                done=0,
                stage="",
                message="",
                **this_process(),
            ),
        )
        status._write()
        return status

    @classmethod
    def of_extraction(cls, folder: Path, spec: RunSpec) -> StatusFile:
        """Returns the status file of a run's extraction by this process."""
        status = cls(folder / JOB_JSON, new_task(Extraction(spec=spec), RUNNING))
        status._before = load_task(folder, EXTRACT)
        return status

    def update(self, share: float, stage: str = "") -> None:
        """Updates the share and the stage of the task."""
        new_stage = stage != self.task.stage
        self._change(share=share, stage=stage)
        if new_stage or time.time() - self._written > OFTEN:
            self._write()

    def count(self, done: int, total: int, work: float) -> None:
        """Updates the counts of a task on samples.

        They are the committed samples, their total, and the samples with partly finished ones
        counted.
        """
        share = work / max(1, total)
        before = self.task.share_before if self.task.work_begun else share
        self._change(share=share, share_before=before, done=done, total=total)
        if time.time() - self._written > OFTEN or done == total:
            self._write()

    def finish(self, state: str, message: str = "") -> None:
        """Writes the final state: ``done``, ``failed`` or ``cancelled``, and why.

        An extraction without work to do keeps the earlier file, and with it the rate for the
        estimates on pages.
        """
        before, idle = self._before, state == DONE and self.task.share_before >= 1
        if idle and before is not None and before.state == DONE and before.rate > 0:
            self.task = before
            return self._write()
        share = self.task.share if state != DONE else 1.0
        self.task = replace(
            self.task, state=state, message=message[:LONGEST], updated=time.time(), share=share
        )
        self._write()

    def _change(self, **changes: object) -> None:
        now = time.time()
        self.task = replace(
            self.task, updated=now, work_begun=self.task.work_begun or now, **changes
        )

    def _write(self) -> None:
        write_status(self.path, asdict(self.task))
        self._written = time.time()
