"""How alike two representations of the same samples are: linear CKA, without bias.

Two sites, steps or models say the same of n samples if the samples lie to one another in the same
way in both. With the inner products K = X Xᵀ of one and L = Y Yᵀ of the other, and K̃, L̃ the same
with zeros on the diagonal,

    HSIC(K, L) = (tr K̃ L̃ + 1ᵀK̃1 1ᵀL̃1 / ((n - 1)(n - 2)) - 2 1ᵀK̃L̃1 / (n - 2)) / (n (n - 3))
    CKA(K, L)  = HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)).

This HSIC has no bias: that of independent data is 0 on average, however many features there are
beside few samples. CKA is 1 of rotated, scaled and shifted copies.

With U the matrix K̃ centred so that its rows sum to 0 while its diagonal stays 0, HSIC is the inner
product of two such matrices, and CKA is their cosine. Without sample m the inner product T becomes
T - 2 r_m (n - 2) / (n - 3), r_m being the inner product of the two rows m: this gives the jackknife
of all samples at once. The interval is Student's, of the jackknife, on the scale of arctanh. Where
the truth is 0 the interval is too wide; that is for the test by permutation to tell.

References:
    Similarity of Neural Network Representations Revisited (Kornblith, Norouzi, Lee, Hinton, 2019),
        https://arxiv.org/abs/1905.00414
    Feature Selection via Dependence Maximization (Song, Smola, Gretton, Bedo, Borgwardt, 2012),
        https://jmlr.org/papers/v13/song12a.html, for HSIC without bias
    Do Wide and Deep Networks Learn the Same Things? (Nguyen, Raghu, Kornblith, 2021),
        https://arxiv.org/abs/2010.15327, for CKA with it
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from ..errors import AnalysisError
from .blocks import Blocks, Rows, check_paired
from .estimate import LEVEL, Estimate
from .permutation import family_p

FEWEST = 5
"""The smallest number of samples. The interval leaves one out, and HSIC needs four."""

SHUFFLES = 99
CONSTANT = "all samples are the same there"
_ONE = 1 - 1e-7
"""The largest cosine for arctanh."""


@dataclass(frozen=True, kw_only=True)
class Alike:
    """CKA of some representations (a) with others (b).

    ``estimates`` (a, b). ``null`` (a, b): the 95 % quantile of shuffles. ``p`` (a, b): the
    probability that a shuffle gives as much. ``family_p`` (a, b): the same for the largest of all
    pairs. Values are NaN if CKA is not defined, and for a representation with itself.
    """

    estimates: tuple[tuple[Estimate, ...], ...]
    null: np.ndarray
    p: np.ndarray
    family_p: np.ndarray


def gram(data: np.ndarray | Rows) -> np.ndarray:
    """Computes the Gram matrix of data (n, d) for CKA.

    It is (n, n) float32: centred inner products, scaled to norm 1. It is zero if all samples are
    the same. The data are read a block of columns at a time.

    Args:
        data: The samples, or a function that returns blocks of them.

    Raises:
        AnalysisError: there are fewer than 5 samples or too many, or values are not finite.
    """
    blocks = Blocks.of(data)
    n = blocks.n
    if n < FEWEST:
        raise AnalysisError(f"CKA takes {FEWEST} samples or more, got {n}")
    check_paired(n)
    found, total = np.zeros((n, n)), 0.0
    for start in blocks.starts:
        x = blocks.columns(start)
        if not np.isfinite(x).all():
            raise AnalysisError("the data hold values that are not finite; CKA is not defined")
        total += float(np.square(x, dtype=np.float64).sum())
        x = x - x.mean(0)
        found += x @ x.T
    constant = float(np.trace(found)) <= 1e-12 * total  # less than rounding leaves of equal numbers
    centred = np.zeros((n, n)) if constant else _centred(found)
    norm = float(np.linalg.norm(centred))
    return (centred / norm if norm > 0 else centred).astype(np.float32)


def cka(a: np.ndarray, b: np.ndarray) -> float:
    """Computes unbiased CKA of two data sets.

    The data (n, d) and (n, k) are of the same samples.
    """
    if len(a) != len(b):
        raise AnalysisError(f"CKA compares the same samples; got {len(a)} and {len(b)}")
    return float(np.vdot(gram(a), gram(b)))


def alike(
    a: np.ndarray, b: np.ndarray | None = None, shuffles: int = SHUFFLES, seed: int = 0
) -> Generator[float, None, Alike]:
    """Computes CKA of all pairs, with intervals and permuted nulls.

    It yields the share that is done.

    Args:
        a: Results of :func:`gram`, (a, n, n).
        b: The others (b, n, n), with samples in the same order. None means ``a`` itself.
        shuffles: The number of shuffles of the samples of one side. They are the same for all
            pairs.
        seed: The seed of the shuffles.

    Raises:
        AnalysisError: the two are of different samples.
    """
    same, b = b is None, a if b is None else b
    n = a.shape[1]
    if b.shape[1] != n:
        raise AnalysisError(f"CKA compares the same samples; got {n} and {b.shape[1]}")
    values, errors = _jackknife(a, b)
    yield 0.2
    rng, flat = np.random.default_rng(seed), a.reshape(len(a), -1)
    draws = np.empty((shuffles, len(a), len(b)))
    for draw in range(shuffles):
        order = rng.permutation(n)
        draws[draw] = flat @ b[:, order[:, None], order].reshape(len(b), -1).T
        yield 0.2 + 0.8 * (draw + 1) / shuffles
    return _tested(values, errors, draws, n, same)


def _tested(values: np.ndarray, errors: np.ndarray, draws: np.ndarray, n: int, same: bool) -> Alike:
    """Returns values (a, b) with their intervals, tested against shuffles (m, a, b)."""
    known = np.isfinite(values)
    null, p, family = (np.full(values.shape, np.nan) for _ in range(3))
    tested = known & np.triu(np.ones_like(known), 1) if same else known
    if len(draws):
        own, shuffled = values[tested], draws[:, tested].T
        null[tested] = np.quantile(shuffled, 0.95, axis=1)
        p[tested] = (1 + (shuffled >= own[:, None]).sum(1)) / (1 + len(draws))
        family[tested] = np.fmax(family_p(own, shuffled), p[tested])
        if same:
            null, p, family = (np.where(tested.T, part.T, part) for part in (null, p, family))
    width = float(t.ppf((1 + LEVEL) / 2, n - 1)) * errors
    middle = np.arctanh(np.clip(values, -_ONE, _ONE))
    low, high = np.tanh(middle - width), np.tanh(middle + width)
    estimates = tuple(
        tuple(
            Estimate(value=float(v), low=float(min(v, lower)), high=float(max(v, upper)), n=n)
            if np.isfinite(v)
            else Estimate.undefined(CONSTANT, n)
            for v, lower, upper in zip(*row, strict=True)
        )
        for row in zip(values, low, high, strict=True)
    )
    return Alike(estimates=estimates, null=null, p=p, family_p=family)


def _centred(products: np.ndarray) -> np.ndarray:
    """Returns inner products (n, n) with zeros on the diagonal and rows that sum to 0."""
    n = len(products)
    found = products.copy()
    np.fill_diagonal(found, 0)
    sums = found.sum(0)
    found += float(sums.sum()) / ((n - 1) * (n - 2)) - (sums[:, None] + sums) / (n - 2)
    np.fill_diagonal(found, 0)
    return found


def _jackknife(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns cosines (a, b), and the standard errors (a, b) of their arctanh, by leaving out one
    sample at a time.
    """
    n = a.shape[1]
    share = 2 * (n - 2) / (n - 3)
    rows = a.transpose(1, 0, 2) @ b.transpose(1, 2, 0)  # (n, a, b)
    own_a, own_b = (np.square(each, dtype=np.float64).sum(2) for each in (a, b))  # (a, n), (b, n)
    known = (own_a.sum(1) > 0)[:, None] & (own_b.sum(1) > 0)
    values = np.where(known, rows.sum(0, dtype=np.float64), np.nan)
    total, squares = np.zeros(values.shape), np.zeros(values.shape)
    whole = np.arctanh(np.clip(values, -_ONE, _ONE))
    for m in range(n):
        left_a = np.maximum(own_a.sum(1) - share * own_a[:, m], 0)
        left_b = np.maximum(own_b.sum(1) - share * own_b[:, m], 0)
        below = np.sqrt(left_a[:, None] * left_b)
        cosine = np.divide(values - share * rows[m], below, out=values.copy(), where=below > 0)
        change = np.arctanh(np.clip(cosine, -_ONE, _ONE)) - whole
        total += change
        squares += np.square(change)
    return values, np.sqrt(np.maximum(squares - np.square(total) / n, 0) * (n - 1) / n)
