"""Many small computations of linear algebra in parallel: one thread for each, and one thread for
the algebra in each.

Matrices of a few hundred rows gain little from two threads, and lose much where another process
wants the cores; two such pieces at once gain twofold.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import threadpool_limits

from ..thread_locks import ThreadLock

S = TypeVar("S")
T = TypeVar("T")

MOST_WORKERS = 4
"""The largest number of parallel computations. Each holds a data matrix in memory."""

_lock, _inside = ThreadLock(), 0
_limits: threadpool_limits | None = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Limits linear algebra to one thread, in the whole process.

    The limit holds as long as any caller is inside the block, in whatever order they leave. A
    process that was forked meanwhile keeps it to its end.
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
    """Returns the number of threads to compute on.

    It is the number of cores, or the value of OMP_NUM_THREADS.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(
        MOST_WORKERS, int(asked) if asked.isdecimal() and int(asked) else os.cpu_count() or 1
    )


def side_by_side(function: Callable[[S], T], items: Sequence[S]) -> Generator[T, None, None]:
    """Applies ``function`` to every item in parallel, in order.

    Closing the iterator drops the items that have not begun.
    """
    with one_thread(), ThreadPoolExecutor(workers()) as pool:
        found = [pool.submit(function, item) for item in items]
        try:
            for each in found:
                yield each.result()
        finally:
            for each in found:
                each.cancel()
