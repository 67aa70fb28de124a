"""The noise levels of a run's steps, stored so that runs can be compared at equal log SNR without
their models.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np

from ..analysis.noise_level import log_snr
from ..cache.reading import Run
from ..sampling.schedule import Schedule, make_schedule
from .kinds import LEVELS
from .stored import Measuring, measured


def configured_levels(run: Run) -> Measuring:
    """Computes the noise of every step from the model's configuration.

    No weights are read. The result is ``{"timesteps": (steps,), "log_snr": (steps,)}``. A step
    without any signal, such as a flow's first step, has null.
    """

    def schedule() -> Schedule:
        from ..models.loading import load_scheduler, stated_schedule

        tokens = int(np.prod(run.anatomy.blocks[0][1:])) if run.anatomy.blocks else 0
        scheduler = load_scheduler(run.spec.model, stated_schedule(run.spec, run.provenance))
        return make_schedule(scheduler, run.spec.steps, tokens)

    return (yield from _measured(run, schedule))


def _measured(run: Run, schedule: Callable[[], Schedule]) -> Measuring:
    def compute() -> Generator[float, None, dict[str, np.ndarray]]:
        yield 0.0
        alpha_bar = schedule().alpha_bar.double().cpu().numpy()
        known = (alpha_bar > 0) & (alpha_bar < 1)
        found = np.full(len(alpha_bar), np.nan)
        found[known] = log_snr(alpha_bar[known])
        return {"timesteps": np.array(run.timesteps), "log_snr": found}

    return (yield from measured(run, LEVELS, {"steps": run.spec.steps}, compute))
