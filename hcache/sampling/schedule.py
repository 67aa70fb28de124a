r"""The noise schedule of a run.

With :math:`\bar\alpha_t` (``alpha_bar``) the cumulative product of the alphas at training timestep
t, one step of DDIM is

    P_t     = (x_t - √(1-ᾱ_t) ε) / √ᾱ_t                   the predicted x_0
    D_t     = √(1 - ᾱ_{t-1} - σ_t²) ε                      the direction to x_t
    σ_t     = η √((1-ᾱ_{t-1}) / (1-ᾱ_t)) √(1 - ᾱ_t/ᾱ_{t-1})
    x_{t-1} = √ᾱ_{t-1} P_t + D_t + σ_t z

where t-1 stands for the next timestep of the schedule. diffusers' ``DDIMScheduler`` takes t - T //
S for it, T steps being trained and S taken. Unless timesteps are that far apart, which those of
``linspace`` never are and those of ``trailing`` only where S divides T, a step then ends at another
level than the next one begins at (https://github.com/huggingface/diffusers/issues/11347): see
:data:`hcache.specs.SCHEDULES`.

Models that were distilled to a few steps have steps of their own (:mod:`.few_steps`).

One step of a flow, whose x_t is (1-s_t) x_0 + s_t ε, takes the same two predictions to s_{t-1}.

References:
    Denoising Diffusion Implicit Models (Song, Meng, Ermon, 2020), https://arxiv.org/abs/2010.02502
    Flow Matching for Generative Modeling (Lipman, Chen, Ben-Hamu, Nickel, Le, 2022),
        https://arxiv.org/abs/2210.02747
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
)

from ..errors import UsageError
from ..models.model import Model
from ..models.schedulers import OwnSpacingFlow, Scheduler
from ..specs import BEFORE, DIFFUSERS, NEXT, SCHEDULES
from .few_steps import few_step_schedule
from .split import split_prediction


class Schedule(Protocol):
    """S denoising steps, from noise to image.

    ``alpha_bar`` (S,): the share of signal in x_t, in variance. ``no_eta``: why eta must be 0, or
    nothing.
    """

    no_eta: ClassVar[str]

    @property
    def timesteps(self) -> tuple[float, ...]:
        """The training timestep of each step (S)."""
        ...

    @property
    def alpha_bar(self) -> torch.Tensor:
        """The share of signal in x_t, in variance (S,)."""
        ...

    def split(
        self, output: torch.Tensor, x_t: torch.Tensor, index: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the network's output at step ``index`` as (ε, P_t)."""
        ...

    def noisy(self, index: int, eta: float) -> bool:
        """Returns whether step ``index`` adds noise, which the samples' seeds give."""
        ...

    def advance(
        self,
        x_0: torch.Tensor,
        eps: torch.Tensor,
        index: int,
        eta: float,
        noise: torch.Tensor | None,
    ) -> torch.Tensor:
        """Returns x_{t-1} from P_t and the ε of D_t.

        They may come from different predictions, as in asymmetric edits.
        """
        ...

    def retreat(self, x_0: torch.Tensor, eps: torch.Tensor, index: int) -> torch.Tensor:
        """Returns x_t of step ``index`` from the step after it.

        It uses a prediction made there, so it is DDIM's step in reverse.
        """
        ...

    def begun(self, x: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """Returns P_t of a finished sample x.

        The sample is at the final level of the last step, with the ε in it.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class DiffusionSchedule:
    """The schedule of a diffusion.

    ``alpha_bar_prev`` is (S,), too. ``clip``: P_t is clipped to ±clip, if the model's scheduler
    says so. ``end``: ᾱ of a finished sample.
    """

    no_eta: ClassVar[str] = ""

    timesteps: tuple[int, ...]
    alpha_bar: torch.Tensor
    alpha_bar_prev: torch.Tensor
    prediction_type: str
    clip: float | None
    end: float = 1.0

    def __len__(self) -> int:
        return len(self.timesteps)

    def split(
        self, output: torch.Tensor, x_t: torch.Tensor, index: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns (ε, P_t), whether the network predicts ε, v or x_0."""
        return split_prediction(output, x_t, self.alpha_bar[index], self.prediction_type, self.clip)

    def noisy(self, index: int, eta: float) -> bool:
        """Returns whether a step adds noise."""
        return eta > 0

    def advance(
        self,
        x_0: torch.Tensor,
        eps: torch.Tensor,
        index: int,
        eta: float,
        noise: torch.Tensor | None,
    ) -> torch.Tensor:
        """Returns x_{t-1} by DDIM's step."""
        a, a_prev = self.alpha_bar[index], self.alpha_bar_prev[index]
        sigma = eta * ((1 - a_prev) / (1 - a) * (1 - a / a_prev)) ** 0.5
        x_next = a_prev**0.5 * x_0 + (1 - a_prev - sigma**2) ** 0.5 * eps
        return x_next if noise is None else x_next + sigma * noise

    def retreat(self, x_0: torch.Tensor, eps: torch.Tensor, index: int) -> torch.Tensor:
        """Returns x_t of step ``index`` by DDIM's step backwards."""
        a = self.alpha_bar[index]
        return a**0.5 * x_0 + (1 - a) ** 0.5 * eps

    def begun(self, x: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """Returns P_t of a finished sample x."""
        return (x - (1 - self.end) ** 0.5 * eps) / self.end**0.5


@dataclass(frozen=True, kw_only=True)
class FlowSchedule:
    """The schedule of a flow.

    ``noise`` (S + 1,): the share s of noise before every step, and 0 after the last.
    """

    no_eta: ClassVar[str] = (
        "eta is DDIM's; this model is a flow, which is deterministic: leave it at 0"
    )

    timesteps: tuple[float, ...]
    noise: torch.Tensor

    def __len__(self) -> int:
        return len(self.timesteps)

    @property
    def alpha_bar(self) -> torch.Tensor:
        """The share of signal in x_t, in variance (S,)."""
        signal, noise = (1 - self.noise[:-1]) ** 2, self.noise[:-1] ** 2
        return signal / (signal + noise)

    def split(
        self, output: torch.Tensor, x_t: torch.Tensor, index: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the network's velocity as (ε, P_t)."""
        s = self.noise[index]
        return x_t + (1 - s) * output, x_t - s * output

    def noisy(self, index: int, eta: float) -> bool:
        """Returns whether a step adds noise. A flow refuses such a step."""
        return eta > 0

    def advance(
        self,
        x_0: torch.Tensor,
        eps: torch.Tensor,
        index: int,
        eta: float,
        noise: torch.Tensor | None,
    ) -> torch.Tensor:
        """Returns x of the next step by Euler's step.

        Raises:
            UsageError: eta is more than 0, and a flow is deterministic.
        """
        if eta > 0:
            raise UsageError(self.no_eta)
        return (1 - self.noise[index + 1]) * x_0 + self.noise[index + 1] * eps

    def retreat(self, x_0: torch.Tensor, eps: torch.Tensor, index: int) -> torch.Tensor:
        """Returns x_t of step ``index`` by Euler's step backwards."""
        return (1 - self.noise[index]) * x_0 + self.noise[index] * eps

    def begun(self, x: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """Returns a finished sample itself, which has no noise."""
        return x


def schedule_of(model: Model, steps: int, schedule: str = NEXT) -> Schedule:
    """Returns a model's schedule for a number of steps.

    It follows the model's scheduler configuration and one of ``SCHEDULES``.
    """
    tokens = int(np.prod(model.anatomy.blocks[0][1:])) if model.anatomy.blocks else 0
    return make_schedule(model.scheduler, steps, tokens, schedule)


def check_eta(levels: Schedule, etas: Iterable[float]) -> None:
    """Makes sure that a schedule takes these values of eta.

    Raises:
        UsageError: one is above 0, and the schedule is that of a flow or of LCM.
    """
    if levels.no_eta and any(eta > 0 for eta in etas):
        raise UsageError(levels.no_eta)


def schedules_agree(model: Model, steps: int) -> bool:
    """Returns whether diffusers' steps also end at the next timestep."""
    ours, theirs = schedule_of(model, steps, NEXT), schedule_of(model, steps, DIFFUSERS)
    if not (isinstance(ours, DiffusionSchedule) and isinstance(theirs, DiffusionSchedule)):
        return True  # a flow has only one schedule
    return torch.equal(ours.alpha_bar_prev, theirs.alpha_bar_prev)


@lru_cache(maxsize=32)
def make_schedule(
    scheduler: Scheduler,
    steps: int,
    tokens: int = 0,
    schedule: str = NEXT,
) -> Schedule:
    """Returns the schedule of ``steps`` steps.

    Some flows shift theirs by the number of image tokens. The same scheduler, which nobody changes,
    gives the same object again, because a preview needs it at every move of a slider.
    """
    if schedule not in (*SCHEDULES, BEFORE):
        raise UsageError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")
    config = scheduler.config
    if isinstance(scheduler, LCMScheduler | TCDScheduler):
        return few_step_schedule(scheduler, steps)
    trained = config.num_train_timesteps
    if not 1 <= steps <= trained:
        raise UsageError(
            f"steps must lie in 1 to {trained}, the steps the model was trained with; got {steps}"
        )
    if not isinstance(scheduler, DDIMScheduler):
        return _flow_schedule(scheduler, steps, tokens)
    if config.prediction_type not in ("epsilon", "v_prediction", "sample"):
        raise UsageError(
            f"prediction type {config.prediction_type!r} is not one of epsilon, v_prediction,"
            " sample"
        )
    if config.thresholding:
        raise UsageError(
            "dynamic thresholding is not supported: it divides every predicted x_0 by a percentile"
            " of its own"
        )
    fresh = DDIMScheduler.from_config(config)
    fresh.set_timesteps(steps)
    timesteps = [int(t) for t in fresh.timesteps][:steps]  # trailing spacing may count one too many
    if max(timesteps) >= trained:
        raise UsageError(
            f"{steps} steps with the model's steps_offset of {config.steps_offset} begin at"
            f" timestep {max(timesteps)}, beyond the {trained} it was trained with; take fewer"
            " steps"
        )
    alphas = fresh.alphas_cumprod
    after = [*timesteps[1:], -1] if schedule == NEXT else [t - trained // steps for t in timesteps]
    return DiffusionSchedule(
        timesteps=tuple(timesteps),
        alpha_bar=torch.stack([alphas[t] for t in timesteps]),
        alpha_bar_prev=torch.stack(
            [alphas[p] if p >= 0 else fresh.final_alpha_cumprod for p in after]
        ),
        prediction_type=config.prediction_type,
        clip=config.clip_sample_range if config.clip_sample else None,
        end=float(fresh.final_alpha_cumprod) if schedule == NEXT else 1.0,
    )


def _flow_schedule(
    scheduler: FlowMatchEulerDiscreteScheduler | DPMSolverMultistepScheduler,
    steps: int,
    tokens: int,
) -> FlowSchedule:
    """Returns the noise levels as the model's own pipeline sets them.

    For FLUX they are evenly spaced and then shifted towards noise. For Stable Diffusion 3 and Sana
    the scheduler spaces them. A dynamic shift is larger for larger pictures.
    """
    config = scheduler.config
    fresh = type(scheduler).from_config(config)
    if isinstance(fresh, DPMSolverMultistepScheduler):
        fresh.set_timesteps(steps)
    else:
        spaced = isinstance(fresh, OwnSpacingFlow)
        by = {"num_inference_steps": steps} if spaced else {"sigmas": _even(steps)}
        if config.use_dynamic_shifting:
            low, high = config.base_image_seq_len, config.max_image_seq_len
            slope = (config.max_shift - config.base_shift) / (high - low)
            by["mu"] = config.base_shift + slope * (tokens - low)
        fresh.set_timesteps(**by)
    return FlowSchedule(timesteps=tuple(float(t) for t in fresh.timesteps), noise=fresh.sigmas)


def _even(steps: int) -> np.ndarray:
    """Returns noise levels (steps,) from 1 to 1 / steps, evenly spaced."""
    return np.linspace(1.0, 1 / steps, steps)
