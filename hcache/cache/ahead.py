"""Reads several files at once, a few ahead of what is taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def read_ahead(read: Callable[[S], T], items: Sequence[S], readers: int) -> Iterator[T]:
    """Yields ``read(item)`` for every item, in their order.

    At most ``readers`` results are being read or wait at a time, each in a thread. An error is
    raised in the place of its result, and nothing more is read.
    """
    if len(items) < readers:  # threads would cost more than they give
        yield from map(read, items)
        return
    with ThreadPoolExecutor(readers, "hcache-reading") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) == readers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
