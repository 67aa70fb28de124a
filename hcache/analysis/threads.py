"""Many small pieces of linear algebra side by side: a thread each, and one thread for the algebra
of each.

Matrices of a few hundred rows gain little from two threads, and lose much where another process
wants the cores; two such pieces at once gain twofold.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import threadpool_limits

S = TypeVar("S")
T = TypeVar("T")

MOST_WORKERS = 4
"""Each holds a data matrix in memory."""

_lock, _inside = threading.Lock(), 0
_limits: threadpool_limits | None = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra on one thread, in the whole process.

    That lasts as long as anyone is inside, in whatever order they leave.
    """
    global _inside, _limits
    with _lock:
        _inside += 1
        if _inside == 1:
            _limits = threadpool_limits(1, user_api="blas")
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _limits is not None:
                _limits.restore_original_limits()


def workers() -> int:
    """How many threads to compute on.

    The cores there are, or as many as OMP_NUM_THREADS says.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(
        MOST_WORKERS, int(asked) if asked.isdecimal() and int(asked) else os.cpu_count() or 1
    )


def side_by_side(function: Callable[[S], T], items: Sequence[S]) -> Generator[T, None, None]:
    """``function`` of every item, in order, some at a time. Closing it drops what has not begun."""
    with one_thread(), ThreadPoolExecutor(workers()) as pool:
        found = [pool.submit(function, item) for item in items]
        try:
            for each in found:
                yield each.result()
        finally:
            for each in found:
                each.cancel()
