"""Keeps freed memory in the process. glibc would otherwise return it to the system and request it
again at every step.

A denoising step allocates and frees the same tensors as the previous step. By default glibc returns
each of them at once, and the system clears every page again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

SETTINGS = {
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1),
    "MALLOC_TOP_PAD_": (-2, 2**28),
    "MALLOC_MMAP_THRESHOLD_": (-3, 2**30),
}
"""glibc's environment variable -> (number of the same parameter of ``mallopt``, bytes)."""


def keep_freed_memory() -> bool:
    """Sets glibc's allocator for this process.

    Returns False if it is another allocator, or if the user has set it.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in SETTINGS):
        return False
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return all([mallopt(parameter, value) == 1 for parameter, value in SETTINGS.values()])
    return False
