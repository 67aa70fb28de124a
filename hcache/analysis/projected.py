"""Random projections of many features, for probes of samples that do not fit into memory.

Every feature is standardised over all samples, without regard to labels. Then all features are
added up with random signs, most of them with weight 0, into ``size`` numbers. Inner products of
samples are kept, with an error of about 1 / √size of the samples' lengths. A linear probe reads
from the projection what it reads from ``size`` random directions of the features, which is a little
less than from all features. The projection takes two passes over the samples, which need not fit
into memory.

References:
    Very sparse random projections (Li, Hastie, Church, 2006),
    https://doi.org/10.1145/1150402.1150436
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..errors import AnalysisError

SIZE = 1024
"""The number of random projections."""

TOGETHER = 2**25
"""The number of bytes of samples that are processed at a time."""


def standardised_rows(
    rows: Callable[[], Iterator[np.ndarray]], shape: tuple[int, int], size: int = SIZE
) -> tuple[np.ndarray, int]:
    """Standardises features, and projects them if there are too many.

    Returns features (n, r) float32 of length about 1 per sample, and the number of random
    projections. That number is 0 if they are the features themselves, because there were at most
    twice ``size`` of them.

    Args:
        rows: Blocks (some samples, d). They are read twice.
        shape: The numbers of samples and features.
        size: The number of random projections.

    Raises:
        AnalysisError: values are not finite, or no feature varies.
    """
    mean, deviation = spread_of(rows)
    varies = deviation > 0
    count = int(varies.sum())
    if not count:
        raise AnalysisError(
            "the activations are the same for all samples here: there is nothing to read"
        )
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=varies)
    scale = (scale / np.sqrt(count)).astype(np.float32)
    projected = count > 2 * size
    found = np.empty((shape[0], size if projected else count), np.float32)
    onto = _random_signs(shape[1], size) if projected else None
    at = 0
    for block in _gathered(rows):
        z = (block - mean) * scale
        place = slice(at, at + len(z))
        found[place] = z[:, varies] if onto is None else (onto @ z.T).T
        at = place.stop
    return found, size if projected else 0


def _random_signs(features: int, size: int) -> Any:
    """Returns the projection (size, features), sparse, the same every time."""
    from sklearn.random_projection import SparseRandomProjection  # the import takes a second

    fitted = SparseRandomProjection(size, dense_output=True, random_state=0)
    return fitted.fit(np.zeros((1, features), np.float32)).components_.astype(np.float32)


def spread_of(rows: Callable[[], Iterator[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and deviation of every feature, both (d,).

    The deviation is 0 for features that do not vary. The blocks (some samples, d) are read once.

    Raises:
        AnalysisError: values are not finite, or there are no samples.
    """
    n, shift, total, squares, largest = 0, None, 0.0, 0.0, 0.0
    for block in _gathered(rows):
        if not np.isfinite(block).all():
            raise AnalysisError(
                "the activations hold values that are not finite (overflow?); probes are not"
                " defined on them"
            )
        shift = block.mean(0) if shift is None else shift
        apart = block - shift
        n, total = n + len(block), total + apart.sum(0, dtype=np.float64)
        squares = squares + np.square(apart).sum(0, dtype=np.float64)
        largest = np.maximum(largest, np.abs(block).max(0))
    if shift is None:
        raise AnalysisError("there are no samples to probe")
    mean = total / n
    deviation = np.sqrt(np.maximum(squares / n - mean**2, 0))
    # less than the rounding error of equal numbers
    return (shift + mean).astype(np.float32), np.where(deviation > 1e-6 * largest, deviation, 0)


def _gathered(rows: Callable[[], Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
    """Yields blocks of rows, with small ones joined and large ones cut."""
    held: list[np.ndarray] = []
    for block in rows():
        most = max(1, TOGETHER // max(1, 4 * block.shape[1]))
        for start in range(0, len(block), most):
            held.append(block[start : start + most])
            if sum(map(len, held)) >= most:
                yield np.concatenate(held)
                held = []
    if held:
        yield np.concatenate(held)
