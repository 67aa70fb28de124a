"""The network's output as the noise in x_t and the predicted x_0."""

from __future__ import annotations

import torch


def split_prediction(
    output: torch.Tensor,
    x_t: torch.Tensor,
    share: torch.Tensor,
    prediction_type: str,
    clip: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns (ε, P_t), whether the network predicts ε, v or x_0.

    Args:
        output: The network's output (n, c, h, w).
        x_t: Its input (n, c, h, w).
        share: ᾱ_t, the share of signal in x_t, in variance.
        prediction_type: ``epsilon``, ``v_prediction`` or ``sample``.
        clip: P_t is clipped to ±clip, unless it is None.
    """
    a, b = share, 1 - share
    if prediction_type == "epsilon":
        eps, x_0 = output, (x_t - b**0.5 * output) / a**0.5
    elif prediction_type == "v_prediction":
        eps, x_0 = a**0.5 * output + b**0.5 * x_t, a**0.5 * x_t - b**0.5 * output
    else:
        eps, x_0 = (x_t - a**0.5 * output) / b**0.5, output
    return eps, x_0 if clip is None else x_0.clamp(-clip, clip)
