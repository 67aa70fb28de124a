"""Principal components of samples, with the variance that structureless data of the same shape
would show.

Computed exactly where samples or features are few (:data:`~hcache.analysis.streaming.EXACT`): from
the n x n Gram matrix when there are fewer samples than features, else from the d x d matrix of
second moments. Either is put together from blocks of columns: a matrix that does not fit into
memory has the same components as one that does. Where both are many, the components come from a few
passes over the samples (:mod:`.streaming`), and the baseline from a part of the data
(:mod:`.shuffled_part`); ``residuals`` say how far off a component may be.

References:
    Discovering Interpretable Directions in the Semantic Latent Space of Diffusion Models (Haas,
        Huberman-Spiegelglas, Mulayoff, Graßhof, Brandt, Michaeli, 2023),
        https://arxiv.org/abs/2303.11073
    A rationale and test for the number of factors in factor analysis (Horn, 1965),
        https://doi.org/10.1007/BF02289447, for the baseline (parallel analysis)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np

from ..errors import AnalysisError
from ..progress import drive
from .blocks import MEMORY, STRIPE, Blocks, Rows
from .shuffled_part import part_baseline
from .streaming import EXACT, stream_components


@dataclass(frozen=True, kw_only=True)
class PCA:
    """Principal components of some data.

    ``scores`` (n, k) are in the units of the data. ``explained`` (k,) is each component's share of
    the variance. ``baseline`` (k,): the same share after the values of every feature were shuffled
    separately over samples, averaged over a few repetitions. This is what components explain if
    features are independent. ``residuals`` (k,): the possible relative error of each component's
    variance; None if they are exact.
    """

    scores: np.ndarray
    explained: np.ndarray
    baseline: np.ndarray
    residuals: np.ndarray | None = None


def principal_components(
    data: np.ndarray | Rows, k: int = 10, repeats: int = 3, seed: int = 0, memory: int = MEMORY
) -> PCA:
    """Computes PCA of ``data`` (n, d) float32.

    The sign of each component makes the skewness of its scores positive.

    Args:
        data: The matrix, or a function that returns blocks of its rows. It is called again for
            every block of columns.
        k: The largest number of components.
        repeats: The number of shuffles of the features.
        seed: The seed of the shuffles.
        memory: The largest size in bytes up to which blocks of rows are joined.

    Raises:
        AnalysisError: there are fewer than 3 samples, there is no variance, or values are not
            finite.
    """
    blocks = Blocks.of(data, memory, copies=5)
    if blocks.n < 3:
        raise AnalysisError(f"PCA needs 3 samples or more, got {blocks.n}")
    k = min(k, blocks.n - 1, blocks.d)
    if min(blocks.n, blocks.d) > EXACT:
        return _streamed(blocks, k, repeats, seed)
    largest = _largest(blocks)
    moments = _moments(blocks, repeats, seed, memory)
    first = next(moments)
    total = float(np.trace(first))
    if (
        total <= (1e-6 * largest) ** 2 * blocks.n * blocks.d
    ):  # less than the rounding error of equal numbers
        raise AnalysisError("all samples are the same here: there is no variance to explain")
    values, vectors = np.linalg.eigh(first)
    values, vectors = np.maximum(values[::-1][:k], 0), vectors[:, ::-1][:, :k]
    scores = vectors * np.sqrt(values) if len(first) == blocks.n else _project(blocks, vectors)
    scores = scores * np.where((scores**3).sum(0) < 0, -1, 1)
    nulls = [np.linalg.eigvalsh(null)[::-1][:k] / total for null in moments]
    return PCA(
        scores=scores,
        explained=values / total,
        baseline=np.mean(nulls, 0),
    )


def _streamed(blocks: Blocks, k: int, repeats: int, seed: int) -> PCA:
    """Computes the same by a few passes over the rows."""
    search = stream_components(
        lambda: (rows[None] for rows in blocks.rows()), blocks.n, k, joint=False, seed=seed
    )
    found = drive(search)
    own, total = found.own[0], float(found.totals[0])
    scores = own.scores[0] * np.where((own.scores[0] ** 3).sum(0) < 0, -1, 1)
    return PCA(
        scores=scores,
        explained=own.values / total,
        baseline=part_baseline(blocks.rows, (blocks.n, blocks.d), total, k, repeats, seed),
        residuals=own.residuals,
    )


def _moments(blocks: Blocks, repeats: int, seed: int, memory: int) -> Iterator[np.ndarray]:
    """Returns the smaller of X Xᵀ and Xᵀ X for the centred data, and then for each of its shuffles,
    as float64 (m, m).

    As many as fit into ``memory`` are computed together, because every pass reads all data.
    """
    size, make = (blocks.n, _grams) if blocks.n <= blocks.d else (blocks.d, _second_moments)
    at_once = max(1, memory // (8 * size**2))
    for first in range(0, 1 + repeats, at_once):
        yield from make(blocks, seed, range(first, min(first + at_once, 1 + repeats)))


def _largest(blocks: Blocks) -> float:
    """Returns the largest magnitude in the data."""
    largest = 0.0
    for rows in blocks.rows():
        largest = max(largest, float(np.abs(rows).max(initial=0)))
        if not np.isfinite(rows).all():
            raise AnalysisError(
                "the data hold values that are not finite (overflow?); PCA is not defined on them"
            )
    return largest


def _grams(blocks: Blocks, seed: int, repeats: range) -> np.ndarray:
    """Returns X Xᵀ of shuffles: (len(repeats), n, n)."""
    grams = np.zeros((len(repeats), blocks.n, blocks.n))
    for start in blocks.starts:
        centred = _centred(blocks.columns(start))
        for number, repeat in enumerate(repeats):
            part = _shuffled(centred, start, seed, repeat)
            grams[number] += part @ part.T
    return grams


def _second_moments(blocks: Blocks, seed: int, repeats: range) -> np.ndarray:
    """Returns Xᵀ X of shuffles: (len(repeats), d, d), a pair of blocks of columns at a time."""
    moments = np.zeros((len(repeats), blocks.d, blocks.d))
    for i in blocks.starts:
        left = _centred(blocks.columns(i))
        for j in range(i, blocks.d, blocks.width):
            right = left if i == j else _centred(blocks.columns(j))
            for number, repeat in enumerate(repeats):
                a = _shuffled(left, i, seed, repeat)
                b = a if i == j else _shuffled(right, j, seed, repeat)
                rows = (slice(r, r + 4096) for r in range(0, blocks.n, 4096))
                part = reduce(np.add, ((a[r].T @ b[r]).astype(np.float64) for r in rows))
                moments[number, i : i + blocks.width, j : j + blocks.width] = part
                moments[number, j : j + blocks.width, i : i + blocks.width] = part.T
    return moments


def _centred(columns: np.ndarray) -> np.ndarray:
    return columns - columns.mean(0)


def _shuffled(columns: np.ndarray, start: int, seed: int, repeat: int) -> np.ndarray:
    """Returns every column in its own random order, which depends only on its number. Repeat 0 is
    the unshuffled data.
    """
    if repeat == 0:
        return columns
    found = np.empty_like(columns)
    for at in range(0, columns.shape[1], STRIPE):
        rng = np.random.default_rng([seed, repeat, start + at])
        found[:, at : at + STRIPE] = rng.permuted(columns[:, at : at + STRIPE], axis=0)
    return found


def _project(blocks: Blocks, vectors: np.ndarray) -> np.ndarray:
    """Returns scores (n, k) of the centred data along ``vectors`` (d, k)."""
    ends = ((i, vectors[i : i + blocks.width].astype(np.float32)) for i in blocks.starts)
    return reduce(np.add, (_centred(blocks.columns(i)) @ part for i, part in ends))
