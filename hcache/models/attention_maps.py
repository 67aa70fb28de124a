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
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import interpolate

from ..errors import UsageError
from ..thread_locks import ThreadLock
from .condition import Condition
from .model import Model

_ONE_AT_A_TIME = ThreadLock()
"""Processors are the network's, which threads of a dashboard share."""


def attention_maps(model: Model, x_t: torch.Tensor, t: float, condition: Condition) -> torch.Tensor:
    """Makes the cross-attention maps of one sample at a timestep.

    x_t (1, c, h, w) -> the share of each token at each place, (tokens, h, w) float32.

    Raises:
        UsageError: the model is no U-Net with cross-attention, or x_t is of several samples.
    """
    if len(x_t) != 1:
        raise UsageError(f"attention maps take one sample at a time, got {len(x_t)}")
    layers = cross_attentions(model)
    with torch.inference_mode(), _recording(layers) as shares:
        model.trace(x_t, t, condition)
        height, width = x_t.shape[2:]
        total = None
        for share in shares:
            h, w = _size_of(share.shape[1], height, width)
            maps = share[0].T.reshape(1, -1, h, w).float()
            large = interpolate(maps, (height, width), mode="bicubic").clamp_min(0)[0]
            total = large if total is None else total + large
        if total is None:
            raise UsageError("no cross-attention layer of this model ran, so there are no maps")
        return total / len(shares)


def cross_attentions(model: Model) -> dict[str, Any]:
    """The cross-attention layers of the down and up blocks, by name.

    Raises:
        UsageError: the model is no U-Net with cross-attention to a prompt.
    """
    from diffusers.models.attention_processor import Attention

    found = {
        name: module
        for name, module in model.network.named_modules()
        if isinstance(module, Attention)
        and name.startswith(("down_blocks.", "up_blocks."))
        and name.endswith(".attn2")
    }
    if model.anatomy.without or not found:
        raise UsageError(
            f"{model.card.name} has no cross-attention to a prompt in its blocks; attention maps"
            " need a text U-Net such as Stable Diffusion"
        )
    return found


class _Recorder:
    """Records the shares of a layer, and leaves the attention itself to the usual processor."""

    def __init__(self, usual: Any, shares: list[torch.Tensor]) -> None:
        self.usual, self.shares, self.thread = usual, shares, threading.get_ident()

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
            self.shares.append(shares.unflatten(0, (-1, attn.heads)).mean(1))
        return self.usual(attn, hidden_states, encoder_hidden_states, *more, **options)


@contextmanager
def _recording(layers: dict[str, Any]) -> Iterator[list[torch.Tensor]]:
    """Records (1, places, tokens) of every layer in the order in which they run."""
    shares: list[torch.Tensor] = []
    with _ONE_AT_A_TIME:
        usual = {name: layer.processor for name, layer in layers.items()}
        try:
            for name, layer in layers.items():
                layer.processor = _Recorder(usual[name], shares)
            yield shares
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
