"""Where arrays lie in a shard's file, so that a step of one is a single read.

Shards are immutable and their arrays contiguous. To open a file and to find an array in it takes
HDF5 far longer than to read the array; so where all of them lie is asked of HDF5 once a process and
shard, and checked on the way (see :mod:`~hcache.cache.hdf5`). A file that is not what it was
(inode, size, time of change) is asked again.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from .hdf5 import FileStructure, structure_of

MOST = 4096
"""Files of which it is kept; the longest known go first."""

_known: dict[tuple[str, int, int, int], FileStructure] = {}
_lock = threading.Lock()


def forget_structures() -> None:
    """Forgets where arrays lie: every file is asked again."""
    with _lock:
        _known.clear()


def structure_at(path: Path, descriptor: int) -> FileStructure:
    """What a file holds that is open as ``descriptor``.

    From memory, if it was asked before.

    Raises:
        Malformed: it is not of the sort that hcache writes.
        OSError: it cannot be read.
    """
    found = os.fstat(descriptor)
    key = (str(path), found.st_ino, found.st_size, found.st_mtime_ns)
    with _lock:
        if (known := _known.get(key)) is not None:
            return known
    structure = structure_of(descriptor)
    with _lock:
        _known[key] = structure
        while len(_known) > MOST:
            del _known[next(iter(_known))]
    return structure
