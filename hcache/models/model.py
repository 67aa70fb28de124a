"""A loaded model: U-Net, scheduler and the way between what it denoises and pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler, UNet2DModel

from ..cards import Card
from ..features import Features
from ..specs import Anatomy
from . import halves


@dataclass(frozen=True, kw_only=True)
class Model:
    card: Card
    unet: UNet2DModel
    scheduler: DDIMScheduler
    anatomy: Anatomy

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    def encode(self, x_t: torch.Tensor, t: torch.Tensor | int, *, class_labels: torch.Tensor | None = None) -> Features:
        """The encoder half: x_t (n, c, h, w) at training timestep ``t`` -> :class:`Features`."""
        return halves.encode(self.unet, x_t.to(self.dtype), t, class_labels)

    def decode(
        self, features: Features, t: torch.Tensor | int, *, class_labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The decoder half: features -> what the U-Net predicts (n, c, h, w), as float32 for the sampler."""
        return halves.decode(self.unet, features, t, class_labels).float()

    def to_images(self, x_0: torch.Tensor) -> torch.Tensor:
        """Clean samples (n, 3, h, w) in [-1, 1] -> pictures (n, h, w, 3) uint8 on the CPU."""
        pixels = (x_0.float() + 1).mul(127.5).round().clamp(0, 255)
        return pixels.to(torch.uint8).permute(0, 2, 3, 1).cpu().contiguous()
