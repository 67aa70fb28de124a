r"""The steps of models that were distilled to a few steps, as their own schedulers take them.

A latent consistency model (LCM) predicts the end of the trajectory in every step, and the next step
starts from that prediction with fresh noise z:

    P_t     = c_skip(t) x_t + c_out(t) x̂_0
    x_{t-1} = √ᾱ_{t-1} P_t + √(1 - ᾱ_{t-1}) z

Trajectory consistency distillation (TCD) goes back to s = ⌊(1-γ) (t-1)⌋ by the predicted noise, and
adds noise from there up to t-1. γ is what hcache calls eta: 0 is deterministic.

    x_s     = √ᾱ_s x̂_0 + √(1 - ᾱ_s) ε
    x_{t-1} = √(ᾱ_{t-1}/ᾱ_s) x_s + √(1 - ᾱ_{t-1}/ᾱ_s) z

t-1 stands for the next timestep of the schedule. The last step adds no noise. z follows from a
sample's seed and the step, so an edit has the noise of its original.

References:
    Latent Consistency Models: Synthesizing High-Resolution Images with Few-Step Inference (Luo,
        Tan, Huang, Li, Zhao, 2023), https://arxiv.org/abs/2310.04378
    Trajectory Consistency Distillation (Zheng, Hu, Fan, Wang, Ding, Tao, Cham, 2024),
        https://arxiv.org/abs/2402.19159
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from diffusers import LCMScheduler, TCDScheduler

from ..errors import UsageError
from .split import split_prediction


@dataclass(frozen=True, kw_only=True)
class FewSteps:
    """What both schedules of distilled models have.

    ``alphas`` (T,): ᾱ of every training timestep. ``clip``: x̂_0 is clipped to ±clip.
    """

    no_eta: ClassVar[str] = ""

    timesteps: tuple[int, ...]
    alphas: torch.Tensor
    prediction_type: str
    clip: float | None

    def __len__(self) -> int:
        return len(self.timesteps)

    @property
    def alpha_bar(self) -> torch.Tensor:
        """The share of signal in x_t, in variance (S,)."""
        return self.alphas[list(self.timesteps)]

    def is_last(self, index: int) -> bool:
        """Returns whether a step is the last, which adds no noise."""
        return index == len(self.timesteps) - 1

    def split(
        self, output: torch.Tensor, x_t: torch.Tensor, index: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns (ε, P_t), whether the network predicts ε, v or x_0."""
        share = self.alphas[self.timesteps[index]]
        return split_prediction(output, x_t, share, self.prediction_type, self.clip)


@dataclass(frozen=True, kw_only=True)
class ConsistencySchedule(FewSteps):
    """The schedule of a latent consistency model.

    ``scaling``: what a timestep is multiplied by in c_skip and c_out.
    """

    no_eta: ClassVar[str] = (
        "eta is not for LCM's scheduler, which adds fresh noise in every step; leave it, and a"
        " noise boost, at 0"
    )

    scaling: float

    def split(
        self, output: torch.Tensor, x_t: torch.Tensor, index: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns (ε, P_t). P_t is the end of the trajectory, with the boundary condition."""
        eps, x_0 = super().split(output, x_t, index)
        scaled, data = self.timesteps[index] * self.scaling, 0.5
        skip = data**2 / (scaled**2 + data**2)
        return eps, scaled / math.sqrt(scaled**2 + data**2) * x_0 + skip * x_t

    def noisy(self, index: int, eta: float) -> bool:
        """Returns whether a step adds noise: all but the last."""
        return not self.is_last(index)

    def advance(
        self,
        x_0: torch.Tensor,
        eps: torch.Tensor,
        index: int,
        eta: float,
        noise: torch.Tensor | None,
    ) -> torch.Tensor:
        """Returns x_{t-1} from P_t and fresh noise.

        Raises:
            UsageError: eta is more than 0, or there is no noise.
        """
        if eta > 0:
            raise UsageError(self.no_eta)
        if self.is_last(index):
            return x_0
        if noise is None:
            raise UsageError("a step of LCM's scheduler adds noise; give the samples' seeds")
        share = self.alphas[self.timesteps[index + 1]]
        return share**0.5 * x_0 + (1 - share) ** 0.5 * noise

    def retreat(self, x_0: torch.Tensor, eps: torch.Tensor, index: int) -> torch.Tensor:
        """Refuses to go backwards.

        Raises:
            UsageError: always, because every step replaces the noise.
        """
        raise UsageError(
            "DDIM inversion is not possible with LCM's scheduler: every step replaces the noise, so"
            " nothing leads back. Invert with the model that it was distilled from"
        )

    def begun(self, x: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """Returns a finished sample itself."""
        return x


@dataclass(frozen=True, kw_only=True)
class TrajectorySchedule(FewSteps):
    """The schedule of trajectory consistency distillation. eta is its γ."""

    def noisy(self, index: int, eta: float) -> bool:
        """Returns whether a step adds noise."""
        return eta > 0 and not self.is_last(index)

    def advance(
        self,
        x_0: torch.Tensor,
        eps: torch.Tensor,
        index: int,
        eta: float,
        noise: torch.Tensor | None,
    ) -> torch.Tensor:
        """Returns x_{t-1}.

        The step goes back to s by ε, and then up to t-1 by noise.
        """
        following = 0 if self.is_last(index) else self.timesteps[index + 1]
        back = self.alphas[math.floor((1 - eta) * following)]
        x = back**0.5 * x_0 + (1 - back) ** 0.5 * eps
        if not self.noisy(index, eta):
            return x
        if noise is None:
            raise UsageError("a step of TCD's scheduler adds noise; give the samples' seeds")
        share = self.alphas[following] / back
        return share**0.5 * x + (1 - share) ** 0.5 * noise

    def retreat(self, x_0: torch.Tensor, eps: torch.Tensor, index: int) -> torch.Tensor:
        """Returns x_t of step ``index`` by the step with γ 0 backwards."""
        share = self.alphas[self.timesteps[index]]
        return share**0.5 * x_0 + (1 - share) ** 0.5 * eps

    def begun(self, x: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """Returns P_t of a finished sample x, which is at timestep 0."""
        return (x - (1 - self.alphas[0]) ** 0.5 * eps) / self.alphas[0] ** 0.5


def few_step_schedule(
    scheduler: LCMScheduler | TCDScheduler, steps: int
) -> ConsistencySchedule | TrajectorySchedule:
    """Returns the schedule of a distilled model for a number of steps.

    Raises:
        UsageError: the model was not distilled to so many steps.
    """
    config = scheduler.config
    if not 1 <= steps <= config.original_inference_steps:
        raise UsageError(
            f"steps must lie in 1 to {config.original_inference_steps}, the steps that this"
            f" distilled model was trained for (original_inference_steps); got {steps}"
        )
    fresh = type(scheduler).from_config(config)
    fresh.set_timesteps(steps)
    timesteps = tuple(int(t) for t in fresh.timesteps)
    given = {
        "timesteps": timesteps,
        "alphas": fresh.alphas_cumprod,
        "prediction_type": config.prediction_type,
    }
    if isinstance(fresh, TCDScheduler):  # its step clips nothing, whatever its file says
        return TrajectorySchedule(**given, clip=None)
    clip = config.clip_sample_range if config.clip_sample else None
    return ConsistencySchedule(**given, clip=clip, scaling=config.timestep_scaling)
