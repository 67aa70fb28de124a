"""Computes ranges by a SLURM array. Each task is a process that may outlive the submitting command.

A task writes its shards, each with a record (:mod:`.sidecars`). The submitting command adds them to
the run as they arrive. If it ends before the tasks, ``python -m hcache commit RUN`` or the next
extraction of the run adds them. The remaining work follows from the run's manifest, never from the
numbers of jobs. A preempted task is queued again and continues.

submitit is optional (``pip install 'hcache[slurm]'``), and imported only when it is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..cache.layout import SHARDS, SLURM_LOGS
from ..cache.manifest import read_manifest
from ..cache.reading import open_run
from ..cache.shards import Finished, partial_name
from ..errors import Interrupted, ModelError, UsageError
from .places import Ranges, Samples, Taking
from .shard import Progress
from .sidecars import is_taken, leave_record, mark_working, take_finished

LOOK = 0.5
"""The seconds between two checks for finished shards."""

CLUSTERS = ("slurm", "local")


@dataclass(frozen=True, kw_only=True)
class OnSlurm:
    """A SLURM queue.

    ``tasks``: the size of the array. ``cluster``: submitit's executor. ``options``: those of the
    executor.
    """

    tasks: int = 8
    cluster: str = "slurm"
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> OnSlurm:
        """Parses ``tasks=16,slurm_partition=gpu,gpus_per_node=1,timeout_min=240``.

        Raises:
            UsageError: the text does not have this form.
        """
        given: dict[str, Any] = {}
        for entry in filter(None, text.split(",")):
            name, equals, value = entry.partition("=")
            if not equals or not name.strip().isidentifier() or not value.strip():
                raise UsageError(
                    "--slurm takes KEY=VALUE separated by commas, such as"
                    f" tasks=8,slurm_partition=gpu,gpus_per_node=1; got {entry!r}"
                )
            value = value.strip()
            given[name.strip()] = int(value) if value.isdecimal() else value
        tasks, cluster = given.pop("tasks", 8), given.pop("cluster", "slurm")
        if not isinstance(tasks, int) or tasks < 1:
            raise UsageError(f"--slurm takes tasks=1 or more, got tasks={tasks}")
        if cluster not in CLUSTERS:
            raise UsageError(
                f"--slurm takes cluster={' or '.join(CLUSTERS)}, got cluster={cluster}"
            )
        return cls(tasks=tasks, cluster=cluster, options=given)

    @property
    def device(self) -> str:
        """The device for the run's provenance. Each shard names its own device."""
        return "a SLURM array; each shard names its device"

    def compute(
        self,
        ranges: Ranges,
        commit: Taking,
        report: Callable[[Progress], None],
        stop: Callable[[], bool],
    ) -> None:
        """Computes ranges; see :class:`~hcache.extraction.places.Place`.

        Raises:
            ModelError: tasks ended without all shards. The message is that of the first.
        """
        jobs = self._submit(ranges)
        try:
            while True:
                ended = all(job.done() for job in jobs)  # before the look: nothing comes after it
                take_finished(ranges.folder, commit)
                at_work = sum(not job.done() for job in jobs)
                report(Progress(done=commit.done, total=ranges.spec.samples, devices=at_work))
                if ended:
                    break
                if stop():
                    raise Interrupted
                time.sleep(LOOK)
        except BaseException:
            for job in jobs:
                job.cancel(check=False)
            raise
        _check_all_there(ranges, jobs)

    def _submit(self, ranges: Ranges) -> list[Any]:
        """Submits an array of jobs, each with a part of the ranges."""
        submitit = require_submitit()
        executor = submitit.AutoExecutor(folder=ranges.folder / SLURM_LOGS, cluster=self.cluster)
        try:
            executor.update_parameters(name="hcache", **self.options)
        except (TypeError, ValueError, NameError) as error:
            raise UsageError(f"--slurm: submitit refuses {dict(self.options)}: {error}") from error
        tasks = min(self.tasks, len(ranges.todo))
        parts = [replace(ranges, todo=ranges.todo[number::tasks]) for number in range(tasks)]
        with executor.batch():
            jobs = [executor.submit(SlurmTask(ranges=part)) for part in parts]
        return jobs


def require_submitit() -> Any:
    """Returns the module ``submitit``.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import submitit
    except ImportError as error:
        raise UsageError(
            "--slurm needs submitit, which is not installed: pip install 'hcache[slurm]'"
        ) from error
    return submitit


@dataclass(frozen=True, kw_only=True)
class SlurmTask:
    """The ranges that one SLURM task computes."""

    ranges: Ranges

    def __call__(self) -> int:
        """Computes the remaining ranges, and returns the number of shards."""
        import platform

        from ..models.loading import AUTO
        from .serving import serve

        ranges = replace(
            self.ranges, provenance={**self.ranges.provenance, "device": platform.node()}
        )
        inbox = _Left(ranges)
        serve(inbox, inbox.told, ranges, AUTO, 1)
        if inbox.error is not None:
            raise inbox.error
        return inbox.finished

    def checkpoint(self) -> Any:
        """Returns the task that submitit queues again after a preemption. It is the same one, which
        continues with the remaining work.
        """
        return require_submitit().helpers.DelayedSubmission(self)


class _Left:
    """The inbox of a task: the ranges that no other worker has, one after the other."""

    def __init__(self, ranges: Ranges) -> None:
        self._ranges, self._todo = ranges, iter(ranges.todo)
        self._at, self.finished = 0, 0
        self.error: BaseException | None = None

    def recv(self) -> Samples | None:
        """See :class:`~hcache.extraction.serving.Inbox`."""
        folder = self._ranges.folder
        there = {shard.start for shard in read_manifest(folder)}
        for samples in self._todo:
            if samples[0] not in there and not is_taken(folder, samples[0]):
                self._at = samples[0]
                return samples
        return None

    def poll(self) -> bool:
        """Returns False, because a task receives no messages."""
        return False

    def told(self, message: Any) -> None:
        """Handles a message of the task: a shard gets its record, and a step refreshes the mark of
        the next shard.
        """
        folder = self._ranges.folder
        if isinstance(message, Finished):
            leave_record(folder, message)
            self.finished += 1
            self._at = message.shard.stop
        elif isinstance(message, BaseException):
            self.error = message
        else:
            mark_working(folder / SHARDS / partial_name(self._at))


def _check_all_there(ranges: Ranges, jobs: list[Any]) -> None:
    there = len(open_run(ranges.folder))
    if there >= ranges.spec.samples:
        return
    failed = [error for error in (job.exception() for job in jobs) if error is not None]
    last = str(failed[0]).strip().splitlines()[-1][:300] if failed else "no task says why"
    raise ModelError(
        f"the tasks ended with {there} of {ranges.spec.samples} samples ({last}); their logs are"
        f" in {ranges.folder / SLURM_LOGS}. What was committed is kept: start the same run again"
    )
