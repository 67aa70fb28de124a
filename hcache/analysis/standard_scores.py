"""Principal scores of standardised features, for samples too many for a matrix of all pairs.

They are those of the Gram matrix of :func:`~hcache.analysis.probes.gram_matrix`. Few features are
decomposed by their own products (d, d). The components of many features come from a few passes
(:mod:`~hcache.analysis.streaming`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..errors import AnalysisError
from ..progress import drive
from .projected import spread_of
from .streaming import EXACT, stream_components


def standard_scores(
    rows: Callable[[], Iterator[np.ndarray]], shape: tuple[int, int], count: int
) -> np.ndarray:
    """Returns scores (n, count) on the leading principal components.

    Every feature is standardised first. Constant features are left out. There are fewer than
    ``count`` columns if samples or features allow no more.

    Args:
        rows: Blocks (some samples, d). They are read two to four times.
        shape: The numbers of samples and features.
        count: The number of components.

    Raises:
        AnalysisError: values are not finite, or no feature varies.
    """
    mean, deviation = spread_of(rows)
    varies = deviation > 0
    used = int(varies.sum())
    if not used:
        raise AnalysisError(
            "the activations are the same for all samples here: there is nothing to read"
        )
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=varies) / np.sqrt(used)

    def standardised() -> Iterator[np.ndarray]:
        for block in rows():
            yield ((block - mean) * scale).astype(np.float32)

    if shape[1] > EXACT:
        found = drive(
            stream_components(
                lambda: (block[None] for block in standardised()), shape[0], count, joint=False
            )
        )
        return found.own[0].scores[0].astype(np.float64)
    products = np.zeros((shape[1], shape[1]))
    for block in standardised():
        products += block.T @ block
    _, vectors = np.linalg.eigh(products)
    count = min(count, shape[0] - 1, used)
    leading = vectors[:, ::-1][:, :count].astype(np.float32)
    return np.concatenate([block @ leading for block in standardised()]).astype(np.float64)
