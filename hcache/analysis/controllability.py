"""Controllability: whether moving h along a direction changes the readout more than random moves
do.

The change of a sample is its readout's change per unit of strength, in units of the readout's
spread over unedited samples. Its mean over samples is compared with that of m random directions of
equal norm, on the same samples. p is the rank of the change's size among theirs. A rank assumes no
distribution, and is at least 1 / (1 + m), so with fewer than 19 random directions p cannot reach
0.05. If random directions change almost nothing, a direction that moves each sample differently
could seem better. Therefore the mean over samples is also tested against 0 (Student's t over
samples), and p is the larger of the two. A direction that controls a readout changes it on average,
and more than random directions do.

The **effect size** is

    mean change / √(mean over random directions of their squared mean changes),

the change relative to that of a random direction. Its interval accounts for the samples (bootstrap,
paired) and for the small number of random directions in the denominator (a χ² with m degrees of
freedom).

Decodable at a step does not imply controllable there, so both are shown side by side.

References:
    The Probable Error of a Mean (Student, 1908), https://doi.org/10.1093/biomet/6.1.1
    Statistical Power Analysis for the Behavioral Sciences (Cohen, 1988), for effect sizes
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..errors import AnalysisError
from .bootstrap import REPEATS, bootstrap, draw_counts, mean_of
from .estimate import LEVEL, Estimate
from .permutation import p_value

FEWEST_RANKED = 19
"""The number of random directions from which the rank can reach 0.05."""


@dataclass(frozen=True, kw_only=True)
class Controllability:
    """How far a direction moves a readout per unit of strength.

    ``change`` is the mean change, in spreads.

    ``random``: the root mean square of the same over random directions; ``effect``: their ratio.
    ``p`` tests that the mean change is 0, or no larger than a random direction's. ``drawn`` (m,):
    the size of every random direction's mean change. ``ranked``: p is a rank. Older stored results
    lack this field; their p is from Student's t for fewer than 19 random directions.
    """

    change: Estimate
    random: float
    effect: Estimate
    p: float
    directions: int
    drawn: tuple[float, ...] = ()
    ranked: bool = True


def controllability(
    changes: np.ndarray,
    nulls: np.ndarray,
    spread: float = 1.0,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Controllability:
    """Computes the effect size of a direction against random ones.

    Args:
        changes: (n,) change of the readout per unit of strength along the direction.
        nulls: (m, n) the same along m random directions of equal norm.
        spread: The readout's standard deviation over unedited samples.
        repeats: The number of bootstrap draws.
        seed: The seed of the draws.

    Raises:
        AnalysisError: shapes do not match, the readout has no spread, or random directions change
            nothing.
    """
    changes, nulls = np.asarray(changes, np.float64), np.asarray(nulls, np.float64)
    if changes.ndim != 1 or nulls.ndim != 2 or nulls.shape[1:] != changes.shape or len(changes) < 2:
        raise AnalysisError(
            "changes must be (samples,) with 2 or more samples, and nulls (directions, samples);"
            f" got {changes.shape}, {nulls.shape}"
        )
    if len(nulls) < 2:
        raise AnalysisError(f"the null takes 2 random directions or more, got {len(nulls)}")
    if not (np.isfinite(changes).all() and np.isfinite(nulls).all()):
        raise AnalysisError("changes hold values that are not finite; leave those samples out")
    if not (np.isfinite(spread) and spread > 0):
        raise AnalysisError(
            f"changes are in units of the readout's spread, which must be above 0; got {spread}"
        )
    changes, nulls = changes / spread, nulls / spread
    change = bootstrap(mean_of(changes), len(changes), repeats=repeats, seed=seed)
    scale = float(np.sqrt(np.square(nulls.mean(1)).mean()))
    if scale == 0:
        raise AnalysisError(
            "the random directions do not move the readout at all: there is nothing to compare with"
        )
    effect = change.value / scale
    drawn = np.abs(nulls.mean(1))
    return Controllability(
        change=change,
        random=scale,
        effect=_effect(effect, changes, nulls, repeats, seed),
        p=max(p_value(abs(change.value), drawn), _p_of_mean(changes)),
        directions=len(nulls),
        drawn=tuple(drawn.tolist()),
    )


def controllability_by_step(
    changes: np.ndarray, nulls: np.ndarray, spread: float = 1.0, **options: int
) -> tuple[Controllability, ...]:
    """Computes :func:`controllability` of each step or window.

    Changes are (n, steps), and nulls (m, n, steps).
    """
    return tuple(
        controllability(changes[:, step], nulls[:, :, step], spread, **options)
        for step in range(changes.shape[1])
    )


def _p_of_mean(changes: np.ndarray) -> float:
    """Returns p that the mean change over samples is 0."""
    error = float(changes.std(ddof=1)) / np.sqrt(len(changes))
    mean = abs(float(changes.mean()))
    if error <= 1e-12 * mean:
        return 0.0 if mean else 1.0
    return float(2 * stats.t.sf(mean / error, len(changes) - 1))


def p_of_size(size: float, nulls: np.ndarray) -> float:
    """Returns p that a random direction changes the readout as much.

    It is for sizes without a sign, such as those of all pixels. The logarithms of random
    directions' sizes (m,) are assumed to be normal. Whether one more of them would be as large is
    then a t with m - 1 degrees of freedom.
    """
    if len(nulls) < 2:
        raise AnalysisError(f"the null takes 2 random directions or more, got {len(nulls)}")
    logs = np.log(np.maximum(nulls, 1e-12 * max(size, 1e-300)))
    deviation = float(logs.std(ddof=1)) * np.sqrt(1 + 1 / len(nulls))
    above = float(np.log(max(size, 1e-300)) - logs.mean())
    if deviation < 1e-9:
        return 0.0 if above > 1e-9 else 1.0
    return float(stats.t.sf(above / deviation, len(nulls) - 1))


def _effect(
    value: float, changes: np.ndarray, nulls: np.ndarray, repeats: int, seed: int
) -> Estimate:
    """Returns the interval of the ratio. Both means use the same draws of samples, and the
    denominator is also multiplied by √(m / χ²_m).
    """
    rng = np.random.default_rng(seed)
    counts = draw_counts(len(changes), repeats, rng) / len(changes)
    below = np.sqrt(np.square(counts @ nulls.T).mean(1))
    chance = np.sqrt(rng.chisquare(len(nulls), repeats) / len(nulls))
    draws = (counts @ changes) * chance / np.maximum(below, 1e-300)
    low, high = np.quantile(draws, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Estimate(value=value, low=float(low), high=float(high), n=len(changes))
