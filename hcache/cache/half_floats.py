"""Widens stored float16 numbers to float32 by arithmetic on their bits. numpy's own conversion
takes twice as long.

If the exponent and the mantissa of a half are moved to their places in a float32, the result is
2**-112 times the number, also for subnormal halves. This does not hold for infinities and NaN, so
numpy converts blocks that contain them.
"""

from __future__ import annotations

import numpy as np

AT_ONCE = 2**16
"""Numbers per block. A block stays in the processor's cache over all passes."""


def widen_into(out: np.ndarray, stored: np.ndarray) -> None:
    """Converts ``stored`` into ``out``, which has the same or a wider dtype.

    Both arrays have the same shape.
    """
    if stored.dtype != np.float16 or out.dtype != np.float32 or not stored.ndim:
        out[...] = stored
        return
    rows = max(1, AT_ONCE * len(stored) // max(1, stored.size))
    for start in range(0, len(stored), rows):
        _widen(out[start : start + rows], stored[start : start + rows])


def widened(stored: np.ndarray) -> np.ndarray:
    """Returns ``stored`` as float32, or ``stored`` itself if it is float32."""
    if stored.dtype == np.float32:
        return stored
    found = np.empty(stored.shape, np.float32)
    widen_into(found, stored)
    return found


def has_infinite(halves: np.ndarray) -> bool:
    """Returns whether halves contain an infinity or NaN.

    A half whose exponent has only ones is, by its bits, the largest of its sign. This takes two
    passes and allocates no array.
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
    bits &= ~0x7000_0000  # only the sign bit itself is kept
    out *= np.float32(2.0**112)
