"""The noise levels of a run's steps: what makes runs comparable whose steps are not.

A step is told by its log SNR (:mod:`~hcache.analysis.noise_level`), windows of steps by the log SNR
between which they lie; so that a window means the same noise on every model, however many steps it
has there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..analysis.noise_level import log_snr
from ..cache.reading import Run
from ..cache.records import load_record
from ..recipes.window import Window
from .kinds import LEVELS

MIDDLE = 0.0
"""The log SNR at which signal and noise are equal."""

EDGES = (-6.0, -4.0, -2.0, 0.0, 2.0)
"""Log SNRs between the windows in which a direction is tried."""

COARSE_EDGES = (-4.0, 0.0)
"""The same for swaps, which cost more: mostly noise, in between, mostly signal."""


def says_noise(run: Run) -> bool:
    """Whether a run's own description has the noise of its steps.

    Those of before have not.
    """
    return bool(run.provenance.get("alpha_bar"))


def log_snr_of(run: Run) -> np.ndarray:
    """The log SNR of every step (steps,).

    As the run's description has it; of a run of before, as it was computed since from the model's
    configuration. NaN where neither says, or where there is no signal or no noise.
    """
    if not says_noise(run):
        record = load_record(run, LEVELS, {"steps": run.spec.steps})
        stored = record.result["log_snr"] if record else [None] * run.spec.steps
        return np.array([np.nan if each is None else each for each in stored], np.float64)
    alpha_bar = np.asarray(run.provenance["alpha_bar"], np.float64)
    known = (alpha_bar > 0) & (alpha_bar < 1)
    found = np.full(run.spec.steps, np.nan)
    found[known] = log_snr(alpha_bar[known])
    return found


def middle_step(run: Run, steps: Sequence[int]) -> int:
    """Of some steps the one with log SNR nearest 0.

    Of runs that do not say, the middle one.
    """
    distance = np.abs(log_snr_of(run)[list(steps)])
    return int(
        steps[int(np.nanargmin(distance))]
        if np.isfinite(distance).any()
        else steps[len(steps) // 2]
    )


def spread_steps(run: Run, count: int) -> list[int]:
    """So many steps, evenly spread.

    And the two that stand on either side of log SNR 0, between which one may read.
    """
    steps = {
        int(step) for step in np.linspace(0, run.spec.steps - 1, min(count, run.spec.steps)).round()
    }
    level = log_snr_of(run)
    steps.add(middle_step(run, range(run.spec.steps)))
    for side in (level <= MIDDLE, level > MIDDLE):
        if side.any():
            steps.add(int(np.flatnonzero(side)[np.argmin(np.abs(level[side]))]))
    return sorted(steps)


def windows_of(run: Run, edges: Sequence[float]) -> list[Window]:
    """The run's steps cut at some log SNRs, most noise first.

    Of runs that do not say, into as many equal parts.

    A window without a step is left out.
    """
    level = log_snr_of(run)
    if np.isfinite(level).any():
        known = np.flatnonzero(np.isfinite(level))
        level[: known[0]], level[known[-1] + 1 :] = -np.inf, np.inf
        part = np.searchsorted(edges, level, side="left")
    else:
        part = np.arange(run.spec.steps) * (len(edges) + 1) // run.spec.steps
    found = (np.flatnonzero(part == number) for number in range(len(edges) + 1))
    return [Window(first=int(steps[0]), last=int(steps[-1])) for steps in found if len(steps)]


def level_of(run: Run, window: Window) -> float:
    """The mean log SNR of a window's steps.

    NaN if the run does not say.
    """
    inside = log_snr_of(run)[window.first : window.last + 1]
    return float(inside[np.isfinite(inside)].mean()) if np.isfinite(inside).any() else float("nan")
