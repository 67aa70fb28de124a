"""The places of arrays in a shard's file, so that a single read gets one step of an array.

Shards are immutable and their arrays are contiguous. HDF5 takes far longer to open a file and find
an array than to read it. So each process asks HDF5 once per shard for the places of all arrays, and
checks them (see :mod:`~hcache.cache.hdf5`). If a file has changed (inode, size, time of change), it
is examined again.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..thread_locks import ThreadLock
from .hdf5 import FileStructure, structure_of

MOST = 4096
"""The number of files to remember; the oldest are dropped first."""

_known: dict[tuple[str, int, int, int], FileStructure] = {}
_lock = ThreadLock()


def structure_at(path: Path, descriptor: int) -> FileStructure:
    """Returns the structure of the file that is open as ``descriptor``.

    The structure comes from memory if the file was examined before.

    Raises:
        Malformed: hcache does not write such files.
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
