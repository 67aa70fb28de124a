"""Intervals by resampling: what would other samples of the same kind have given?

``scipy.stats.bootstrap`` draws single samples alone. Here whole clusters are drawn (all swaps of
one recipient), strata keep their sizes (both classes of a label), many statistics share their
draws, and intervals of few samples are widened by Student's t.

n samples are drawn from the n that there are, with replacement, many times over; the spread of a
statistic over such draws stands for its spread over new data. A draw is a row of counts, how often
each sample is in it, and a statistic is a function of such rows, so that thousands of draws are one
matrix product. Whatever belongs to one sample is drawn together: a difference between two
conditions on the same samples is a statistic of their pairs.

The interval is bias-corrected and accelerated (BCa): it takes those quantiles of the draws that
make up for a statistic's bias and for a spread that changes with its value,

    α₁ = Φ(z₀ + (z₀ + z_α) / (1 - a (z₀ + z_α))),

z₀ from the share of draws below the value found, a from the skewness of leaving out one sample at a
time. With z₀ = a = 0 it is the percentile interval. Draws from few samples spread too little, by
√((n - 1) / n), and as if their variance were known; so z_α is Student's t_α with n - 1 degrees of
freedom, times √(n / (n - 1)).

References:
    Better Bootstrap Confidence Intervals (Efron, 1987),
        https://doi.org/10.1080/01621459.1987.10478410
    What Teachers Should Know about the Bootstrap (Hesterberg, 2014),
        https://arxiv.org/abs/1411.5279, for few samples
    Bootstrap Methods and Their Application (Davison, Hinkley, 1997),
        https://doi.org/10.1017/CBO9780511802843
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from ..errors import AnalysisError
from .estimate import LEVEL, Estimate

Statistic = Callable[[np.ndarray], np.ndarray]
"""A function from counts (r, n) float64 to the statistic of each row, (r,) or (r, k). Twice the
counts must give the same value.
"""

BCA, PERCENTILE = "BCa", "percentile"
REPEATS = 2000
AT_ONCE = 2**22
"""The number of counts held in memory at a time."""


def bootstrap(
    statistic: Statistic,
    n: int,
    *,
    level: float = LEVEL,
    repeats: int = REPEATS,
    seed: int = 0,
    method: str = BCA,
    strata: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
) -> Estimate:
    """Computes a statistic of n samples with its interval.

    Args:
        statistic: counts (r, n) -> (r,).
        n: The number of samples.
        level: The share of repetitions in which the interval should cover the true value.
        repeats: The number of draws.
        seed: The seed of the draws.
        method: ``BCa`` or ``percentile``.
        strata: (n,) strata, which are drawn separately, for example the two classes of a label.
        clusters: (n,) clusters, which are drawn as a whole, for example all rows with one
            recipient.

    Raises:
        AnalysisError: there are fewer than 2 samples, or the statistic is not defined on them or on
            most draws.
    """
    (found,) = bootstrap_many(
        lambda counts: statistic(counts)[:, None],
        n,
        level=level,
        repeats=repeats,
        seed=seed,
        method=method,
        strata=strata,
        clusters=clusters,
    )
    return found


def bootstrap_many(
    statistic: Statistic,
    n: int,
    *,
    level: float = LEVEL,
    repeats: int = REPEATS,
    seed: int = 0,
    method: str = BCA,
    strata: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    drawn: np.ndarray | None = None,
) -> tuple[Estimate, ...]:
    """Computes several statistics of the same samples, on the same draws.

    The statistic maps counts (r, n) to (r, k), as in :func:`bootstrap`. ``drawn`` (repeats, n):
    draws of :func:`draw_counts` with the same n and strata, if several calls share them.
    """
    if method not in (BCA, PERCENTILE):
        raise AnalysisError(
            f"the method of an interval must be {BCA} or {PERCENTILE}, got {method!r}"
        )
    if not 0 < level < 1:
        raise AnalysisError(f"the level of an interval must lie between 0 and 1, got {level}")
    groups = np.arange(n) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    units = int(groups.max()) + 1 if n else 0
    if units < 2:
        raise AnalysisError(f"an interval needs 2 samples or more to draw from, got {units}")
    values = np.asarray(statistic(np.ones((1, n))), np.float64)[0]
    if not np.isfinite(values).all():
        raise AnalysisError(
            "the statistic is not defined on these samples (division by zero?); there is no"
            " interval"
        )
    if drawn is None:
        draws = _all_draws(statistic, groups, units, repeats, np.random.default_rng(seed), strata)
    else:
        draws = _of_drawn(statistic, drawn)
    if np.isfinite(draws).all(1).mean() < 0.5:
        raise AnalysisError(
            f"the statistic is not defined on most draws from these {n} samples; use more samples,"
            " of all kinds"
        )
    z = float(stdtrit(units - 1, (1 + level) / 2)) * np.sqrt(units / (units - 1))
    if method == BCA:
        left_out = _left_out(statistic, groups, units)
        ends = [_bca_ends(draws[:, k], values[k], left_out[:, k], z) for k in range(len(values))]
    else:
        ends = [(float(ndtr(-z)), float(ndtr(z)))] * len(values)
    return tuple(
        _estimate(draws[:, k], values[k], ends[k], units, level) for k in range(len(values))
    )


def rows(function: Callable[..., float], *arrays: np.ndarray) -> Statistic:
    """Makes a statistic of any function of arrays (n, ...).

    The function is called once per draw, with the drawn rows.
    """

    def statistic(counts: np.ndarray) -> np.ndarray:
        chosen = (np.repeat(np.arange(len(row)), row.astype(int)) for row in counts)
        return np.array([function(*(array[index] for array in arrays)) for index in chosen])

    return statistic


def mean_of(values: np.ndarray) -> Statistic:
    """Returns the mean of values (n,), or of columns of (n, k)."""
    return lambda counts: counts @ values / counts.sum(1).reshape(-1, *[1] * (values.ndim - 1))


def ratio_of(above: np.ndarray, below: np.ndarray) -> Statistic:
    """Returns the sum of some values over the sum of others.

    Both are (n,) or (n, k). This is more stable than a mean of ratios.
    """

    def statistic(counts: np.ndarray) -> np.ndarray:
        denominator = counts @ below
        return np.divide(
            counts @ above,
            denominator,
            out=np.full(denominator.shape, np.nan),
            where=denominator != 0,
        )

    return statistic


def draw_counts(
    n: int, repeats: int, rng: np.random.Generator, strata: np.ndarray | None = None
) -> np.ndarray:
    """Returns counts (repeats, n) float64 of draws with replacement.

    Each stratum keeps its size.
    """
    if strata is None:
        return rng.multinomial(n, np.full(n, 1 / n), size=repeats).astype(np.float64)
    counts = np.zeros((repeats, n))
    for stratum in np.unique(strata):
        inside = np.flatnonzero(strata == stratum)
        counts[:, inside] = draw_counts(len(inside), repeats, rng)
    return counts


def _all_draws(
    statistic: Statistic,
    groups: np.ndarray,
    units: int,
    repeats: int,
    rng: np.random.Generator,
    strata: np.ndarray | None,
) -> np.ndarray:
    """Returns the statistic of every draw (repeats, k), a few megabytes of counts at a time."""
    if strata is not None and units < len(groups):
        raise AnalysisError("draw by strata or by clusters, not by both")
    size = max(1, AT_ONCE // len(groups))
    parts = [
        statistic(draw_counts(units, min(size, repeats - start), rng, strata)[:, groups])
        for start in range(0, repeats, size)
    ]
    return np.concatenate(parts).astype(np.float64)


def _of_drawn(statistic: Statistic, drawn: np.ndarray) -> np.ndarray:
    """Returns the statistic of given draws of any integer dtype."""
    size = max(1, AT_ONCE // drawn.shape[1])
    parts = [
        statistic(drawn[start : start + size].astype(np.float64))
        for start in range(0, len(drawn), size)
    ]
    return np.concatenate(parts).astype(np.float64)


def _left_out(statistic: Statistic, groups: np.ndarray, units: int) -> np.ndarray:
    """Returns the statistic without each unit in turn (units, k)."""
    size = max(1, AT_ONCE // len(groups))
    parts = [
        statistic(
            (np.arange(start, min(start + size, units))[:, None] != groups).astype(np.float64)
        )
        for start in range(0, units, size)
    ]
    return np.concatenate(parts).astype(np.float64)


def _bca_ends(
    draws: np.ndarray, value: float, left_out: np.ndarray, z: float
) -> tuple[float, float]:
    """Returns the quantiles of the draws at the ends of the interval. ``z`` is the number of
    deviations on either side.
    """
    draws, left_out = draws[np.isfinite(draws)], left_out[np.isfinite(left_out)]
    scale = 1e-12 * max(abs(value), float(np.abs(draws).max()))
    below = float((draws < value - scale).mean() + 0.5 * (np.abs(draws - value) <= scale).mean())
    z0 = ndtri(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    deviations = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    largest = float(np.abs(deviations).max())
    a = 0.0
    if largest > scale:
        relative = deviations / largest
        a = float((relative**3).sum()) / (6 * float(np.square(relative).sum()) ** 1.5)
    ends = []
    for end in (z0 - z, z0 + z):
        room = max(1 - a * end, 0.1)  # beyond this the correction is meaningless
        ends.append(float(ndtr(z0 + end / room)))
    return ends[0], ends[1]


def _estimate(
    draws: np.ndarray, value: float, ends: tuple[float, float], n: int, level: float
) -> Estimate:
    low, high = np.quantile(draws[np.isfinite(draws)], ends)
    return Estimate(value=float(value), low=float(low), high=float(high), n=n, level=level)
