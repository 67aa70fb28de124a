r"""The noise schedule of a run, in the letters of DDIM.

With :math:`\bar\alpha_t` (``alpha_bar``) the cumulative product of the alphas at training timestep t, one step is

    P_t     = (x_t - √(1-ᾱ_t) ε) / √ᾱ_t                   the predicted x_0
    D_t     = √(1 - ᾱ_{t-1} - σ_t²) ε                      the direction to x_t
    σ_t     = η √((1-ᾱ_{t-1}) / (1-ᾱ_t)) √(1 - ᾱ_t/ᾱ_{t-1})
    x_{t-1} = √ᾱ_{t-1} P_t + D_t + σ_t z

References:
    Denoising Diffusion Implicit Models (Song, Meng, Ermon, 2020), https://arxiv.org/abs/2010.02502
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler

from ..errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """S denoising steps. ``timesteps``, ``alpha_bar`` and ``alpha_bar_prev`` are (S,), from noise to image."""

    timesteps: tuple[int, ...]
    alpha_bar: torch.Tensor
    alpha_bar_prev: torch.Tensor
    prediction_type: str
    clip: float | None

    def __len__(self) -> int:
        return len(self.timesteps)

    def split(self, output: torch.Tensor, x_t: torch.Tensor, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The U-Net's output at step ``index`` as (ε, P_t); P_t clipped if the model's scheduler says so."""
        a, b = self.alpha_bar[index], 1 - self.alpha_bar[index]
        if self.prediction_type == "epsilon":
            eps, x_0 = output, (x_t - b**0.5 * output) / a**0.5
        elif self.prediction_type == "v_prediction":
            eps, x_0 = a**0.5 * output + b**0.5 * x_t, a**0.5 * x_t - b**0.5 * output
        else:
            eps, x_0 = (x_t - a**0.5 * output) / b**0.5, output
        return eps, x_0 if self.clip is None else x_0.clamp(-self.clip, self.clip)

    def advance(
        self, x_0: torch.Tensor, eps: torch.Tensor, index: int, eta: float, noise: torch.Tensor | None
    ) -> torch.Tensor:
        """x_{t-1} from P_t and the ε of D_t. They may come from different predictions: see asymmetric edits."""
        a, a_prev = self.alpha_bar[index], self.alpha_bar_prev[index]
        sigma = eta * ((1 - a_prev) / (1 - a) * (1 - a / a_prev)) ** 0.5
        x_next = a_prev**0.5 * x_0 + (1 - a_prev - sigma**2) ** 0.5 * eps
        return x_next if noise is None else x_next + sigma * noise


def make_schedule(scheduler: DDIMScheduler, steps: int) -> Schedule:
    """The schedule of ``steps`` steps under a model's own scheduler configuration."""
    config = scheduler.config
    trained = config.num_train_timesteps
    if not 1 <= steps <= trained:
        raise UsageError(f"steps must lie in 1 to {trained}, the steps the model was trained with; got {steps}")
    if config.prediction_type not in ("epsilon", "v_prediction", "sample"):
        raise UsageError(f"prediction type {config.prediction_type!r} is not one of epsilon, v_prediction, sample")
    if config.thresholding:
        raise UsageError("dynamic thresholding is not supported: its result depends on pixels no cache holds")
    fresh = DDIMScheduler.from_config(config)
    fresh.set_timesteps(steps)
    timesteps = [int(t) for t in fresh.timesteps][:steps]  # trailing spacing may count one too many
    previous = [t - trained // steps for t in timesteps]
    alphas = fresh.alphas_cumprod
    return Schedule(
        timesteps=tuple(timesteps),
        alpha_bar=torch.stack([alphas[t] for t in timesteps]),
        alpha_bar_prev=torch.stack([alphas[p] if p >= 0 else fresh.final_alpha_cumprod for p in previous]),
        prediction_type=config.prediction_type,
        clip=config.clip_sample_range if config.clip_sample else None,
    )
