"""The noise levels of a run's steps, stored so that runs compare at equal log SNR without their models."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from ..analysis.noise_level import log_snr
from ..cache.reading import Run
from ..models.model import Model
from ..sampling.schedule import schedule_of
from .stored import Measuring, measured

LEVELS = "levels"


def noise_levels(model: Model, run: Run) -> Measuring:
    """``{"timesteps": (steps,), "log_snr": (steps,)}``; null at a step without any signal, such as a flow's first."""

    def compute() -> Generator[float, None, dict[str, np.ndarray]]:
        yield 0.0
        alpha_bar = schedule_of(model, run.spec.steps).alpha_bar.double().cpu().numpy()
        known = (alpha_bar > 0) & (alpha_bar < 1)
        found = np.full(len(alpha_bar), np.nan)
        found[known] = log_snr(alpha_bar[known])
        return {"timesteps": np.array(run.timesteps), "log_snr": found}

    return (yield from measured(run, LEVELS, {"steps": run.spec.steps}, compute))
