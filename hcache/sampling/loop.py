"""The one sampling loop. Extraction, swaps, edits and previews all consume it; there is no second one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from ..errors import UsageError
from ..features import Features
from ..models.model import Model
from .noise import start_noise, step_noise
from .schedule import Schedule, make_schedule


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where in the schedule a step is: ``index`` from 0 (most noise), training timestep ``t``."""

    index: int
    t: int


class Edit(Protocol):
    """A pure function from Features to Features. Given back the very object, nothing changes, at no cost."""

    def __call__(self, features: Features, moment: Moment) -> Features: ...


@dataclass(frozen=True, kw_only=True)
class Step:
    """One denoising step of a batch of n.

    ``features`` are the encoder's, before any edit. ``eps`` is the noise prediction that D_t was built from and
    ``x_0`` the predicted x_0 (P_t): of one prediction, but under an asymmetric edit of two.
    """

    index: int
    t: int
    x_t: torch.Tensor
    features: Features
    eps: torch.Tensor
    x_0: torch.Tensor
    x_next: torch.Tensor


def denoise(
    model: Model,
    seeds: Sequence[int] | None = None,
    steps: int = 50,
    eta: float = 0.0,
    edit: Edit | None = None,
    *,
    asymmetric: bool = False,
    x_t: torch.Tensor | None = None,
    start: int = 0,
) -> Iterator[Step]:
    """Denoises a batch with DDIM, one :class:`Step` at a time.

    Args:
        model: The model.
        seeds: One a sample. Each sample's noise follows from its own seed, whatever batch it is in. May be left
            out when ``x_t`` is given and ``eta`` is 0.
        steps: Length of the whole schedule, S.
        eta: 0 for deterministic DDIM, 1 for the variance of DDPM.
        edit: Changes the features of every step before they are decoded.
        asymmetric: The edited prediction enters P_t only, D_t keeps the unedited one (Asyrp: "Diffusion Models
            already have a Semantic Latent Space", Kwon, Jeong, Uh, 2022, https://arxiv.org/abs/2210.10960).
            False: it enters both.
        x_t: Samples (n, c, h, w) to go on from, at the noise level of step ``start``; instead of noise.
        start: Index of the first step to take, with ``x_t``.

    Raises:
        UsageError: arguments that do not fit together.
    """
    schedule = make_schedule(model.scheduler, steps)
    x = _first(model, seeds, steps, eta, x_t, start)
    for index in range(start, steps):
        t = schedule.timesteps[index]
        with torch.inference_mode():  # not around the yield: the mode is the thread's, and so the caller's
            features = model.encode(x, t)
            eps, x_0 = _predict(model, schedule, features, x, index, edit, asymmetric)
            noise = step_noise(seeds, index, tuple(x.shape[1:])).to(x) if eta > 0 else None
            x_next = schedule.advance(x_0, eps, index, eta, noise)
        yield Step(index=index, t=t, x_t=x, features=features, eps=eps, x_0=x_0, x_next=x_next)
        x = x_next


def predict(model: Model, features: Features, x_t: torch.Tensor, index: int, steps: int) -> torch.Tensor:
    """P_t from features alone: the one-step preview, which needs the decoder half only.

    Args:
        features: Cached or edited features of n samples at step ``index`` of ``steps``.
        x_t: Their x_t (n, c, h, w).
    """
    schedule = make_schedule(model.scheduler, steps)
    with torch.inference_mode():
        output = model.decode(features, schedule.timesteps[index])
        return schedule.split(output, x_t, index)[1]


def _predict(
    model: Model,
    schedule: Schedule,
    features: Features,
    x: torch.Tensor,
    index: int,
    edit: Edit | None,
    asymmetric: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(ε of D_t, P_t) of one step, decoding twice only where an asymmetric edit has changed something."""
    t = schedule.timesteps[index]
    edited = features if edit is None else edit(features, Moment(index=index, t=t))
    eps, x_0 = schedule.split(model.decode(edited, t), x, index)
    if asymmetric and edited is not features:
        eps, _ = schedule.split(model.decode(features, t), x, index)
    return eps, x_0


def _first(
    model: Model, seeds: Sequence[int] | None, steps: int, eta: float, x_t: torch.Tensor | None, start: int
) -> torch.Tensor:
    if not 0 <= start <= steps:
        raise UsageError(f"start must lie in 0 to {steps}, got {start}")
    if not 0 <= eta <= 1:
        raise UsageError(f"eta must lie in [0, 1] (0: deterministic DDIM, 1: DDPM), got {eta}")
    if (seeds is None or len(seeds) == 0) and (x_t is None or eta > 0):
        raise UsageError("give seeds=[...], one a sample; they may be left out only with x_t and eta=0")
    if x_t is None:
        if start:
            raise UsageError(f"start={start} needs the x_t of that step; give x_t, or start at 0")
        x_t = start_noise(seeds, model.anatomy.x)
    elif seeds is not None and len(seeds) != len(x_t):
        raise UsageError(f"{len(seeds)} seeds were given for {len(x_t)} samples of x_t; give one a sample")
    return x_t.to(device=model.device, dtype=torch.float32)
