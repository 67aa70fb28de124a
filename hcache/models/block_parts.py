"""Runs a block of a U-Net part by part, so that single resnets can be read and changed.

The parts are the block's own modules in its own order, so the results equal those of its
``forward`` bit for bit. Blocks of other classes are run whole, and their resnets are no sites.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers.utils.torch_utils import apply_freeu

After = Callable[[int, torch.Tensor], torch.Tensor]
"""A function from the number of a resnet and its output (n, c, h, w) to the output to use."""

PLAIN = ("DownBlock2D", "UpBlock2D")
RESNETS = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
ATTENDING = ("AttnDownBlock2D", "AttnUpBlock2D")
CROSS = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D")


def separable(block: Any) -> bool:
    """Returns whether a block can be run part by part."""
    return type(block).__name__ in (*PLAIN, *RESNETS, *ATTENDING, *CROSS)


def run_down(
    block: Any, x: torch.Tensor, time: torch.Tensor, text: torch.Tensor | None, after: After
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Runs a down block part by part, like its ``forward``.

    Returns its output and its skips, in the order in which they are computed.
    """
    skips: tuple[torch.Tensor, ...] = ()
    for j, resnet in enumerate(block.resnets):
        x = _attended(block, j, after(j, resnet(x, time)), text)
        skips += (x,)
    for downsampler in block.downsamplers or ():
        x = downsampler(x, temb=time) if _takes_time(block, "downsample_type") else downsampler(x)
    return x, skips + ((x,) if block.downsamplers is not None else ())


def run_up(
    block: Any,
    x: torch.Tensor,
    skips: tuple[torch.Tensor, ...],
    time: torch.Tensor,
    text: torch.Tensor | None,
    size: tuple[int, int] | None,
    after: After,
) -> torch.Tensor:
    """Runs an up block part by part, like its ``forward``.

    ``skips`` are consumed from the last to the first. ``size``: the size to upsample to, where
    doubling would miss it.
    """
    kind = type(block).__name__
    scales = {name: getattr(block, name, None) for name in ("s1", "s2", "b1", "b2")}
    freeu = kind in (*CROSS, *PLAIN) and all(scales.values())
    for j, resnet in enumerate(block.resnets):
        skip = skips[-1 - j]
        if freeu:
            x, skip = apply_freeu(block.resolution_idx, x, skip, **scales)
        x = _attended(block, j, after(j, resnet(torch.cat([x, skip], dim=1), time)), text)
    for upsampler in block.upsamplers or ():
        if kind in (*CROSS, *PLAIN):
            x = upsampler(x, size)
        else:
            x = upsampler(x, temb=time) if _takes_time(block, "upsample_type") else upsampler(x)
    return x


def _attended(block: Any, j: int, x: torch.Tensor, text: torch.Tensor | None) -> torch.Tensor:
    """Returns the output of a resnet after the attention that follows it, if there is one."""
    kind = type(block).__name__
    if kind in ATTENDING:
        return block.attentions[j](x)
    if kind in CROSS:
        return block.attentions[j](x, encoder_hidden_states=text, return_dict=False)[0]
    return x


def _takes_time(block: Any, sampler: str) -> bool:
    """Returns whether the block's sampler is a resnet, which takes the embedding of time."""
    return type(block).__name__ in RESNETS or getattr(block, sampler, "") == "resnet"
