"""Where tensors lie in a shard's file, so that a step of one is a single read.

Shards are immutable and their tensors contiguous. To open a file and to find a tensor in it takes HDF5 far longer than
to read the tensor; so where it lies is asked of HDF5 once a process and shard. A file that is not what it was (inode,
size, time of change) is asked again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np


@dataclass(frozen=True)
class Place:
    """Of one step of a tensor: where the first begins, and how long and of what kind each is. Without an ``offset`` the
    tensor is not contiguous, which no shard of hcache's own is."""

    offset: int | None
    steps: int
    shape: tuple[int, ...]
    dtype: np.dtype


def read_step(path: Path, names: tuple[str, ...], step: int) -> list[np.ndarray]:
    """One step of some of a shard's tensors, each (samples, ...) in the dtype that is stored.

    Raises:
        OSError, KeyError, ValueError, IndexError: the file is not there, not whole, or holds no such tensor or step.
    """
    with _opened(path) as file:
        return [_read(file, path, name, step, _place(file, path, name)) for name in names]


def read_steps(path: Path, name: str, steps: int) -> Iterator[np.ndarray]:
    """``read_step`` of one tensor for every step in turn, of a file that is opened once."""
    with _opened(path) as file:
        place = _place(file, path, name)
        for step in range(steps):
            yield _read(file, path, name, step, place)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        yield file
    finally:
        os.close(file)


def _place(file: int, path: Path, name: str) -> Place:
    found = os.fstat(file)
    return _place_of(str(path), name, found.st_ino, found.st_size, found.st_mtime_ns)


def _read(file: int, path: Path, name: str, step: int, place: Place) -> np.ndarray:
    if step >= place.steps:
        raise IndexError(f"{name} has {place.steps} steps, and step {step} was asked for")
    if place.offset is None:
        with h5py.File(path, "r") as shard:
            return shard[name][step]
    result = np.empty(place.shape, place.dtype)
    at, left = place.offset + step * result.nbytes, memoryview(result.data).cast("B") if result.nbytes else b""
    while left:
        count = os.preadv(file, [left], at)
        if count == 0:
            raise ValueError(f"the file ends within {name}")
        at, left = at + count, left[count:]
    return result


@lru_cache(maxsize=2**16)
def _place_of(path: str, name: str, *_: int) -> Place:
    with h5py.File(path, "r") as file:
        stored = file[name]
        return Place(offset=stored.id.get_offset(), steps=stored.shape[0], shape=stored.shape[1:], dtype=stored.dtype)
