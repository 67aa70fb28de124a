"""How well plain DDIM inversion under guidance would do, beside one that survives guidance."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import torch

from ..models.model import Model
from ..sampling.inversion import invert
from ..sampling.loop import denoise
from ..specs import Conditioning, RunSpec

ERROR = "plain_reconstruction_error"
"""The label that the errors are kept as, beside those of the run's own inversion."""


def plain_again(
    model: Model, spec: RunSpec, x_0: torch.Tensor, conditioning: Conditioning
) -> Generator[torch.Tensor, None, None]:
    """Inverts clean samples by plain DDIM, and denoises them again.

    They are (n, c, h, w). It has the run's prompt, guidance and steps. A prompt that is also the
    negative prompt is left out there. It yields x after every one of 2 ``spec.steps`` steps. The
    last one is what is made of the samples.
    """
    if conditioning.is_inverted_by_prompt:
        conditioning = replace(conditioning, negative_prompt="")
    x = x_0
    for x in invert(model, x_0, spec.steps, conditioning, spec.schedule):
        yield x
    for step in denoise(
        model, steps=spec.steps, conditioning=conditioning, x_t=x, schedule=spec.schedule
    ):
        yield step.x_next
