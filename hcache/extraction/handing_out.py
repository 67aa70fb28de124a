"""Hands out ranges of samples to workers, and adds their finished shards to the run.

The unfinished range of a dead worker goes to another worker. Workers may join at any time.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..cache.layout import SHARDS
from ..cache.shards import Finished, partial_name
from ..errors import Interrupted, ModelError
from .places import Ranges, Samples, Taking
from .shard import Progress

PATIENCE = 10.0
"""The seconds that a worker has to end by itself."""


class Gone(Exception):
    """The message that a worker is dead. Its text says how it died."""


class Worker(ABC):
    """A worker, as the process that hands out ranges sees it.

    ``range`` is its current range, and ``step`` steps of it are done. ``ended`` says how it died,
    if it did.
    """

    range: Samples | None = None
    step: int = 0
    ended: str = ""
    ready: bool = True

    @property
    def size(self) -> int:
        """The number of its current samples."""
        return self.range[1] - self.range[0] if self.range else 0

    @property
    @abstractmethod
    def writes_as(self) -> tuple[int, str]:
        """Identifies the worker in the temporary names of its shards.

        It is the process number and the host's mark.
        """

    @abstractmethod
    def give(self, samples: Samples) -> None:
        """Gives it a range.

        Raises:
            OSError: the worker is dead.
        """

    @abstractmethod
    def how_it_ended(self) -> str:
        """Waits until a dead worker is gone, and describes its end.

        The text names the worker and says how it ended.
        """


class Team(ABC):
    """The present workers."""

    workers: list[Worker]

    @abstractmethod
    def look_around(self, waiting: int) -> None:
        """Adds workers that could join meanwhile. ``waiting`` are the ranges that no worker has
        yet.
        """

    @abstractmethod
    def hear(self) -> Iterable[tuple[Worker, Any]]:
        """Returns the messages of workers within a fraction of a second.

        A message is a step, a shard, an error or :class:`Gone`.
        """

    @abstractmethod
    def end(self) -> None:
        """Ends all workers after their current step.

        A worker that does not end is killed.
        """

    def living(self) -> list[Worker]:
        """The workers that have not died."""
        return [worker for worker in self.workers if not worker.ended]


def hand_out(
    team: Team,
    ranges: Ranges,
    commit: Taking,
    report: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> None:
    """Computes ranges with a team; see :class:`~hcache.extraction.places.Place`.

    Raises:
        Interrupted: ``stop`` returned True.
        ModelError: every worker died.
    """
    waiting = deque(ranges.todo)
    try:
        while waiting or any(worker.range for worker in team.living()):
            team.look_around(len(waiting))
            if not team.living():
                raise ModelError(_all_died(team.workers))
            for worker in team.living():
                if waiting and worker.ready and worker.range is None:
                    _give(worker, waiting, ranges)
            for worker, message in team.hear():
                _take(worker, message, waiting, ranges, commit)
                report(_progress(team.living(), ranges, commit.done))
            if stop():
                raise Interrupted
    finally:
        team.end()
        for worker in team.workers:
            if worker.range:
                _remove_partial(worker, ranges)


def _give(worker: Worker, waiting: deque[Samples], ranges: Ranges) -> None:
    worker.range, worker.step = waiting.popleft(), 0
    try:
        worker.give(worker.range)
    except OSError:
        _bury(worker, waiting, ranges)


def _take(
    worker: Worker,
    message: Any,
    waiting: deque[Samples],
    ranges: Ranges,
    commit: Taking,
) -> None:
    """Handles one message of a worker."""
    if isinstance(message, Gone):
        _bury(worker, waiting, ranges)
    elif isinstance(message, BaseException):
        raise message
    elif isinstance(message, Finished) and worker.range is not None:
        _, stop = worker.range
        reached = message.shard.stop
        worker.range, worker.step = (reached, stop) if reached < stop else None, 0
        commit(message)
    elif isinstance(message, int):
        worker.step = message


def _bury(worker: Worker, waiting: deque[Samples], ranges: Ranges) -> None:
    """Returns a dead worker's range for others, and deletes its unfinished files."""
    worker.ended = worker.how_it_ended()
    logging.getLogger(__name__).warning(
        "a worker died (%s); the others take over its part", worker.ended
    )
    if worker.range:
        _remove_partial(worker, ranges)
        waiting.appendleft(worker.range)
        worker.range = None


def _remove_partial(worker: Worker, ranges: Ranges) -> None:
    if worker.range:
        name = partial_name(worker.range[0], *worker.writes_as)
        (ranges.folder / SHARDS / name).unlink(missing_ok=True)


def _all_died(workers: Sequence[Worker]) -> str:
    if not workers:
        return "there is no worker; what was committed is kept"
    ends = "; ".join(worker.ended for worker in workers)
    return (
        f"every worker died ({ends}), perhaps for lack of memory: use a smaller --batch or fewer"
        " --devices; what was committed is kept"
    )


def _progress(workers: Sequence[Worker], ranges: Ranges, done: int) -> Progress:
    """Returns the progress of all workers together: their steps, weighted by the sizes of their
    shards.
    """
    size = sum(worker.size for worker in workers)
    steps = (2 if ranges.spec.images else 1) * ranges.spec.steps
    step = sum(worker.step * worker.size for worker in workers)
    return Progress(
        done=done,
        total=ranges.spec.samples,
        step=step,
        steps=steps * size,
        shard=size,
        devices=sum(worker.ready for worker in workers),
    )
