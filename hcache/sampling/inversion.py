"""DDIM inversion: from a clean sample back to the noise that denoises to it.

The same step with t reversed: the ε predicted at one noise level is taken for that of the next
higher one. It is exact in the limit of many steps and without clipping; how well it did shows in
the reconstruction.

References:
    Diffusion Models Beat GANs on Image Synthesis (Dhariwal, Nichol, 2021), appendix F,
    https://arxiv.org/abs/2105.05233
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ..models.model import Model
from ..specs import NEXT, UNCONDITIONED, Conditioning
from .schedule import schedule_of


@dataclass(frozen=True, kw_only=True)
class InversionStep:
    """One step of an inversion, from less noise to more.

    ``index`` is the step of the denoising that x goes to, ``t`` the timestep that the model was
    asked at. ``x_t`` and ``x_0`` (the predicted one, P_t) are of t; ``x_next`` is x at the level of
    ``index``. All are (n, c, h, w), of n
    samples. At ``clean`` x is the sample itself, which has no noise yet.
    """

    index: int
    t: float
    x_t: torch.Tensor
    x_0: torch.Tensor
    x_next: torch.Tensor
    clean: bool


def invert(
    model: Model,
    x_0: torch.Tensor,
    steps: int,
    conditioning: Conditioning = UNCONDITIONED,
    schedule: str = NEXT,
) -> Iterator[torch.Tensor]:
    """Yields x at every noise level, from a picture up.

    The levels are those before step S-1, S-2, ..., 0 of ``denoise``. The last is x_T, from which it
    starts.

    Args:
        model: The model.
        x_0: Clean samples (n, c, h, w) in the model's own space: ``model.codec.encode`` of
            pictures.
        steps: The number of steps of the denoising to invert.
        schedule: The schedule of that denoising. Only with ``next`` do both have the same noise
            levels.
        conditioning: The condition of that denoising. Guidance amplifies the error of the
            inversion, and the error is reported.
    """
    for step in inversion_steps(model, x_0, steps, conditioning, schedule):
        yield step.x_next


def inversion_steps(
    model: Model,
    x_0: torch.Tensor,
    steps: int,
    conditioning: Conditioning = UNCONDITIONED,
    schedule: str = NEXT,
) -> Iterator[InversionStep]:
    """Yields the steps of :func:`invert` with the predictions made in them."""
    levels = schedule_of(model, steps, schedule)
    x = x_0.to(device=model.device, dtype=torch.float32)
    guided = model.condition(conditioning, len(x))
    for index in reversed(range(steps)):
        clean = (
            index == steps - 1
        )  # x is at the final level of the denoising, not yet at that of a step
        at = index if clean else index + 1
        with torch.inference_mode():
            t = levels.timesteps[at]
            outputs = {
                name: model.trace(x, t, condition)[1] for name, condition in guided.branches.items()
            }
            eps, predicted = levels.split(guided.combine(outputs), x, at)
            following = levels.retreat(levels.begun(x, eps) if clean else predicted, eps, index)
        yield InversionStep(index=index, t=t, x_t=x, x_0=predicted, x_next=following, clean=clean)
        x = following
