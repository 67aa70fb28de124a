"""Reads a model's sites off its configuration, without weights and without computing anything.

The U-Net is built on PyTorch's meta device, where tensors have shapes but no contents, and run through its
own encoder half: the shapes are the model's, not a table's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet2DModel

from ..errors import ModelError
from ..specs import Anatomy
from . import halves


def anatomy_of(unet: UNet2DModel) -> Anatomy:
    """The sites of a U-Net on any device; on ``meta`` at no cost."""
    size = unet.config.sample_size
    if size is None:
        raise ModelError("the model's configuration names no sample_size; its config.json must have one")
    height, width = (size, size) if isinstance(size, int) else size
    shape = (unet.config.in_channels, height, width)
    x = torch.zeros((1, *shape), device=unet.device, dtype=unet.dtype)
    labels = torch.zeros(1, device=unet.device, dtype=torch.long) if unet.class_embedding is not None else None
    with torch.no_grad():
        features = halves.encode(unet, x, 1, labels)
    return Anatomy(
        x=shape,
        image=(height, width, 3),
        h=tuple(features.h.shape[1:]),
        skips=tuple(tuple(tuple(member.shape[1:]) for member in group) for group in features.skips),
        parameters=sum(p.numel() for p in unet.parameters()),
    )


def anatomy_of_config(config: Mapping[str, Any]) -> Anatomy:
    """The sites of a U-Net known only by its configuration."""
    with torch.device("meta"):
        return anatomy_of(UNet2DModel.from_config(dict(config)))
