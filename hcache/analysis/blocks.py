"""A data matrix (n, d) that need not fit into memory: its rows come in blocks, and are handed on as
blocks of columns.

What is known of a feature needs all samples of it: its mean, its spread, its values shuffled. So a
measure takes whole columns, as many at a time as fit, and every block of them costs one pass over
the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import AnalysisError

MEMORY = 2**28
"""Bytes that a data matrix may take before measures work through it in blocks."""

STRIPE = 256
"""Columns that are always handed on together: blocks begin at multiples of it, however much
memory there is.
"""

MOST_PAIRED = 20_000
"""Samples of which all pairs are held against one another: their matrix has over 3 GB."""

_PAIRED_AT_ONCE = 4096

Rows = Callable[[], Iterator[np.ndarray]]
"""Begins anew at every call: blocks of rows (some, d) float32, the same every time."""


def inner_products(z: np.ndarray) -> np.ndarray:
    """Z Zᵀ (n, n) float64 of rows (n, d) float32.

    Products are in float32, of some rows with all at a time.

    Raises:
        AnalysisError: too many samples for such a matrix.
    """
    check_paired(len(z))
    found = np.empty((len(z), len(z)))
    for start in range(0, len(z), _PAIRED_AT_ONCE):
        found[start : start + _PAIRED_AT_ONCE] = z[start : start + _PAIRED_AT_ONCE] @ z.T
    return found


def check_paired(n: int) -> None:
    """Checks that all pairs of ``n`` samples fit into memory.

    A measure over pairs holds them all at once.

    Raises:
        AnalysisError: they are too many for a matrix of all pairs.
    """
    if n > MOST_PAIRED:
        raise AnalysisError(
            f"{n} samples are too many to be held against one another, at most {MOST_PAIRED}: the"
            f" matrix of all pairs would take {8 * n**2 / 1e9:.1f} GB; choose fewer samples"
        )


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """A table that is read some columns at a time.

    There are ``n`` rows and ``d`` columns, of which ``width`` are had at a time; ``whole``: all
    of them, where they fit.
    """

    n: int
    d: int
    width: int
    rows: Rows
    whole: np.ndarray | None = None

    @classmethod
    def of(cls, data: np.ndarray | Rows, memory: int = MEMORY, copies: int = 1) -> Blocks:
        """The blocks of an array, or of blocks of rows.

        An array is one block; blocks of rows are put together if they fit.

        Args:
            data: (n, d), or what yields blocks of its rows.
            memory: In bytes, for a block of columns with its copies.
            copies: How many arrays of a block's size a measure needs besides it.
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
        """The block (n, up to ``width``) that begins at a column.

        It must not be written to.
        """
        if self.whole is not None:
            return self.whole
        block, row = np.empty((self.n, min(self.width, self.d - start)), np.float32), 0
        for rows in self.rows():
            block[row : row + len(rows)] = rows[:, start : start + self.width]
            row += len(rows)
        return block


def _gather(rows: Rows, memory: int) -> tuple[np.ndarray | Rows, int, int]:
    """All rows as one array if they fit into ``memory``, else ``rows`` as it is; and n and d."""
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
