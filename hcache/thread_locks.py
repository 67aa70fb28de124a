"""Locks between the threads of one process, which a forked process gets free.

A fork copies every lock, but only the thread that forks. A lock that another thread held at that
moment would stay taken in the forked process, which would wait for it for ever.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType
from weakref import WeakSet


class ThreadLock:
    """A lock between the threads of one process.

    A thread may take it again while it holds it. In a forked process it is free, unless the thread
    that forked held it. Use it to protect values that stay valid when a change is cut short.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _all.add(self)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Takes the lock; returns whether it has it, as ``threading.RLock`` does."""
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        """Gives up the lock.

        Raises:
            RuntimeError: this thread does not hold it.
        """
        self._lock.release()

    def __enter__(self) -> ThreadLock:
        self._lock.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def free_of_other_threads(self) -> None:
        """Makes the lock anew if another thread holds it."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock = threading.RLock()


_all: WeakSet[ThreadLock] = WeakSet()


def _free_all() -> None:
    for lock in list(_all):
        lock.free_of_other_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_all)
