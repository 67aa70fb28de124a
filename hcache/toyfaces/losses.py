"""The losses that the shipped networks are trained with.

Each function takes a network and returns a loss. A loss takes drawings (n, 3, h, w) uint8 or
latents (n, c, h, w) float, factors (n, 8), and a generator. All must be on one device.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from diffusers import VQModel
from torch import nn

from .factors import FACTORS
from .reader import FaceReader

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Generator], torch.Tensor]

COARSE = {8: 0.05, 64: 0.02}
"""Side of the squares over which the error is averaged -> weight of this error."""

COARSE_VARIANCE = 0.15
"""Of drawings averaged over such squares, on a scale of -1 to 1: what there is to be found out
at high noise.
"""

VARIATIONAL = 0.001
"""The weight of the variational bound relative to the squared error (Nichol, Dhariwal 2021)."""


def as_signed(images: torch.Tensor) -> torch.Tensor:
    """Scales uint8 pictures to [-1, 1]. Latents stay as they are."""
    return images.float() / 127.5 - 1 if images.dtype == torch.uint8 else images


def noised(
    images: torch.Tensor, alpha_bar: torch.Tensor, rng: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Adds noise to drawings or latents.

    Returns x_0, noise and x_t (n, c, h, w), and timesteps (n,), stratified over the batch.
    """
    x_0 = as_signed(images)
    n, device = len(x_0), x_0.device
    u = (torch.arange(n, device=device) + torch.rand(n, generator=rng, device=device)) / n
    t = (u * len(alpha_bar)).long().clamp(max=len(alpha_bar) - 1)
    noise = torch.randn(x_0.shape, generator=rng, device=device)
    a = alpha_bar[t].view(n, 1, 1, 1)
    return x_0, noise, a.sqrt() * x_0 + (1 - a).sqrt() * noise, t


def diffusion_loss(
    unet: nn.Module, alpha_bar: torch.Tensor, coarse: dict[int, float] = COARSE
) -> Loss:
    """Returns the weighted squared error of the predicted noise.

    Timesteps are stratified over the batch. At high noise a small error of ε is a large error of
    x_0, by √((1-ᾱ)/ᾱ), and there colours and pose are decided. The plain loss hardly sees this
    error. Long training makes up for it; a short training weighs the error by this factor. The
    coarse part is a few of thousands of coefficients, so its error is counted again, as if it were
    that of all coefficients. A network with twice the channels also learns the variance, by
    ``variational_loss``.
    """
    weight = ((1 - alpha_bar) / alpha_bar).sqrt().clamp(1.0, 4.0)

    def loss(images: torch.Tensor, _: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Computes the loss at random timesteps."""
        x_0, noise, x_t, t = noised(images, alpha_bar, rng)
        out = unet(x_t, t, return_dict=False)[0]
        eps = out[:, : x_0.shape[1]]
        error = eps - noise
        total = error.square().mean((1, 2, 3))
        for side, share in coarse.items():
            total = total + share * side**2 * nn.functional.avg_pool2d(error, side).square().mean(
                (1, 2, 3)
            )
        total = total * weight[t]
        if out.shape[1] == 2 * x_0.shape[1]:
            bound = variational_loss(eps.detach(), out[:, x_0.shape[1] :], x_0, x_t, t, alpha_bar)
            total = total + VARIATIONAL * len(alpha_bar) * bound
        return total.mean()

    return loss


def velocity_loss(
    unet: nn.Module, alpha_bar: torch.Tensor, coarse: dict[int, float] = COARSE
) -> Loss:
    """Returns the squared error of the predicted v.

    The coarse part of it is counted again; timesteps are stratified over the batch.

    A white error of a predicted ε becomes an error of x_0 that is larger by √((1-ᾱ)/ᾱ), 158 at t =
    999. Samples of a briefly trained network keep it as grain. A predicted v has no such factor:
    its error is the error of x_0 divided by √(1-ᾱ).

    The mean over a square of side k has k² times the signal-to-noise ratio of a pixel. It is
    therefore decided at noise levels at which a pixel shows nothing. Sampling adds up its errors
    there, and colours drift. In units of its own deviation the velocity of that mean has an error
    of (k² ᾱ + (1-ᾱ)/variance) times the mean's error of v, squared.

    A network with twice the channels also learns the variance, by ``variational_loss``.

    References:
        Progressive Distillation for Fast Sampling of Diffusion Models (Salimans, Ho, 2022),
        https://arxiv.org/abs/2202.00512
    """

    def loss(images: torch.Tensor, _: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Computes the loss at random timesteps."""
        x_0, noise, x_t, t = noised(images, alpha_bar, rng)
        a = alpha_bar[t].view(-1, 1, 1, 1)
        out = unet(x_t, t, return_dict=False)[0].float()
        v = out[:, : x_0.shape[1]]
        error = v - (a.sqrt() * noise - (1 - a).sqrt() * x_0)
        total = error.square().mean((1, 2, 3))
        for side, share in coarse.items():
            weight = share * (side**2 * alpha_bar[t] + (1 - alpha_bar[t]) / COARSE_VARIANCE)
            total = total + weight * nn.functional.avg_pool2d(error, side).square().mean((1, 2, 3))
        if out.shape[1] == 2 * x_0.shape[1]:
            eps = (a.sqrt() * v + (1 - a).sqrt() * x_t).detach()
            bound = variational_loss(eps, out[:, x_0.shape[1] :], x_0, x_t, t, alpha_bar)
            total = total + VARIATIONAL * len(alpha_bar) * bound
        return total.mean()

    return loss


def variational_loss(
    eps: torch.Tensor,
    v: torch.Tensor,
    x_0: torch.Tensor,
    x_t: torch.Tensor,
    t: torch.Tensor,
    alpha_bar: torch.Tensor,
) -> torch.Tensor:
    """Computes the variational bound's term at t, in bits per dimension.

    The result is (n,). It trains the variance through ``v``.

    The log variance lies between that of the posterior, β̃ (v = -1), and β (v = 1). At t = 0, where
    β̃ is 0, the posterior of t = 1 is used and the term is the squared error's likelihood under it.

    Args:
        eps: Predicted noise (n, c, h, w). It is detached, so the bound does not train it.
        v: The other half of the network's output, (n, c, h, w).
        x_0: Clean pictures (n, c, h, w) in [-1, 1].
        x_t: Noisy pictures (n, c, h, w).
        t: Timesteps (n,).
        alpha_bar: The noise schedule (T,), on the same device as everything else.

    References:
        Improved Denoising Diffusion Probabilistic Models (Nichol, Dhariwal, 2021),
        https://arxiv.org/abs/2102.09672
    """
    before = torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])
    beta = 1 - alpha_bar / before
    posterior = beta * (1 - before) / (1 - alpha_bar)
    posterior[0] = posterior[1]

    def at(values: torch.Tensor) -> torch.Tensor:
        """Returns the values at the timesteps, (n, 1, 1, 1)."""
        return values[t].view(-1, 1, 1, 1)

    low, high = at(posterior.log()), at(beta.log())
    log_variance = torch.lerp(low, high, (v + 1) / 2)
    guess = ((x_t - (1 - at(alpha_bar)).sqrt() * eps) / at(alpha_bar).sqrt()).clamp(-1, 1)
    apart = at(before.sqrt() * beta / (1 - alpha_bar)) * (x_0 - guess)
    divergence = 0.5 * (
        log_variance - low + (low - log_variance).exp() + apart.square() / log_variance.exp() - 1
    )
    return divergence.mean((1, 2, 3)) / math.log(2)


def autoencoder_loss(network: VQModel, quantised: bool) -> Loss:
    """Returns the absolute error of the reconstruction.

    It includes the codebook's terms once latents are quantised. Before that, it penalises the size
    of latents a little, because nothing else limits it.
    """

    def loss(images: torch.Tensor, _: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Computes the loss of drawings, without a random timestep."""
        pictures = as_signed(images)
        latents = network.encode(pictures).latents
        if not quantised:
            made = network.decoder(network.post_quant_conv(latents))
            return (made - pictures).abs().mean() + 1e-3 * latents.square().mean()
        found = network.decode(latents)
        return (found.sample - pictures).abs().mean() + found.commit_loss

    return loss


def reader_loss(reader: FaceReader) -> Loss:
    """Returns a reader's squared error under random blur and noise.

    For binary factors it is the cross-entropy. Samples of few steps have such blur and noise.
    """

    def loss(images: torch.Tensor, factors: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Computes the loss of drawings with their factors."""
        raw = reader.logits(degrade(as_signed(images), rng))
        total = raw.new_zeros(())
        for i, factor in enumerate(FACTORS):
            if factor.binary:
                total = total + nn.functional.binary_cross_entropy_with_logits(
                    raw[:, i], factors[:, i]
                )
            else:
                spread = (factor.high - factor.low) / 12**0.5
                total = total + ((raw[:, i] - factors[:, i]) / spread).square().mean()
        return total / len(FACTORS)

    return loss


def degrade(
    image: torch.Tensor, rng: torch.Generator, blur: float = 1.0, noise: float = 0.1
) -> torch.Tensor:
    """Blurs each image a little, and adds noise.

    Images (n, 3, h, w) are mixed with their 3 x 3 mean by a random share, plus noise of a
    random level.
    """
    n = len(image)
    share = blur * torch.rand(n, 1, 1, 1, generator=rng, device=image.device)
    level = noise * torch.rand(n, 1, 1, 1, generator=rng, device=image.device)
    soft = nn.functional.avg_pool2d(
        nn.functional.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1
    )
    return torch.lerp(image, soft, share) + level * torch.randn(
        image.shape, generator=rng, device=image.device
    )
