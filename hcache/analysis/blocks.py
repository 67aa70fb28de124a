"""A data matrix (n, d) that need not fit into memory. Its rows are read in blocks, and returned as
blocks of columns.

The mean, the spread and the shuffled values of a feature need all samples of it. A measure
therefore uses whole columns, as many at a time as fit, and every block of columns costs one pass
over the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import AnalysisError

MEMORY = 2**28
"""The number of bytes up to which a data matrix is held in memory."""

STRIPE = 256
"""The number of columns that stay together. Blocks begin at multiples of it, whatever the
memory.
"""

MOST_PAIRED = 20_000
"""The largest number of samples whose pairs are all compared. Their matrix has more than 3 GB."""

PAIRED_AT_ONCE = 4096

Rows = Callable[[], Iterator[np.ndarray]]
"""A function that starts again at every call: it returns the same blocks of rows (some, d) float32
every time.
"""


def inner_products(z: np.ndarray) -> np.ndarray:
    """Returns Z Zᵀ (n, n) float64 of rows (n, d) float32.

    Products are computed in float32, for some rows with all others at a time.

    Raises:
        AnalysisError: there are too many samples for such a matrix.
    """
    check_paired(len(z))
    found = np.empty((len(z), len(z)))
    for start in range(0, len(z), PAIRED_AT_ONCE):
        found[start : start + PAIRED_AT_ONCE] = z[start : start + PAIRED_AT_ONCE] @ z.T
    return found


def check_paired(n: int) -> None:
    """Checks that all pairs of ``n`` samples fit into memory.

    A measure over pairs holds them all at once.

    Raises:
        AnalysisError: they are too many for a matrix of all pairs.
    """
    if n > MOST_PAIRED:
        raise AnalysisError(
            f"{n} samples are too many to compare all pairs, at most {MOST_PAIRED}: the matrix of"
            f" all pairs would take {8 * n**2 / 1e9:.1f} GB; choose fewer samples"
            f" (`python -m hcache measure RUN --first {MOST_PAIRED}` takes the first ones)"
        )


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """A table that is read some columns at a time.

    There are ``n`` rows and ``d`` columns, of which ``width`` are read at a time. ``whole``
    contains all of them if they fit.
    """

    n: int
    d: int
    width: int
    rows: Rows
    whole: np.ndarray | None = None

    @classmethod
    def of(cls, data: np.ndarray | Rows, memory: int = MEMORY, copies: int = 1) -> Blocks:
        """Returns the blocks of an array, or of blocks of rows.

        An array is one block. Blocks of rows are joined if they fit.

        Args:
            data: (n, d), or a function that returns blocks of its rows.
            memory: The memory for a block of columns with its copies, in bytes.
            copies: The number of arrays of a block's size that a measure needs besides it.
        """
        if not isinstance(data, np.ndarray):
            found, n, d = _gather(data, memory)
            if not isinstance(found, np.ndarray):
                width = memory // (4 * max(1, n) * (1 + copies)) // STRIPE * STRIPE
                return cls(n=n, d=d, width=max(STRIPE, width), rows=found)
            data = found
        n, d = data.shape
        return cls(n=n, d=d, width=max(1, d), rows=lambda: iter([data]), whole=data)

    @property
    def starts(self) -> range:
        """The first column of every block."""
        return range(0, self.d, self.width)

    def columns(self, start: int) -> np.ndarray:
        """Returns the block (n, up to ``width``) that begins at a column.

        Do not write to it.
        """
        if self.whole is not None:
            return self.whole
        block, row = np.empty((self.n, min(self.width, self.d - start)), np.float32), 0
        for rows in self.rows():
            block[row : row + len(rows)] = rows[:, start : start + self.width]
            row += len(rows)
        return block


def _gather(rows: Rows, memory: int) -> tuple[np.ndarray | Rows, int, int]:
    """Returns all rows as one array if they fit into ``memory``, and otherwise ``rows`` unchanged.
    It also returns n and d.
    """
    kept, held, n, d = [], 0, 0, 0
    for block in rows():
        n, d, held = n + len(block), block.shape[1], held + block.nbytes
        if held <= memory:
            kept.append(block)
        else:
            kept.clear()
    if held > memory:
        return rows, n, d
    return (np.concatenate(kept) if kept else np.zeros((0, 0), np.float32)), n, d
