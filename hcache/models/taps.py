"""Reads and changes activations at other places of a network than h and skips.

    down.<k>             the output of ``down_blocks[k]``, which is the input of the next block
    down.<k>.resnet.<j>  the output of its resnet j, before the attention after it
    mid.resnet.<j>       the output of the mid block's resnet j; the last is h
    mid.attn             the output of the mid block's last attention, before the resnet after it
    up.<k>.resnet.<j>    the output of resnet j of ``up_blocks[k]``, before the attention after it
    up.<k>               the output of ``up_blocks[k]``
    block.<k>            of a transformer: the image tokens that its block k puts out

A change at a place affects everything that is computed after it. At ``down.0`` these are the blocks
and skips below it, h, and the decoder. A skip that is the output of a resnet without attention
changes with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .block_parts import separable

MID_ATTN = "mid.attn"

Passing = Callable[[torch.Tensor, slice], torch.Tensor]
"""A function from activations (n, c, h, w), and their rows in the whole batch, to the activations
that replace them.
"""


@dataclass(frozen=True, kw_only=True)
class Taps:
    """Reads and changes activations at places of the network.

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

    def reach(self, prefix: str) -> bool:
        """Returns whether places with this beginning are read or changed."""
        return any(name.startswith(prefix) for name in (*self.keep, *self.changes))

    def part(self, rows: slice) -> Taps:
        """Returns taps for some rows of the batch.

        They are the same, with their own ``kept``.
        """
        return Taps(keep=self.keep, changes=self.changes, first=self.first + rows.start)


NO_TAPS = Taps()


def places_of(unet: Any) -> tuple[str, ...]:
    """Lists the places of a U-Net in the order of computation."""
    down = (_of_block(f"down.{k}", block) for k, block in enumerate(unet.down_blocks))
    up = (_of_block(f"up.{k}", block) for k, block in enumerate(unet.up_blocks))
    return sum((*down, _of_mid(unet.mid_block), *up), ())


def _of_block(name: str, block: Any) -> tuple[str, ...]:
    """Lists the resnets of a block, if it can be run part by part, and then its output."""
    count = len(block.resnets) if separable(block) else 0
    return (*(f"{name}.resnet.{j}" for j in range(count)), name)


def _of_mid(mid_block: Any) -> tuple[str, ...]:
    """Lists the resnets of a mid block and its last attention, if it can be run part by part."""
    if not _mid_is_known(mid_block):
        return ()
    found = [f"mid.resnet.{j}" for j in range(len(mid_block.resnets))]
    if attends(mid_block):
        found.insert(_last_attention(mid_block) + 1, MID_ATTN)
    return tuple(found)


def _last_attention(mid_block: Any) -> int:
    """Returns the number of a mid block's last attention, or -1 if it has none."""
    return max((k for k, each in enumerate(mid_block.attentions) if each is not None), default=-1)


def _mid_is_known(mid_block: Any) -> bool:
    """Returns whether a mid block has parts that can be run one by one."""
    return type(mid_block).__name__ in ("UNetMidBlock2D", "UNetMidBlock2DCrossAttn")


def attends(mid_block: Any) -> bool:
    """Returns whether a mid block has attention and separable parts."""
    return _mid_is_known(mid_block) and any(each is not None for each in mid_block.attentions)


def reaches_into_mid(mid_block: Any, taps: Taps) -> bool:
    """Returns whether a place inside the mid block is read or changed."""
    return _mid_is_known(mid_block) and taps.reach("mid.")


def run_mid(
    mid_block: Any,
    x: torch.Tensor,
    time: torch.Tensor,
    text: torch.Tensor | None,
    taps: Taps,
) -> torch.Tensor:
    """Runs a mid block part by part, like its ``forward``."""
    last = _last_attention(mid_block)
    x = taps("mid.resnet.0", mid_block.resnets[0](x, time))
    for k, attention in enumerate(mid_block.attentions):
        if attention is not None and getattr(mid_block, "has_cross_attention", False):
            x = attention(x, encoder_hidden_states=text, return_dict=False)[0]
        elif attention is not None:
            x = attention(x, temb=time)
        if k == last:
            x = taps(MID_ATTN, x)
        x = taps(f"mid.resnet.{k + 1}", mid_block.resnets[k + 1](x, time))
    return x
