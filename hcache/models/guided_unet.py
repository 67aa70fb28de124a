"""diffusers' ``UNet2DModel`` with two additions of guided diffusion: a number of heads, and its own
timesteps.

``UNet2DModel`` knows one width for all attention heads. guided-diffusion's ``num_heads`` is a
number of heads, the same at every width, and its ``rescale_timesteps`` tells the network t 1000/T
for a schedule of T steps. Neither changes a tensor, so the same weights load into either network,
and only one of them computes what was trained. Its 512 x 512 model embeds time in more channels
than its first level has.
"""

from __future__ import annotations

import inspect
from typing import Any

from diffusers import UNet2DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding, Timesteps


def _with_heads(self: GuidedUNet2DModel, **fields: Any) -> None:
    heads, above = fields.pop("num_heads", None), fields.pop("num_heads_upsample", None)
    scale, channels = fields.pop("timestep_scale", 1.0), fields.pop("time_channels", None)
    if channels:
        fields["time_embedding_dim"] = 4 * channels
    UNet2DModel.__init__(self, **fields)
    if channels:
        self.time_proj = Timesteps(channels, self.config.flip_sin_to_cos, self.config.freq_shift)
        self.time_embedding = TimestepEmbedding(channels, 4 * channels)
    self.time_proj.scale = scale
    for part, number in (
        (self.down_blocks, heads),
        (self.mid_block, heads),
        (self.up_blocks, above or heads),
    ):
        for module in part.modules() if number else ():
            if isinstance(module, Attention):
                _split(module, number)


def _split(attention: Attention, heads: int) -> None:
    if attention.inner_dim % heads:
        raise ValueError(f"{attention.inner_dim} channels do not divide into {heads} heads")
    attention.heads = attention.sliceable_head_dim = heads
    attention.scale = (attention.inner_dim // heads) ** -0.5


_OWN = {"num_heads": None, "num_heads_upsample": None, "timestep_scale": 1.0, "time_channels": None}
_PLAIN = inspect.signature(UNet2DModel.__init__)
# ty: ignore[missing-attribute]  # inspect reads it, no stub declares it
_with_heads.__signature__ = _PLAIN.replace(
    parameters=[
        *_PLAIN.parameters.values(),
        *(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            for name, default in _OWN.items()
        ),
    ]
)


class GuidedUNet2DModel(UNet2DModel):
    """``UNet2DModel`` of ``num_heads`` heads at every width, ``num_heads_upsample`` in its decoder
    half.

    ``timestep_scale``: what t is multiplied by before it is embedded, in ``time_channels`` channels
    (None: as many as the first level has). Saved and loaded as any diffusers model, under its own
    name, so that a program that does not know these fields refuses the folder.

    References:
        Diffusion Models Beat GANs on Image Synthesis (Dhariwal, Nichol, 2021),
        https://arxiv.org/abs/2105.05233
    """

    __init__ = register_to_config(_with_heads)
