"""Stored halves widened to float32, by arithmetic on their bits: numpy's own conversion takes twice
as long.

With its exponent and its mantissa moved to where a float32 has them, a half is 2**-112 of its
number, subnormal ones included. Only infinities and NaN are not: blocks that hold one are left to
numpy.
"""

from __future__ import annotations

import numpy as np

AT_ONCE = 2**16
"""Numbers, as many as stay in the processor's cache over all passes."""


def widen_into(out: np.ndarray, stored: np.ndarray) -> None:
    """Puts ``stored`` into ``out``, of a wider dtype or the same.

    Both have one shape.
    """
    if stored.dtype != np.float16 or out.dtype != np.float32 or not stored.ndim:
        out[...] = stored
        return
    rows = max(1, AT_ONCE * len(stored) // max(1, stored.size))
    for start in range(0, len(stored), rows):
        _widen(out[start : start + rows], stored[start : start + rows])


def widened(stored: np.ndarray) -> np.ndarray:
    """``stored`` as float32; itself if it is that."""
    if stored.dtype == np.float32:
        return stored
    found = np.empty(stored.shape, np.float32)
    widen_into(found, stored)
    return found


def has_infinite(halves: np.ndarray) -> bool:
    """Whether halves hold an infinity or NaN.

    A half whose exponent is all ones is, by its bits, the largest of its sign. Two passes, and
    no array is made.
    """
    return bool(
        halves.view(np.int16).max(initial=0) >= 0x7C00
        or halves.view(np.uint16).max(initial=0) >= 0xFC00
    )


def _widen(out: np.ndarray, halves: np.ndarray) -> None:
    if has_infinite(halves):
        out[...] = halves
        return
    bits = out.view(np.int32)
    bits[...] = halves.view(np.int16)  # the sign fills the upper half
    bits <<= 13
    bits &= ~0x7000_0000  # and is left at its own place alone
    out *= np.float32(2.0**112)
