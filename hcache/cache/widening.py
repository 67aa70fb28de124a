"""Stored halves widened to float32.

PyTorch does that with the processor's own instructions, some five times faster than numpy. It takes seconds to import,
so that it is used where it is there already; the numbers are the same.
"""

from __future__ import annotations

import sys

import numpy as np


def widen_into(out: np.ndarray, stored: np.ndarray) -> None:
    """Puts ``stored`` into ``out``, of the same shape and of a dtype as wide or wider."""
    if "torch" in sys.modules and stored.dtype == np.float16 and out.dtype == np.float32:
        import torch  # waits where another thread is just importing it

        torch.from_numpy(out).copy_(torch.from_numpy(stored))
    else:
        out[...] = stored


def widened(stored: np.ndarray) -> np.ndarray:
    """``stored`` as float32; itself if it is that."""
    if stored.dtype == np.float32:
        return stored
    found = np.empty(stored.shape, np.float32)
    widen_into(found, stored)
    return found
