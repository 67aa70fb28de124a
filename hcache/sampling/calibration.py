r"""InjectFusion's calibration: x_t moved so that the plain network predicts what an edit predicted.

An edit of h gives another ε̃ and with it another P̃_t. Let P̃'_t be P̃_t with the spread of P_t about
its own mean. Then

    x̃_t = x_t + √ᾱ_t (P̃'_t - P_t) + ω √(1 - ᾱ_t) (ε̃ - ε),

and the step is taken from what the unedited network predicts of x̃_t. ω = 0 moves nothing at all in
the published code, and here. λ multiplies D_t instead: x_{t-1} = √ᾱ_{t-1} P̃_t + λ √(1 - ᾱ_{t-1}) ε,
published with λ = 0.9985 for t ≥ 950. The published code uses one of the two in a step.

References:
    Training-free Content Injection using h-space in Diffusion Models (Jeong, Kwon, Uh, 2023),
    https://arxiv.org/abs/2303.15403, and its code,
    https://github.com/curryjung/InjectFusion_official
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The calibration of the rows of a batch at a step.

    ``omega`` (n,): 0 for none. ``dt_lambda`` (n,): 1 for none.
    """

    omega: torch.Tensor
    dt_lambda: torch.Tensor


Calibrate = Callable[[int], Calibration | None]
"""A function from the index of a step to its calibration, or None."""


def calibrated_x(
    x_t: torch.Tensor,
    eps: torch.Tensor,
    edited_x_0: torch.Tensor,
    alpha_bar: torch.Tensor,
    omega: torch.Tensor,
) -> torch.Tensor:
    """Calibrates x_t to x̃_t (n, c, h, w).

    Rows with ``omega`` 0 are unchanged, bit for bit.

    Args:
        x_t: x_t before the step.
        eps: ε of the unedited network.
        edited_x_0: P̃_t.
        alpha_bar: ᾱ_t.
        omega: (n,).
    """
    signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    x_0 = (x_t - noise * eps) / signal
    edited_eps = (x_t - signal * edited_x_0) / noise
    mean, own = edited_x_0.mean((1, 2, 3), keepdim=True), x_0.std((1, 2, 3), keepdim=True)
    spread = edited_x_0.std((1, 2, 3), keepdim=True)
    ratio = torch.where(spread > 0, own / spread, torch.ones_like(own))
    wanted = mean + (edited_x_0 - mean) * ratio
    omega = omega.to(x_t).view(-1, 1, 1, 1)
    moved = x_t + signal * (wanted - x_0) + omega * noise * (edited_eps - eps)
    return torch.where(omega == 0, x_t, moved)
