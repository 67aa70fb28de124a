"""The value of a measure over steps at log SNR 0, where signal and noise are equal.

This level is fixed in advance and not chosen by the score, and it is the same noise for every
model. The value is interpolated between the two steps on either side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..analysis.estimate import Estimate
from ..analysis.noise_level import estimates_at
from ..cache.reading import Run
from ..errors import AnalysisError
from .noise import MIDDLE, log_snr_of, middle_step


def at_middle(
    run: Run, steps: Sequence[int], estimates: Sequence[Estimate], *others: Sequence[float]
) -> tuple[Estimate, tuple[float, ...], tuple[int, ...], str]:
    """Returns the value of a measure over steps, at log SNR 0.

    It returns the estimate, other numbers there, the rows that they come from, and the place in
    words. If no steps lie on both sides, or the run does not contain its noise levels, the middle
    step is used.
    """
    steps, level = list(steps), log_snr_of(run)[list(steps)]
    below, above = np.flatnonzero(level <= MIDDLE), np.flatnonzero(level > MIDDLE)
    if not (len(below) and len(above)):
        row = steps.index(middle_step(run, steps))
        where = f"at step {steps[row]}" + (
            f", log SNR {level[row]:+.1f}" if np.isfinite(level[row]) else ""
        )
        return estimates[row], tuple(other[row] for other in others), (row,), where
    rows = (int(below[np.argmax(level[below])]), int(above[np.argmin(level[above])]))
    nothing = next((estimates[row] for row in rows if not estimates[row].defined), None)
    if nothing is not None:
        found = nothing
    else:
        (found,) = estimates_at(
            [estimates[row] for row in rows], level[list(rows)], np.array([MIDDLE])
        )
    if found is None:
        raise AnalysisError(
            f"steps {steps} do not lie on both sides of log SNR {MIDDLE:g}; measure more steps"
        )
    mixed = tuple(
        float(np.interp(MIDDLE, level[list(rows)], [other[row] for row in rows]))
        for other in others
    )
    return found, mixed, rows, f"at log SNR 0, between steps {steps[rows[0]]} and {steps[rows[1]]}"


def estimates_of(rows: Sequence[Mapping[str, Any]], name: str) -> list[Estimate]:
    """Returns the estimates under ``name`` in stored rows."""
    return [Estimate.from_json(row[name]) for row in rows]
