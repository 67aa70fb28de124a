"""Between what a model denoises and pictures in [-1, 1]: nothing for pixel models, an
autoencoder for latent ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from diffusers import AutoencoderDC, AutoencoderKL, VQModel

AT_ONCE = 4
"""Pictures that an autoencoder is given at a time; it needs far more memory for one than the
U-Net does.
"""


def codec_dtype(kind: type, config: Mapping[str, Any], dtype: str) -> str:
    """The dtype an autoencoder computes in where its model computes in ``dtype``.

    One with ``force_upcast`` overflows half precision, SDXL's among them: it computes in float32,
    as in diffusers.
    """
    field = inspect.signature(kind.__init__).parameters.get("force_upcast")
    default = False if field is None else field.default
    return "float32" if dtype == "float16" and config.get("force_upcast", default) else dtype


def factor_of(config: Mapping[str, Any]) -> int:
    """Computes how many times wider a picture is than its latent.

    The factor holds for either side. It follows from an autoencoder's configuration.
    """
    levels = config.get("block_out_channels") or config.get("encoder_block_out_channels") or ()
    return 2 ** (len(levels) - 1) if levels else 1


class Codec(Protocol):
    """What makes pictures of x_0, and x_0 of pictures.

    ``decode``: x_0 (n, c, h, w) -> pictures (n, 3, height, width); ``encode``: the other way.
    Both float32.
    """

    def decode(self, x_0: torch.Tensor) -> torch.Tensor:
        """Returns the pictures (n, 3, height, width) of x_0."""
        ...

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """Returns the x_0 of pictures (n, 3, height, width)."""
        ...

    def preview(self, x_0: torch.Tensor) -> torch.Tensor:
        """Small pictures (n, 3, ., .) to look at.

        At next to no cost.
        """
        ...


@dataclass(frozen=True)
class Identity:
    """Pixels are what is denoised. Models of grey pictures have their one channel shown as
    three.
    """

    def decode(self, x_0: torch.Tensor) -> torch.Tensor:
        """Returns x_0 itself, grey in three channels."""
        return x_0.float().expand(-1, 3, -1, -1)

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """Returns the pictures themselves."""
        return pictures.float()

    def preview(self, x_0: torch.Tensor) -> torch.Tensor:
        """Returns x_0 itself, grey in three channels."""
        return self.decode(x_0)


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """Latents of a VQ or KL autoencoder.

    z = (encoded - shift) scale.

    A VQ model's scale is 1 whatever its configuration says: diffusers' ``LDMPipeline`` divides by
    the configured factor, with which ldm-celebahq-256 was not trained
    (https://github.com/huggingface/diffusers/issues/6725).

    References:
        High-Resolution Image Synthesis with Latent Diffusion Models (Rombach, Blattmann, Lorenz,
        Esser, Ommer, 2021), https://arxiv.org/abs/2112.10752

    ``by_moments``: the configuration's ``latents_mean`` and ``latents_std`` of every channel take
    part, as in SDXL's pipeline and no other: z = (encoded - mean) scale / std.
    """

    network: AutoencoderKL | VQModel | AutoencoderDC
    by_moments: bool = False

    @property
    def scale(self) -> float:
        """What an encoded picture is multiplied by."""
        return (
            1.0 if isinstance(self.network, VQModel) else float(self.network.config.scaling_factor)
        )

    @property
    def shift(self) -> float:
        """What is subtracted from an encoded picture."""
        return (
            0.0
            if isinstance(self.network, VQModel)
            else float(self.network.config.get("shift_factor") or 0.0)
        )

    @torch.inference_mode()
    def decode(self, x_0: torch.Tensor) -> torch.Tensor:
        """Returns the pictures (n, 3, height, width) of x_0, float32."""
        mean, std = self._moments(x_0.device)
        latents = (x_0.float() * std / self.scale + self.shift + mean).to(self.network.dtype)
        return torch.cat(
            [
                self.network.decode(part, return_dict=False)[0].float()
                for part in latents.split(AT_ONCE)
            ]
        )

    @torch.inference_mode()
    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """The mean of what a KL encoder gives.

        Not quantised, of a VQ one, as diffusion models are trained.
        """
        parts = [
            self._encode(part.to(self.network.dtype)).float() for part in pictures.split(AT_ONCE)
        ]
        mean, std = self._moments(pictures.device)
        return (torch.cat(parts) - self.shift - mean) * self.scale / std

    def _moments(self, device: torch.device) -> tuple[torch.Tensor | float, torch.Tensor | float]:
        """Mean and standard deviation of every channel, (1, c, 1, 1); 0 and 1 where none are
        given.
        """
        config = self.network.config
        if not self.by_moments or config.get("latents_mean") is None:
            return 0.0, 1.0
        mean, std = (
            torch.tensor(config[name], device=device).view(1, -1, 1, 1)
            for name in ("latents_mean", "latents_std")
        )
        return mean, std

    def _encode(self, pictures: torch.Tensor) -> torch.Tensor:
        found = self.network.encode(pictures)
        if isinstance(self.network, AutoencoderDC):
            return found.latent
        return found.latents if isinstance(self.network, VQModel) else found.latent_dist.mode()

    def preview(self, x_0: torch.Tensor) -> torch.Tensor:
        """Small pictures, one pixel a place of the latent.

        Its colour is by a linear map: decoding every step would double the work.
        """
        weights, bias = (part.to(x_0.device) for part in self.colours)
        return (torch.einsum("nchw,cd->ndhw", x_0.float(), weights) + bias.view(1, 3, 1, 1)).clamp(
            -1, 1
        )

    @cached_property
    def colours(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The linear map from latent channels to colour.

        (c, 3) and (3,), by least squares over smooth pictures.
        """
        factor = factor_of(self.network.config)
        rng = torch.Generator().manual_seed(0)
        coarse = 2 * torch.rand(4, 3, 4, 4, generator=rng) - 1
        pictures = torch.nn.functional.interpolate(coarse, size=8 * factor, mode="bicubic").clamp(
            -1, 1
        )
        latents = self.encode(pictures.to(self.network.device)).cpu()
        small = torch.nn.functional.interpolate(pictures, size=latents.shape[-2:], mode="area")
        rows = latents.movedim(1, -1).reshape(-1, latents.shape[1])
        rows = torch.cat([rows, torch.ones(len(rows), 1)], 1)
        found = torch.linalg.lstsq(
            rows, small.movedim(1, -1).reshape(-1, 3), driver="gelsd"
        ).solution
        return found[:-1], found[-1]
