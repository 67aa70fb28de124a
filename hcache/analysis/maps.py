"""Maps of samples on a plane without labels, by t-SNE and UMAP, and how far one may trust them.

Such a map places neighbours in d numbers side by side, and gives up distances between what is far
apart. Two numbers say how well it kept neighbours, with k of them:

    trustworthiness  T = 1 - 2 / (n k (2n - 3k - 1)) Σ_i Σ_{j ∈ U_i} (r(i, j) - k),
                     U_i: who is near i on the map and is not in the data, r: the rank in the data
    kept             the share of the k nearest in the data that are among the k nearest on the map

T is 1 if all neighbours on the map are neighbours in the data. Both have an interval over samples,
with the map as it is, and a null: the same places dealt out to the samples at random.

References:
    Visualizing Data using t-SNE (van der Maaten, Hinton, 2008),
        https://jmlr.org/papers/v9/vandermaaten08a.html
    UMAP: Uniform Manifold Approximation and Projection for Dimension Reduction (McInnes, Healy,
        Melville, 2018), https://arxiv.org/abs/1802.03426
    Neighborhood Preservation in Nonlinear Projection Methods: An Experimental Study (Venna, Kaski,
        2001), https://doi.org/10.1007/3-540-44668-0_68, for trustworthiness
"""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from ..errors import AnalysisError, UsageError
from .blocks import Blocks, Rows, check_paired
from .bootstrap import bootstrap_many, mean_of
from .estimate import Estimate
from .permutation import p_value
from .projections import leading

TSNE, UMAP = "tsne", "umap"
WAYS = (TSNE, UMAP)

COMPONENTS = 50
"""The number of principal components that a map is made of, as its authors advise."""

SHUFFLES = 99
FEWEST = 8
"""The smallest and largest number of samples of a map."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A share that a map keeps, beside the share by chance.

    ``estimate`` is the share, 1 at most, with its interval over samples. ``null`` is the average
    for shuffled positions, and ``p`` comes from them.
    """

    estimate: Estimate
    null: float
    p: float


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """How well a map keeps ``neighbours`` neighbours of each sample."""

    neighbours: int
    trustworthiness: Kept
    kept: Kept


def inner_products(data: np.ndarray | Rows) -> np.ndarray:
    """Computes centred inner products (n, n) float64 of data (n, d).

    The data are read a block of columns at a time.

    Raises:
        AnalysisError: there are too few or too many samples, or values are not finite.
    """
    blocks = Blocks.of(data)
    if blocks.n < FEWEST:
        raise AnalysisError(f"a map takes {FEWEST} samples or more, got {blocks.n}")
    check_paired(blocks.n)
    found = np.zeros((blocks.n, blocks.n))
    for start in blocks.starts:
        x = blocks.columns(start)
        if not np.isfinite(x).all():
            raise AnalysisError("the data hold values that are not finite; they have no map")
        x = x - x.mean(0)
        found += x @ x.T
    return found


def distances(gram: np.ndarray) -> np.ndarray:
    """Returns distances (n, n) float32 between samples, from inner products."""
    square = np.diag(gram)
    found = np.sqrt(np.maximum(square[:, None] + square - 2 * gram, 0)).astype(np.float32)
    np.fill_diagonal(found, 0)
    return found


def components(gram: np.ndarray, count: int = COMPONENTS) -> np.ndarray:
    """Returns samples on their first principal components (n, k) float32.

    Raises:
        AnalysisError: all samples are the same.
    """
    values, vectors = leading(gram, min(count, len(gram) - 1))
    if not values[0] > 0:
        raise AnalysisError("all samples are the same; they have no map")
    return (vectors * np.sqrt(values)).astype(np.float32)


def place(points: np.ndarray, way: str, neighbours: int, seed: int = 0) -> np.ndarray:
    """Places points (n, k) on a plane (n, 2) float32.

    Args:
        points: The result of :func:`components`.
        way: ``tsne`` or ``umap``.
        neighbours: The perplexity of t-SNE, the neighbours of UMAP.
        seed: The seed of the method. The same seed gives the same map on one machine.

    Raises:
        UsageError: the way is unknown, or its package is missing.
        AnalysisError: there are at least as many neighbours as samples.
    """
    check_way(way)
    if not 2 <= neighbours < len(points) / 2:
        raise AnalysisError(
            f"a map of {len(points)} samples takes from 2 to {(len(points) - 1) // 2} neighbours,"
            f" got {neighbours}"
        )
    found = _tsne(points, neighbours, seed) if way == TSNE else _umap(points, neighbours, seed)
    return np.asarray(found, np.float32)


def check_way(way: str) -> None:
    """Makes sure that a map can be made in this way.

    Raises:
        UsageError: the way is unknown, or its package is missing.
    """
    if way not in WAYS:
        raise UsageError(f"the method of a map must be {' or '.join(WAYS)}, got {way!r}")
    if way == UMAP and importlib.util.find_spec("umap") is None:
        raise UsageError("UMAP needs the package umap-learn: pip install umap-learn; or take tsne")


def faithfulness(
    own: np.ndarray,
    places: np.ndarray,
    neighbours: int,
    shuffles: int = SHUFFLES,
    seed: int = 0,
    samples: np.ndarray | None = None,
) -> Faithfulness:
    """Measures how well a map keeps neighbours, with intervals and nulls.

    Args:
        own: Distances (n, n) in the data.
        places: On the map (n, 2).
        neighbours: k, below half of n.
        shuffles: The number of random assignments of the positions.
        seed: The seed of the shuffles and the bootstrap.
        samples: (n,) the sample of each position, if a sample has several. They are drawn together.

    Raises:
        AnalysisError: the two have different samples, or k is out of range.
    """
    n = len(own)
    if own.shape != (n, n) or len(places) != n:
        raise AnalysisError(
            f"a map and its data must have the same samples; got {own.shape} and {places.shape}"
        )
    if not 1 <= neighbours < n / 2:
        raise AnalysisError(f"neighbours lie between 1 and half of {n} samples, got {neighbours}")
    ranks = _ranks(own)
    near = _nearest(places, neighbours)
    values = _by_sample(ranks, near, np.arange(n))
    rng = np.random.default_rng(seed)
    null = np.array([_by_sample(ranks, near, rng.permutation(n)).mean(0) for _ in range(shuffles)])
    estimates = bootstrap_many(mean_of(values), n, seed=seed, clusters=samples)
    trust, kept = (
        Kept(
            estimate=each,
            null=float(null[:, k].mean()),
            p=p_value(each.value, null[:, k]),
        )
        for k, each in enumerate(estimates)
    )
    return Faithfulness(neighbours=neighbours, trustworthiness=trust, kept=kept)


def _ranks(own: np.ndarray) -> np.ndarray:
    """Returns for every sample the ranks (n, n) of the others by distance, from 1. Its own rank is
    0.
    """
    n = len(own)
    found = own.copy()
    np.fill_diagonal(found, -1)
    order = np.argsort(found, axis=1, kind="stable")
    ranks = np.empty((n, n), np.int32)
    np.put_along_axis(ranks, order, np.arange(n, dtype=np.int32)[None], 1)
    return ranks


def _nearest(places: np.ndarray, k: int) -> np.ndarray:
    """Returns the k nearest neighbours (n, k) of every sample on the map."""
    apart = cdist(places, places)
    np.fill_diagonal(apart, np.inf)
    return np.argsort(apart, axis=1, kind="stable")[:, :k]


def _by_sample(ranks: np.ndarray, near: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Returns trustworthiness and share of kept neighbours of every position (n, 2). ``order`` is
    the sample at each position.
    """
    n, k = near.shape
    rank = ranks[order[:, None], order[near]]
    beyond = np.maximum(rank - k, 0).sum(1)
    trust = 1 - 2 / (k * (2 * n - 3 * k - 1)) * beyond
    return np.stack([trust, (rank <= k).mean(1)], 1)


def _tsne(points: np.ndarray, neighbours: int, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE as Method

    return Method(perplexity=neighbours, init="pca", random_state=seed).fit_transform(points)


def _umap(points: np.ndarray, neighbours: int, seed: int) -> np.ndarray:
    # numba sets the number of threads of all OpenMP in the process, that of PyTorch, too; other
    # threads round otherwise, so the number is restored
    with warnings.catch_warnings(), threadpool_limits(1, user_api="openmp"):
        warnings.simplefilter("ignore")  # that it works on one thread where there is a seed
        from umap import UMAP as Method

        return Method(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(points)
