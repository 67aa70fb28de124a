"""Reads and changes activations at other places of a U-Net than h and skips.

    down.<k>  the output of ``down_blocks[k]``, which is the input of the next block
    mid.attn  the output of the mid block's last attention, before the resnet after it
    up.<k>    the output of ``up_blocks[k]``

A change at a place affects everything that is computed after it. At ``down.0`` these are the blocks
and skips below it, h, and the decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

MID_ATTN = "mid.attn"

Passing = Callable[[torch.Tensor, slice], torch.Tensor]
"""A function from activations (n, c, h, w), and their rows in the whole batch, to the activations
that replace them.
"""


@dataclass(frozen=True, kw_only=True)
class Taps:
    """Reads and changes activations at places of the U-Net.

    ``keep``: places whose activations are put into ``kept``, before any change. ``changes``: the
    change by place. ``first``: the first row of the whole batch in this part.
    """

    keep: Sequence[str] = ()
    changes: Mapping[str, Passing] = field(default_factory=dict)
    first: int = 0
    kept: dict[str, torch.Tensor] = field(default_factory=dict)

    def __call__(self, place: str, x: torch.Tensor) -> torch.Tensor:
        if place in self.keep:
            self.kept[place] = x
        change = self.changes.get(place)
        return x if change is None else change(x, slice(self.first, self.first + len(x)))

    def part(self, rows: slice) -> Taps:
        """Returns taps for some rows of the batch.

        They are the same, with their own ``kept``.
        """
        return Taps(keep=self.keep, changes=self.changes, first=self.first + rows.start)


NO_TAPS = Taps()


def places_of(unet: Any) -> tuple[str, ...]:
    """Lists the places of a U-Net, in order of computation."""
    mid = (MID_ATTN,) if attends(unet.mid_block) else ()
    down = tuple(f"down.{k}" for k in range(len(unet.down_blocks)))
    return down + mid + tuple(f"up.{k}" for k in range(len(unet.up_blocks)))


def attends(mid_block: Any) -> bool:
    """Returns whether a mid block has attention and separable parts."""
    known = type(mid_block).__name__ in ("UNetMidBlock2D", "UNetMidBlock2DCrossAttn")
    return known and any(each is not None for each in mid_block.attentions)


def run_mid(
    mid_block: Any,
    x: torch.Tensor,
    time: torch.Tensor,
    text: torch.Tensor | None,
    taps: Taps,
) -> torch.Tensor:
    """Runs a mid block part by part, like its ``forward``."""
    last = max(k for k, each in enumerate(mid_block.attentions) if each is not None)
    x = mid_block.resnets[0](x, time)
    for k, attention in enumerate(mid_block.attentions):
        if attention is not None and getattr(mid_block, "has_cross_attention", False):
            x = attention(x, encoder_hidden_states=text, return_dict=False)[0]
        elif attention is not None:
            x = attention(x, temb=time)
        if k == last:
            x = taps(MID_ATTN, x)
        x = mid_block.resnets[k + 1](x, time)
    return x
