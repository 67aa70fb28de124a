"""A U-Net cut in two at its bottleneck.

         encode(x_t, t)                       decode(features, t)
    x_t ───────────────► Features(h, skips) ───────────────────► prediction

Both are plain functions over a diffusers U-Net and run its own modules in its own order, so that
``decode(encode(x))`` is ``unet(x)``, bit for bit. No forward hooks: what is not called cannot be left behind.

h is the output of the whole mid block, before the first skip is concatenated to it: the h-space of "Diffusion
Models already have a Semantic Latent Space" (Kwon, Jeong, Uh, 2022, https://arxiv.org/abs/2210.10960).
"""

from __future__ import annotations

import torch
from diffusers import UNet2DModel

from ..errors import ModelError
from ..features import Features


def time_embedding(
    unet: UNet2DModel, n: int, t: torch.Tensor | int, class_labels: torch.Tensor | None, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """The timesteps (n,) and the embedding (n, d) that every block of either half is given."""
    timesteps = torch.as_tensor(t, device=device).reshape(-1)
    timesteps = timesteps * torch.ones(n, dtype=timesteps.dtype, device=device)
    emb = unet.time_embedding(unet.time_proj(timesteps).to(unet.dtype))
    if unet.class_embedding is None:
        if class_labels is not None:
            raise ModelError("class labels were given, but this model has no class embedding; leave them out")
        return timesteps, emb
    if class_labels is None:
        raise ModelError("this model is class-conditional: give class_labels of shape (n,)")
    if unet.config.class_embed_type == "timestep":
        class_labels = unet.time_proj(class_labels)
    return timesteps, emb + unet.class_embedding(class_labels).to(unet.dtype)


def encode(
    unet: UNet2DModel, x_t: torch.Tensor, t: torch.Tensor | int, class_labels: torch.Tensor | None = None
) -> Features:
    """The encoder half, mid block included.

    Args:
        x_t: Noisy samples (n, c, h, w) in the U-Net's dtype.
        t: Training timestep, one for all or one a sample (n,).
        class_labels: (n,), for class-conditional models.
    """
    _, emb = time_embedding(unet, len(x_t), t, class_labels, x_t.device)
    image = 2 * x_t - 1.0 if unet.config.center_input_sample else x_t
    x = unet.conv_in(image)
    skips = (x,)
    for block in unet.down_blocks:
        if hasattr(block, "skip_conv"):
            x, taken, image = block(hidden_states=x, temb=emb, skip_sample=image)
        else:
            x, taken = block(hidden_states=x, temb=emb)
        skips += taken
    h = x if unet.mid_block is None else unet.mid_block(x, emb)
    return Features(h=h, skips=_group(skips, [len(block.resnets) for block in unet.up_blocks]))


def decode(
    unet: UNet2DModel, features: Features, t: torch.Tensor | int, class_labels: torch.Tensor | None = None
) -> torch.Tensor:
    """The decoder half: features -> the U-Net's prediction (n, c, h, w), be it noise, v or x_0."""
    x = features.h
    timesteps, emb = time_embedding(unet, len(x), t, class_labels, x.device)
    image = None
    for block, group in zip(unet.up_blocks, features.skips, strict=True):
        forward_order = tuple(reversed(group))
        if hasattr(block, "skip_conv"):
            x, image = block(x, forward_order, emb, image)
        else:
            x = block(x, forward_order, emb)
    x = unet.conv_out(unet.conv_act(unet.conv_norm_out(x)))
    if image is not None:
        x = x + image
    if unet.config.time_embedding_type == "fourier":
        x = x / timesteps.reshape(-1, *[1] * (x.ndim - 1))
    return x


def _group(skips: tuple[torch.Tensor, ...], counts: list[int]) -> tuple[tuple[torch.Tensor, ...], ...]:
    """Skips in forward order -> groups from the bottleneck outward, each in order of consumption."""
    if len(skips) != sum(counts):
        raise ModelError(f"the encoder gives {len(skips)} skips and the decoder takes {sum(counts)}; expected as many")
    waiting = list(skips)
    return tuple(tuple(waiting.pop() for _ in range(count)) for count in counts)
