"""The VAE's networks, how they are trained, and how a row descends their reconstruction loss.

Encoder and decoder have one hidden layer each, and the step is an input. Its weights are plain
arrays by name. One network may know all steps, or there may be one network for each step; then
every array has the step as its first axis.

References:
    Auto-Encoding Variational Bayes (Kingma, Welling, 2013), https://arxiv.org/abs/1312.6114
    Two-Point Step Size Gradient Methods (Barzilai, Borwein, 1988),
        https://doi.org/10.1093/imanum/8.1.141
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..progress import part

if TYPE_CHECKING:
    import torch

STRIDES = 8
"""The number of strides of a descent of fixed length."""

MOST_STEPS, SHORT = 80, 1e-2
"""The largest number of gradient steps. A row stops when its gradient is this short relative to its
first gradient.
"""

LEAST_RATE, MOST_RATE = 0.05, 20.0
"""Bounds of a gradient step's length, relative to the gradient of half the squared error."""


def trained(
    z: np.ndarray, options: Mapping[str, Any], per_step: bool
) -> Generator[float, None, dict[str, np.ndarray]]:
    """Trains a VAE on z (step, n, d), and returns its weights.

    It yields the share of iterations that are done. ``per_step``: one network for each step, each
    trained for the same number of iterations.
    """
    if not per_step:
        return (yield from _train(z, options))
    found = []
    for t in range(len(z)):
        found.append((yield from part(_train(z[t : t + 1], options), t / len(z), 1 / len(z))))
    return {name: np.stack([each[name] for each in found]) for name in found[0]}


def _train(
    z: np.ndarray, options: Mapping[str, Any]
) -> Generator[float, None, dict[str, np.ndarray]]:
    """Trains one network with Adam, on seeded batches over rows and steps."""
    import torch

    steps, n, d = z.shape
    weights = _initial(d, steps, options["latent"], options["hidden"], options["seed"])
    optimizer = torch.optim.Adam(weights.values(), lr=options["rate"])
    rng = torch.Generator().manual_seed(options["seed"])
    data, batch = torch.from_numpy(z), options["batch"]
    for iteration in range(options["iterations"]):
        t = torch.randint(steps, (batch,), generator=rng)
        rows = data[t, torch.randint(n, (batch,), generator=rng)]
        step = torch.nn.functional.one_hot(t, steps).float()
        with torch.inference_mode(False), torch.enable_grad():
            noise = torch.randn(batch, options["latent"], generator=rng)
            found, mu, log_variance = reconstruct(weights, rows, step, noise)
            kl = 0.5 * (mu.square() + log_variance.exp() - 1 - log_variance).sum(1)
            loss = ((found - rows).square().mean(1) + options["beta"] * kl / d).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        if iteration % 10 == 9:
            yield (iteration + 1) / options["iterations"]
    return {name: tensor.detach().numpy() for name, tensor in weights.items()}


def optimised(
    weights: Mapping[str, torch.Tensor], z: torch.Tensor, t: int, steps: int
) -> torch.Tensor:
    """Computes Δz (n, d) from z to the least reconstruction loss.

    z is (n, d); every row goes to its own minimum.
    """
    import torch

    step = one_hot(t, steps, z)

    def slope(at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns half the squared error (n, 1) and its gradient (n, d)."""
        with torch.inference_mode(False), torch.enable_grad():
            at = at.clone().requires_grad_(True)  # leaves inference mode
            loss = 0.5 * (at - reconstruct(weights, at, step)[0]).square().sum(1, keepdim=True)
            (gradient,) = torch.autograd.grad(loss.sum(), at)
        return loss.detach(), gradient

    at, rate = z.clone(), torch.full_like(z[:, :1], 0.5)
    loss, gradient = slope(at)
    best, least, first = at, loss, gradient.square().sum(1, keepdim=True)
    for _ in range(MOST_STEPS):
        going = gradient.square().sum(1, keepdim=True) > SHORT**2 * first
        if not going.any():
            break
        after = at - going * rate * gradient
        loss, new = slope(after)
        s, y = after - at, new - gradient
        bent = (s * y).sum(1, keepdim=True)
        rate = torch.where(bent > 0, s.square().sum(1, keepdim=True) / bent.clamp_min(1e-30), rate)
        rate = rate.clamp(LEAST_RATE, MOST_RATE)
        at, gradient = after, torch.where(going, new, gradient)
        best, least = torch.where(loss < least, at, best), torch.minimum(loss, least)
    return best - z


def descend(
    weights: Mapping[str, torch.Tensor],
    z: torch.Tensor,
    t: int,
    steps: int,
    strengths: torch.Tensor,
) -> torch.Tensor:
    """Moves z (n, d) down the reconstruction loss in ``STRIDES`` strides.

    Together the strides are ``strengths`` (n,) long.
    """
    import torch

    stride = strengths.view(-1, 1) / STRIDES
    with torch.inference_mode(False), torch.enable_grad():
        z = z.clone()  # leaves inference mode
        for _ in range(STRIDES):
            z = z.detach().requires_grad_(True)
            loss = (z - reconstruct(weights, z, one_hot(t, steps, z))[0]).square().mean(1).sum()
            (gradient,) = torch.autograd.grad(loss, z)
            length = gradient.square().mean(1, keepdim=True).sqrt().clamp_min(1e-12)
            z = z - stride * gradient / length
    return z.detach()


def reconstruct(
    weights: Mapping[str, torch.Tensor],
    z: torch.Tensor,
    step: torch.Tensor,
    noise: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Encodes z (n, d) by the VAE, and decodes it again.

    Returns the reconstruction (n, d), the mean (n, k) and the log variance (n, k). ``step`` (n,
    steps) is one-hot.
    """
    import torch
    from torch.nn.functional import linear, silu

    hidden = silu(
        linear(torch.cat([z, step], 1), weights["encoder.weight"], weights["encoder.bias"])
    )
    mu, log_variance = linear(hidden, weights["latent.weight"], weights["latent.bias"]).chunk(2, 1)
    code = mu if noise is None else mu + (0.5 * log_variance).exp() * noise
    hidden = silu(
        linear(torch.cat([code, step], 1), weights["decoder.weight"], weights["decoder.bias"])
    )
    return linear(hidden, weights["output.weight"], weights["output.bias"]), mu, log_variance


def one_hot(t: int, steps: int, like: torch.Tensor) -> torch.Tensor:
    """Encodes a step as one-hot rows (n, steps) for the network.

    ``like``: the tensor whose number of rows, type and device they have.
    """
    one = like.new_zeros(len(like), steps)
    one[:, t] = 1
    return one


def _initial(d: int, steps: int, latent: int, hidden: int, seed: int) -> dict[str, torch.Tensor]:
    import torch

    rng = torch.Generator().manual_seed(seed)
    weights = {}
    for name, inputs, outputs in (
        ("encoder", d + steps, hidden),
        ("latent", hidden, 2 * latent),
        ("decoder", latent + steps, hidden),
        ("output", hidden, d),
    ):
        weights[f"{name}.weight"] = (
            torch.randn(outputs, inputs, generator=rng) / inputs**0.5
        ).requires_grad_(True)
        weights[f"{name}.bias"] = torch.zeros(outputs, requires_grad=True)
    return weights
