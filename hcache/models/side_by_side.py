"""Splits a batch on a CPU into equal parts with one thread each, instead of threads inside every
operation.

PyTorch's threads synchronise at the end of every operation, hundreds of times per step. If another
process takes one of the cores for a while, all threads wait for the paused one, and spin while they
wait. Parts of a batch synchronise once per evaluation.

The parts are equal, so that a sample's numbers do not depend on its position in the batch: the
chosen kernels depend on a tensor's shape.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import torch

from ..thread_locks import ThreadLock

T = TypeVar("T")

MOST_PARTS: int = 4
"""With more cores than this, threads inside the operations are used as usual."""


def parts_of(n: int, device: torch.device) -> list[slice]:
    """Returns the rows of each part of a batch of n.

    It is one part if the batch is not split. The batch is split only in inference mode, without
    gradients, into as many parts as PyTorch has threads. Threads do not inherit inference mode from
    each other.
    """
    threads = torch.get_num_threads()
    split = device.type == "cpu" and torch.is_inference_mode_enabled() and 1 < threads <= MOST_PARTS
    if not split or n % threads or n == 0:
        return [slice(0, n)]
    size = n // threads
    return [slice(start, start + size) for start in range(0, n, size)]


def side_by_side(work: Callable[[slice], T], parts: list[slice]) -> list[T]:
    """Applies ``work`` to every part, in order.

    The calls run in their own threads, in inference mode.
    """

    def alone(rows: slice) -> T:
        with torch.inference_mode():
            return work(rows)

    found = [_pool(len(parts)).submit(alone, rows) for rows in parts]
    wait(found)  # if one part has failed, the others are not continued
    return [part.result() for part in found]


_making = ThreadLock()


def _forget_threads() -> None:
    """Drops the thread pools in a forked process, which does not have their threads."""
    _make_pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def _pool(threads: int) -> ThreadPoolExecutor:
    with _making:
        return _make_pool(threads)


@cache
def _make_pool(threads: int) -> ThreadPoolExecutor:
    """Returns a pool of threads, each of which computes alone."""
    pool, there = (
        ThreadPoolExecutor(threads, "hcache-part", initializer=_compute_alone),
        threading.Barrier(threads),
    )
    list(pool.map(lambda _: there.wait(), range(threads)))
    torch.set_num_threads(
        threads
    )  # for this thread and later ones; the threads of the pool keep their own
    return pool


def _compute_alone() -> None:
    # a thread's first call uses the number that was set last, and keeps it
    torch.get_num_threads()
    torch.set_num_threads(1)
