"""The noise levels of a run's steps, which make runs with different steps comparable.

A step is described by its log SNR (:mod:`~hcache.analysis.noise_level`), and a window of steps by
the log SNRs at its ends. A window thus means the same noise on every model, whatever its number of
steps.
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
"""The log SNRs between the windows in which a direction is tried."""

COARSE_EDGES = (-4.0, 0.0)
"""The same for swaps, which cost more. The three windows are mostly noise, in between, and mostly
signal.
"""


def says_noise(run: Run) -> bool:
    """Returns whether a run's description has the noise of its steps.

    Descriptions of older runs do not.
    """
    return bool(run.provenance.get("alpha_bar"))


def log_snr_of(run: Run) -> np.ndarray:
    """Returns the log SNR of every step (steps,).

    It comes from the run's description. For an older run it was computed later from the model's
    configuration. It is NaN if neither has it, or if there is no signal or no noise.
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
    """Returns the step with log SNR nearest 0 among some steps.

    For a run without noise levels, it is the middle step.
    """
    distance = np.abs(log_snr_of(run)[list(steps)])
    return int(
        steps[int(np.nanargmin(distance))]
        if np.isfinite(distance).any()
        else steps[len(steps) // 2]
    )


def spread_steps(run: Run, count: int) -> list[int]:
    """Returns a number of steps, evenly spread.

    The two steps on either side of log SNR 0 are included, so that values there can be
    interpolated.
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
    """Returns the run's steps in windows between log SNRs.

    The first window has the most noise. For a run without noise levels, the windows are equal
    parts. A window without a step is left out.
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
    """Returns the mean log SNR of a window's steps.

    It is NaN if the run has no noise levels.
    """
    inside = log_snr_of(run)[window.first : window.last + 1]
    return float(inside[np.isfinite(inside)].mean()) if np.isfinite(inside).any() else float("nan")
