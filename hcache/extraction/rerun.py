"""Computes parts of a run again from its provenance, and compares them with the stored values.

Every step starts from its own cached x_t, so rounding does not accumulate along the trajectory, and
the tolerance can be as small as the dtypes allow.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import numpy as np
import torch

from ..cache.reading import Run
from ..cache.verify import Difference
from ..models.model import Model
from ..sampling.conditions import conditions_of
from ..sampling.loop import denoise
from ..specs import FULL, NONE

ROUNDING = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
"""The largest relative change from computing in another batch, or on another device of the same
kind.
"""

STORING = {"float32": 0.0, "float16": 2.0**-11}
"""Half a unit in the last place."""


def rerun(
    model: Model, run: Run, samples: Sequence[int]
) -> Generator[float, None, dict[str, Difference]]:
    """Computes samples again, and yields the share that is done.

    Returns for ``x`` and each stored tensor the largest difference and its tolerance.
    """
    largest: dict[str, float] = {}
    scale: dict[str, float] = {}
    for done, sample in enumerate(samples, 1):
        for name, stored, again in _pairs(model, run, sample):
            largest[name] = max(largest.get(name, 0.0), float(np.abs(stored - again).max()))
            scale[name] = max(scale.get(name, 0.0), float(np.abs(stored).max()))
        yield done / len(samples)
    return {
        name: Difference(largest=largest[name], tolerance=scale[name] * _share(run, name))
        for name in sorted(largest)
    }


def _share(run: Run, name: str) -> float:
    """Returns the tolerance, relative to the largest value of a tensor."""
    return ROUNDING[run.spec.dtype] + (0.0 if name == "x" else STORING[run.spec.store_dtype])


def _pairs(model: Model, run: Run, sample: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yields (name, stored, computed again) of one sample, for x_{t-1} and every stored tensor, at
    every step.
    """
    conditioning = conditions_of(model, run, [sample])
    for index in range(run.spec.steps):
        x = torch.from_numpy(run.x(sample, index))[None]
        step = next(
            denoise(
                model,
                [run.seed(sample)],
                run.spec.steps,
                run.spec.eta,
                conditioning=conditioning,
                x_t=x,
                start=index,
                schedule=run.spec.schedule,
                places=run.spec.stored_places(run.anatomy),
            )
        )
        yield "x", run.x(sample, index + 1), step.x_next[0].cpu().numpy()
        for site in run.anatomy.storable:
            policy = run.policy(site)
            for member in run.anatomy.members(site) if policy != NONE else ():
                again = step.features[member][0].float().cpu()
                again = again if policy == FULL else again.mean((1, 2))
                yield member, run.row(member, sample, index), again.numpy()
