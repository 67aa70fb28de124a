"""How well readings agree with labels that are known to be right.

Of labels with two values it is the AUC: how often a reading of one class lies above one of the
other, 0.5 by chance. Of other labels it is Pearson's correlation, 0 by chance. Neither depends on
the unit of the reading. p comes from shuffled labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import AnalysisError
from .bootstrap import REPEATS, Statistic, bootstrap
from .estimate import Estimate
from .permutation import permutation_test
from .probes import AUC, is_binary, upper_class
from .scoring import auc

CORRELATION = "correlation"
FEWEST = 8
"""The smallest number of labelled pictures."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well readings agree with labels.

    ``metric`` names the measure: AUC or correlation. ``score`` is its value, and ``null`` its value
    by chance. ``p`` comes from shuffled labels.
    """

    metric: str
    score: Estimate
    null: float
    p: float


def agreement(
    readings: np.ndarray, labels: np.ndarray, repeats: int = REPEATS, seed: int = 0
) -> Agreement:
    """Measures how well readings (n,) agree with labels (n,).

    A sample with NaN in either is left out.

    Args:
        readings: The readings of a reader.
        labels: The correct labels.
        repeats: The number of bootstrap draws over pictures, and of shuffled labels.
        seed: The seed of both.

    Raises:
        AnalysisError: fewer than 8 pictures have both, or all labels or readings are alike.
    """
    readings, labels = np.asarray(readings, np.float64), np.asarray(labels, np.float64)
    known = np.isfinite(readings) & np.isfinite(labels)
    x, y = readings[known], labels[known]
    if len(x) < FEWEST:
        raise AnalysisError(
            f"an agreement takes {FEWEST} labelled pictures or more, got {len(x)}; label more"
        )
    for what, values in (("labels", y), ("readings", x)):
        if np.ptp(values) == 0:
            raise AnalysisError(
                f"all {len(x)} {what} are {values[0]:g}; an agreement takes values that differ"
            )
    binary = is_binary(y)
    target = upper_class(y).astype(np.float64) if binary else y
    score = bootstrap(_statistic(x, target, binary), len(x), repeats=repeats, seed=seed)
    counts = np.ones((1, len(x)))

    def shuffled(orders: np.ndarray) -> np.ndarray:
        return np.array([_statistic(x, target[order], binary)(counts)[0] for order in orders])

    p = permutation_test(shuffled, len(x), min(repeats, 499), seed)[1]
    return Agreement(
        metric=AUC if binary else CORRELATION, score=score, null=0.5 if binary else 0.0, p=p
    )


def _statistic(x: np.ndarray, y: np.ndarray, binary: bool) -> Statistic:
    """Returns the agreement of readings and labels: counts (r, n) -> (r,)."""
    if binary:
        found = auc(y[:, None], x[:, None], np.zeros(len(x), int))
        return lambda counts: found(counts)[:, 0]
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    columns = np.stack([x, y, x * x, y * y, x * y], 1)

    def correlation(counts: np.ndarray) -> np.ndarray:
        mx, my, xx, yy, xy = (counts @ columns / counts.sum(1, keepdims=True)).T
        below = np.sqrt(np.maximum(xx - mx**2, 0) * np.maximum(yy - my**2, 0))
        return np.divide(xy - mx * my, below, out=np.full(len(mx), np.nan), where=below > 0)

    return correlation
