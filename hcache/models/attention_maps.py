r"""Cross-attention maps: to which token of the prompt each place of a U-Net attends.

In every cross-attention layer of the down and up blocks, softmax(q kᵀ / √d) gives each place a
share of each token; the shares of a place sum to 1. Heads are averaged. The map of each layer is
enlarged to the size of x_t (bicubic, not below 0), and layers are averaged. The source sums where
this averages, which is the same up to a factor; it leaves out the mid block, and so does this.

The maps are taken by attention processors, which diffusers has for this, for as long as one call
lasts. What the network computes stays the same.

References:
    What the DAAM: Interpreting Stable Diffusion Using Cross Attention (Tang, Liu, Pandey, Jiang,
        Yang, Kumar, Stenetorp, Lin, Ture, 2022), https://arxiv.org/abs/2210.04885
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch.nn.functional import interpolate

from ..errors import UsageError
from ..thread_locks import ThreadLock

_ONE_AT_A_TIME = ThreadLock()
"""Processors are the network's, which threads of a dashboard share."""


def cross_attentions(network: Any) -> dict[str, Any]:
    """The cross-attention layers of the down and up blocks, by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, Attention)
        and name.startswith(("down_blocks.", "up_blocks."))
        and name.endswith(".attn2")
    }


class _Recorder:
    """Records the shares of a layer, and leaves the attention itself to the usual processor."""

    def __init__(self, usual: Any, take: Callable[[torch.Tensor], None]) -> None:
        self.usual, self.take, self.thread = usual, take, threading.get_ident()

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        *more: Any,
        **options: Any,
    ) -> torch.Tensor:
        if encoder_hidden_states is not None and threading.get_ident() == self.thread:
            text = encoder_hidden_states
            text = attn.norm_encoder_hidden_states(text) if attn.norm_cross else text
            query, key = (
                attn.head_to_batch_dim(each) for each in (attn.to_q(hidden_states), attn.to_k(text))
            )
            shares = attn.get_attention_scores(query, key)
            self.take(shares.unflatten(0, (-1, attn.heads)).mean(1))
        return self.usual(attn, hidden_states, encoder_hidden_states, *more, **options)


@contextmanager
def recorded_attention(
    network: Any, height: int, width: int
) -> Iterator[Callable[[], torch.Tensor]]:
    """Records the cross-attention of one call in the block, in this thread.

    It gives a function that returns the maps afterwards, (n, tokens, height, width) float32. They
    are means over heads and layers.
    """
    layers, total, count = cross_attentions(network), None, 0

    def take(shares: torch.Tensor) -> None:
        """Adds a layer's shares (n, places, tokens)."""
        nonlocal total, count
        size = _size_of(shares.shape[1], height, width)
        maps = shares.transpose(1, 2).unflatten(2, size).float()
        large = interpolate(maps, (height, width), mode="bicubic").clamp_min(0)
        total, count = large if total is None else total + large, count + 1

    def maps() -> torch.Tensor:
        if total is None:
            raise UsageError("no cross-attention layer of this model ran, so there are no maps")
        return total / count

    with _ONE_AT_A_TIME:
        usual = {name: layer.processor for name, layer in layers.items()}
        try:
            for name, layer in layers.items():
                layer.processor = _Recorder(usual[name], take)
            yield maps
        finally:
            for name, layer in layers.items():
                layer.processor = usual[name]


def _size_of(places: int, height: int, width: int) -> tuple[int, int]:
    """Height and width of a layer's places, which halve from those of x_t, rounded up."""
    h, w = height, width
    while h * w > places and h * w > 1:
        h, w = -(-h // 2), -(-w // 2)
    if h * w != places:
        raise UsageError(
            f"a cross-attention layer has {places} places, which does not come from halving"
            f" {height} x {width}; its maps cannot be drawn over the picture"
        )
    return h, w
