"""A batch on a CPU in equal parts, a thread for each, in place of threads inside every operation.

PyTorch's threads meet at the end of every operation, hundreds of times a step. Where another
process takes one of the cores for a while, all of them wait for the one that was put aside, and
they spin while they wait. Parts of a batch meet once an evaluation.

The parts are equal, so that a sample's numbers do not depend on its place in the batch: the kernels
that are chosen for a tensor follow from its shape.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import torch

T = TypeVar("T")

MOST_PARTS: int = 4
"""With more cores than this, threads inside the operations are used as before."""


def parts_of(n: int, device: torch.device) -> list[slice]:
    """The rows of each part of a batch of n.

    One part where it is not to be split.

    It is split where nothing is differentiated (inference mode, which threads do not inherit from
    each other), into as many parts as PyTorch has threads.
    """
    threads = torch.get_num_threads()
    split = device.type == "cpu" and torch.is_inference_mode_enabled() and 1 < threads <= MOST_PARTS
    if not split or n % threads or n == 0:
        return [slice(0, n)]
    size = n // threads
    return [slice(start, start + size) for start in range(0, n, size)]


def side_by_side(work: Callable[[slice], T], parts: list[slice]) -> list[T]:
    """``work`` of every part, in order.

    It is called in threads of their own, in inference mode.
    """

    def alone(rows: slice) -> T:
        with torch.inference_mode():
            return work(rows)

    found = [_pool(len(parts)).submit(alone, rows) for rows in parts]
    wait(found)  # nothing of it goes on when one part has failed
    return [part.result() for part in found]


_making = threading.Lock()


def _forget_threads() -> None:
    """In a process that was forked: the threads of the pools are not in it."""
    global _making
    _making = threading.Lock()
    _make_pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def _pool(threads: int) -> ThreadPoolExecutor:
    with _making:
        return _make_pool(threads)


@cache
def _make_pool(threads: int) -> ThreadPoolExecutor:
    """So many threads, each of which computes in itself alone."""
    pool, there = (
        ThreadPoolExecutor(threads, "hcache-part", initializer=_compute_alone),
        threading.Barrier(threads),
    )
    list(pool.map(lambda _: there.wait(), range(threads)))
    torch.set_num_threads(
        threads
    )  # for this thread, and those that are begun later; those of the pool keep theirs
    return pool


def _compute_alone() -> None:
    # which takes the number that was set last when a thread calls it first, and not again
    torch.get_num_threads()
    torch.set_num_threads(1)
