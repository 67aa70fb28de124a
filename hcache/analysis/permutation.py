"""Permutation tests: how often does chance alone give a value as large?

``scipy.stats.permutation_test`` tests one statistic by itself. Here the draws of a family are kept
and shared, for p values that hold for all of its members (max-T). The orders are those that a
probe's folds and groups of samples allow.

If labels say nothing about the data, every order of them is equally likely. If two conditions are
assigned by a coin, both signs of their difference are equally likely in each sample. A statistic is
therefore compared with itself under random orders or signs. If k of m draws give a value as large,
p = (1 + k) / (1 + m). The observation counts as one of the draws, so p is never 0, and a true null
is called significant at level α in at most α of all cases.

References:
    The Design of Experiments (Fisher, 1935), for the test
    Permutation P-values Should Never Be Zero: Calculating Exact P-values When Permutations Are
        Randomly Drawn (Phipson, Smyth, 2010), https://arxiv.org/abs/1603.05766
    Resampling-Based Multiple Testing (Westfall, Young, 1993), for the largest of many statistics
    A Simple Sequentially Rejective Multiple Test Procedure (Holm, 1979),
        https://www.jstor.org/stable/4615733
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import AnalysisError

REPEATS = 1999


def p_value(observed: float, null: np.ndarray) -> float:
    """Returns how often a null is as large as the observed value.

    The draws of the null are (m,). The observed value counts as one of them.
    """
    null = np.asarray(null, np.float64)
    slack = 1e-12 * max(
        abs(observed), float(np.abs(null).max(initial=0))
    )  # equal up to rounding counts as equal
    return float((1 + (null >= observed - slack).sum()) / (1 + len(null)))


def permutation_test(
    statistic: Callable[[np.ndarray], np.ndarray], n: int, repeats: int = REPEATS, seed: int = 0
) -> tuple[float, float, np.ndarray]:
    """Returns a statistic, its p, and its values under all permutations.

    The values are (repeats,). The test is one-sided, for large values.

    Args:
        statistic: orders (r, n) int -> (r,): the statistic with one side of the data in each of
            these orders.
        n: The number of samples.
        repeats: The number of permutations.
        seed: The seed of the permutations.
    """
    if n < 2:
        raise AnalysisError(f"a permutation test needs 2 samples or more, got {n}")
    rng = np.random.default_rng(seed)
    orders = rng.permuted(np.tile(np.arange(n), (repeats, 1)), axis=1)
    observed = float(statistic(np.arange(n)[None])[0])
    null = np.asarray(statistic(orders), np.float64)
    return observed, p_value(observed, null), null


def holm(p: Sequence[float | None]) -> np.ndarray:
    """Adjusts p values (k,) for all k by Holm's method.

    The probability of any false positive among all is then the level, whatever the dependence of
    the tests. NaN and None are returned as NaN.
    """
    given = np.asarray(p, np.float64)
    known = np.flatnonzero(np.isfinite(given))
    order = known[np.argsort(given[known], kind="stable")]
    adjusted = np.full(given.shape, np.nan)
    adjusted[order] = np.minimum(
        1, np.maximum.accumulate(given[order] * np.arange(len(order), 0, -1))
    )
    return adjusted


def family_p(observed: np.ndarray, nulls: np.ndarray) -> np.ndarray:
    """Returns p values adjusted for a family of statistics (k,).

    The largest value of the family in every draw is the null of all of them: (k,). Draw j of the
    null, (k, m), must be the same shuffle for all members, which keeps their dependence. Each
    member is expressed in deviations of its own draws, including the observed value. Observed
    deviations are compared with the largest deviation of each draw (max-T, Westfall, Young 1993). p
    is at least 1 / (1 + m), for every k.
    """
    observed, nulls = np.asarray(observed, np.float64), np.asarray(nulls, np.float64)
    draws = np.concatenate([observed[:, None], nulls], 1)
    known = np.isfinite(draws).all(1)
    adjusted = np.full(len(observed), np.nan)
    if not known.any():
        return adjusted
    draws = draws[known]
    deviation = draws.std(1, keepdims=True)
    t = np.divide(
        draws - draws.mean(1, keepdims=True),
        deviation,
        out=np.zeros_like(draws),
        where=deviation > 0,
    )
    largest = t.max(0)
    adjusted[known] = [(largest >= each - 1e-9).mean() for each in t[:, 0]]
    return adjusted


def over_parts(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Adjusts the p values of a family's parts for all of it.

    Each part (k,) is already adjusted for itself. It is the closed test whose intersections are
    tested by Bonferroni over the parts that they touch. With parts s of largest p M_s, the p of a
    member of part s becomes the largest of k min(p, the k - 1 largest M of other parts) over k = 1,
    2, ... parts. The probability of any false positive in the family is then at most the level,
    whatever the dependence between parts. NaN stays NaN.

    References:
        On closed testing procedures with special reference to ordered analysis of variance (Marcus,
            Peritz, Gabriel, 1976), https://doi.org/10.1093/biomet/63.3.655
    """
    largest = [float(np.nanmax(p)) if np.isfinite(p).any() else np.nan for p in parts]
    found = []
    for place, p in enumerate(parts):
        others = [each for at, each in enumerate(largest) if at != place and np.isfinite(each)]
        adjusted = np.asarray(p, np.float64)
        for count, bound in enumerate(sorted(others, reverse=True), 2):
            adjusted = np.fmax(adjusted, count * np.fmin(p, bound))
        found.append(np.where(np.isfinite(p), np.minimum(1, adjusted), np.nan))
    return found


def sign_flip_test(effects: np.ndarray, repeats: int = REPEATS, seed: int = 0) -> np.ndarray:
    """Returns p that paired effects are symmetric about 0.

    It is two-sided, for each column of ``effects`` (n, k): (k,). It tests the mean only if effects
    are symmetric by design, like the difference of two conditions that are assigned at random.
    Skewed effects, or rare jumps, can have a mean of 0 without being symmetric. All columns are
    compared with the largest |t| that chance gives among them. The whole family of k thus has one
    error rate: if no column has an effect, the probability that any is called significant is the
    level. Signs are flipped per sample, which keeps the dependence of the columns.
    """
    effects = np.asarray(effects, np.float64)
    if effects.ndim != 2 or len(effects) < 2:
        raise AnalysisError(
            "a sign-flip test needs effects (samples, effects) of 2 samples or more, got"
            f" {effects.shape}"
        )
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(repeats, len(effects)))
    mean_square = np.square(effects).mean(0)

    def largest_t(means: np.ndarray) -> np.ndarray:
        variance = (mean_square - np.square(means)) / (len(effects) - 1)
        tiny = 1e-12 * np.where(mean_square > 0, mean_square, 1)
        return np.abs(means) / np.sqrt(np.maximum(variance, tiny))

    observed = np.where(mean_square > 0, largest_t(effects.mean(0)), 0)
    null = np.where(mean_square > 0, largest_t(signs @ effects / len(effects)), 0).max(1)
    return np.array([p_value(float(t), null) for t in observed])
