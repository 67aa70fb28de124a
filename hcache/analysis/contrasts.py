"""How a selection of samples differs from the rest in its labels: means, their difference, its
interval.

The interval is Welch's: samples are taken for draws of the model, as their seeds are, and the two
groups may vary by different amounts. It says how far the difference would move with other seeds. It
does not know how the selection was made: of a label that was looked at in the selecting, a
difference is no finding.

References:
    The Generalization of "Student's" Problem when Several Different Population Variances are
    Involved (Welch, 1947), https://doi.org/10.1093/biomet/34.1-2.28
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import ttest_ind

from ..errors import AnalysisError
from .estimate import LEVEL, Estimate


@dataclass(frozen=True, kw_only=True)
class LabelContrast:
    """``selected`` and ``rest``: means of a label over those that have it. ``difference``: of the
    means.

    Its interval is NaN where a group has fewer than two values, or neither varies. ``spread``: the
    label's standard deviation over all samples.
    """

    name: str
    selected: float
    rest: float
    counts: tuple[int, int]
    difference: Estimate
    spread: float

    @property
    def in_spreads(self) -> Estimate:
        """The difference in deviations of the label, so that labels compare.

        NaN of a label that does not vary.
        """
        unit = self.spread or math.nan
        found = self.difference
        return Estimate(
            value=found.value / unit,
            low=found.low / unit,
            high=found.high / unit,
            n=found.n,
            level=found.level,
        )


def contrast_labels(
    labels: Mapping[str, np.ndarray], chosen: np.ndarray, level: float = LEVEL
) -> tuple[LabelContrast, ...]:
    """The contrast of every label, largest difference in spreads first.

    Labels that a group lacks are left out.

    Args:
        labels: Name -> (n,), NaN where a sample has no value.
        chosen: (n,) bool: who is selected.
        level: Of the intervals.

    Raises:
        AnalysisError: ``chosen`` is not a flag a sample.
    """
    found = []
    for name, values in labels.items():
        if chosen.shape != values.shape or chosen.dtype != bool:
            raise AnalysisError(
                f"a selection needs one flag for each of {values.shape} samples, got {chosen.shape}"
            )
        values, known = values.astype(np.float64), np.isfinite(values)
        a, b = values[known & chosen], values[known & ~chosen]
        if len(a) and len(b):
            found.append(_contrast(name, a, b, level))
    return tuple(sorted(found, key=lambda c: -abs(c.in_spreads.value) if c.spread else 0.0))


def _contrast(name: str, a: np.ndarray, b: np.ndarray, level: float) -> LabelContrast:
    low = high = math.nan
    if min(len(a), len(b)) > 1 and (np.ptp(a) > 0 or np.ptp(b) > 0):
        low, high = ttest_ind(a, b, equal_var=False).confidence_interval(level)
    difference = Estimate(
        value=float(a.mean() - b.mean()),
        low=float(low),
        high=float(high),
        n=len(a) + len(b),
        level=level,
    )
    return LabelContrast(
        name=name,
        selected=float(a.mean()),
        rest=float(b.mean()),
        counts=(len(a), len(b)),
        difference=difference,
        spread=float(np.concatenate([a, b]).std()),
    )
