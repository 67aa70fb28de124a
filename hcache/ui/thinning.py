"""Chooses which of very many points are drawn: all in sparse regions, some in dense ones."""

from __future__ import annotations

import numpy as np

MOST_DRAWN = 20_000
"""The number of points beyond which a chart is slow and shows no more."""

CELLS = 128
"""The number of cells per side of the chart. Each shows only as many points as can be
distinguished.
"""


def thinned(places: np.ndarray, kept: np.ndarray, most: int = MOST_DRAWN) -> np.ndarray:
    """Returns the rows of points to draw, ascending: about ``most``.

    Every cell of the chart shows up to a number of its points, which is the same for all cells.
    Sparse regions and outliers are thus shown completely.

    Args:
        places: (n, 2).
        kept: (n,) bool: points that are always drawn.
        most: The largest number of other points.
    """
    n = len(places)
    if n <= most:
        return np.arange(n)
    low, high = places.min(0), places.max(0)
    span = np.where(high > low, high - low, 1)
    cell = np.minimum((places - low) / span * CELLS, CELLS - 1).astype(np.int64)
    number = cell[:, 0] * CELLS + cell[:, 1]
    shuffled = np.random.default_rng(0).permutation(n)
    order = shuffled[np.argsort(number[shuffled], kind="stable")]
    starts = np.r_[True, np.diff(number[order]) > 0]
    first = np.maximum.accumulate(np.where(starts, np.arange(n), 0))
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n) - first
    per_cell = np.bincount(number)
    each = _each(per_cell[per_cell > 0], most)
    return np.flatnonzero((rank < each) | kept)


def _each(counts: np.ndarray, most: int) -> int:
    """Returns the largest number of points per cell with at most ``most`` points in total; 1 at
    least.
    """
    low, high = 1, int(counts.max())
    while low < high:
        middle = (low + high + 1) // 2
        if np.minimum(counts, middle).sum() <= most:
            low = middle
        else:
            high = middle - 1
    return low
