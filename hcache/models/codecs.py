"""Converts between the space of the diffusion and pictures in [-1, 1]. Pixel models need no
conversion, and latent models use an autoencoder.
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
"""The number of pictures that an autoencoder processes at a time. It needs far more memory per
picture than the U-Net.
"""


def codec_dtype(kind: type, config: Mapping[str, Any], dtype: str) -> str:
    """Returns the dtype of an autoencoder for a model's dtype.

    An autoencoder with ``force_upcast``, such as SDXL's, overflows half precision and computes in
    float32, as in diffusers.
    """
    field = inspect.signature(kind.__init__).parameters.get("force_upcast")
    default = False if field is None else field.default
    return "float32" if dtype == "float16" and config.get("force_upcast", default) else dtype


def factor_of(config: Mapping[str, Any]) -> int:
    """Computes the ratio of a picture's side to its latent's.

    It follows from an autoencoder's configuration, and is the same for both sides.
    """
    levels = config.get("block_out_channels") or config.get("encoder_block_out_channels") or ()
    return 2 ** (len(levels) - 1) if levels else 1


class Codec(Protocol):
    """Converts x_0 to pictures, and pictures to x_0.

    ``decode``: x_0 (n, c, h, w) -> pictures (n, 3, height, width). ``encode``: the reverse. Both
    are float32.
    """

    def decode(self, x_0: torch.Tensor) -> torch.Tensor:
        """Returns the pictures (n, 3, height, width) of x_0."""
        ...

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """Returns the x_0 of pictures (n, 3, height, width)."""
        ...

    def preview(self, x_0: torch.Tensor) -> torch.Tensor:
        """Returns small pictures (n, 3, ., .) for viewing. They cost almost nothing."""
        ...


@dataclass(frozen=True)
class Identity:
    """The codec of models that denoise pixels.

    The single channel of grey pictures is shown as three.
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
        """Returns the mean of a KL encoder's output.

        The output of a VQ encoder is not quantised, as in the training of diffusion models.
        """
        parts = [
            self._encode(part.to(self.network.dtype)).float() for part in pictures.split(AT_ONCE)
        ]
        mean, std = self._moments(pictures.device)
        return (torch.cat(parts) - self.shift - mean) * self.scale / std

    def _moments(self, device: torch.device) -> tuple[torch.Tensor | float, torch.Tensor | float]:
        """Returns mean and standard deviation of every channel, (1, c, 1, 1), or 0 and 1 if none
        are given.
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
        """Returns small pictures, one pixel per position of the latent.

        Their colours come from a linear map, because decoding every step would double the work.
        """
        weights, bias = (part.to(x_0.device) for part in self.colours)
        return (torch.einsum("nchw,cd->ndhw", x_0.float(), weights) + bias.view(1, 3, 1, 1)).clamp(
            -1, 1
        )

    @cached_property
    def colours(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the linear map from latent channels to colour.

        It is (c, 3) and (3,), fitted by least squares to smooth pictures.
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
