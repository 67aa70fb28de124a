"""A worker on Ray. Unlike other workers, its messages wait in queues until they are requested."""

from __future__ import annotations

import os
import platform
import queue
import threading
from dataclasses import dataclass, replace
from typing import Any

from ..atomic import host_mark
from ..cache.seen import Token, look_for, versions
from .places import Ranges, Samples

WAIT = 0.5
"""The seconds that an actor waits for a message when it is polled."""


@dataclass(frozen=True, kw_only=True)
class Hello:
    """The first message of an actor.

    ``seen``: why it does not see the run, or "". ``pid`` and ``host_mark`` identify the files that
    it writes.
    """

    seen: str
    versions: dict[str, str]
    pid: int
    host_mark: str


@dataclass(frozen=True, kw_only=True)
class Died:
    """The last message of an actor that ended by an unexpected error."""

    reason: str


class QueueInbox:
    """The inbox of a worker that is a thread."""

    def __init__(self) -> None:
        self._words: queue.Queue[Samples | None] = queue.Queue()

    def put(self, word: Samples | None) -> None:
        """Sends a message to the worker."""
        self._words.put(word)

    def recv(self) -> Samples | None:
        """See :class:`~hcache.extraction.serving.Inbox`."""
        return self._words.get()

    def poll(self) -> bool:
        """See :class:`~hcache.extraction.serving.Inbox`."""
        return not self._words.empty()


class RangeActor:
    """Computes ranges on a machine of a Ray cluster.

    It computes in its own thread, and Ray calls its methods in other threads.
    """

    def __init__(self, ranges: Ranges, token: Token, device: str, threads: int) -> None:
        self._inbox, self._told = QueueInbox(), queue.Queue[Any]()
        self._work = threading.Thread(
            target=self._live, args=(ranges, token, device, max(1, threads)), daemon=True
        )
        self._work.start()

    def _serve(self, ranges: Ranges, token: Token, device: str, threads: int) -> None:
        seen = look_for(token)
        self._told.put(
            Hello(seen=seen, versions=versions(), pid=os.getpid(), host_mark=host_mark())
        )
        if seen:
            return
        from .device_names import device_names
        from .serving import serve

        name = device_names(["cuda:0"]) if device == "cuda" else platform.machine()
        ranges = replace(ranges, provenance={**ranges.provenance, "device": name})
        serve(self._inbox, self._told.put, ranges, device, threads)

    def _live(self, *given: Any) -> None:
        """Serves, and reports an unexpected error, which would otherwise be lost with the
        thread.
        """
        try:
            self._serve(*given)
        except BaseException as error:
            self._told.put(Died(reason=f"{type(error).__name__}: {error}"))

    def told(self) -> list[Any]:
        """Returns the next messages. It waits a little if there are none."""
        found: list[Any] = []
        try:
            found.append(self._told.get(timeout=WAIT))
            while True:
                found.append(self._told.get_nowait())
        except queue.Empty:
            return found

    def give(self, samples: Samples) -> None:
        """Gives it a range of samples."""
        self._inbox.put(samples)

    def end(self, seconds: float) -> bool:
        """Ends the actor's work after its current step.

        Returns whether it has ended within ``seconds``.
        """
        self._inbox.put(None)
        self._work.join(seconds)
        return not self._work.is_alive()
