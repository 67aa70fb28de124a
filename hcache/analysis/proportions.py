"""Intervals of shares that keep a width even if all of few samples are right.

If all samples are right, every resample is the same, and a bootstrap interval has width 0. These
intervals are inverted tests: they contain every share under which the observation is not unlikely.

References:
    Probable Inference, the Law of Succession, and Statistical Inference (Wilson, 1927),
        https://doi.org/10.1080/01621459.1927.10502953, for a share
    Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2
        (Newcombe, 2006), https://doi.org/10.1002/sim.2324, method 5, for the area under the curve
    Confidence limits about effect measures: a general approach (Zou, Donner, 2008),
        https://doi.org/10.1002/sim.3095
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from .estimate import LEVEL, Estimate


def wilson(share: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Computes the interval of a share of n samples."""
    z = float(norm.isf((1 - level) / 2))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def auc_interval(
    area: float, ones: float, zeros: float, level: float = LEVEL
) -> tuple[float, float]:
    """Computes the interval of an area under the curve.

    ``ones`` and ``zeros`` are the numbers of samples of the classes. The ends θ of the interval
    solve |area - θ| = z √V(θ), V(θ) = θ (1 - θ) [1 + (N - 1) ((1 - θ) / (2 - θ) + θ / (1
    + θ))] / (m n) with N = (m + n) / 2.
    """
    z = float(norm.isf((1 - level) / 2))

    def beyond(theta: float) -> float:
        spread = 1 + ((ones + zeros) / 2 - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return abs(area - theta) - z * math.sqrt(theta * (1 - theta) * spread / (ones * zeros))

    low = brentq(beyond, 0.0, area) if area > 0 and beyond(0.0) > 0 and beyond(area) < 0 else 0.0
    high = brentq(beyond, area, 1.0) if area < 1 and beyond(1.0) > 0 and beyond(area) < 0 else 1.0
    if area >= 1:
        low = brentq(beyond, 0.0, 1 - 1e-9)
    if area <= 0:
        high = brentq(beyond, 1e-9, 1.0)
    return float(low), float(high)


def balanced_interval(
    right_ones: float, right_zeros: float, ones: float, zeros: float
) -> tuple[float, float]:
    """The interval of the mean of two shares.

    Each is of its own class and has its own interval.
    """
    value = 0.5 * (right_ones + right_zeros)
    (a, b), (c, d) = wilson(right_ones, ones), wilson(right_zeros, zeros)
    down = 0.5 * math.hypot(right_ones - a, right_zeros - c)
    return value - down, value + 0.5 * math.hypot(b - right_ones, d - right_zeros)


def wider(estimate: Estimate, interval: tuple[float, float]) -> Estimate:
    """An estimate with the wider of two intervals.

    At either end its own is held against the other.
    """
    return replace(
        estimate,
        low=float(np.fmin(estimate.low, interval[0])),
        high=float(np.fmax(estimate.high, interval[1])),
    )
