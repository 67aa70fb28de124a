"""Reads a model's sites from its configuration, without weights and without computing anything.

Both halves of the network are built and evaluated on PyTorch's meta device, where tensors have
shapes but no contents. The shapes therefore come from the model itself and not from a table, and a
model with an anatomy can be run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from diffusers import (
    DiTTransformer2DModel,
    FluxTransformer2DModel,
    PixArtTransformer2DModel,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    UNet2DModel,
)

from ..errors import ModelError
from ..features import Features
from ..specs import Anatomy
from . import blocks, halves
from .attention_maps import cross_attentions
from .condition import Condition
from .guided_unet import GuidedUNet2DModel
from .taps import Taps, places_of

UNETS = {
    "UNet2DModel": UNet2DModel,
    "GuidedUNet2DModel": GuidedUNet2DModel,
    "UNet2DConditionModel": UNet2DConditionModel,
}
TRANSFORMERS = {
    "DiTTransformer2DModel": DiTTransformer2DModel,
    "FluxTransformer2DModel": FluxTransformer2DModel,
    "PixArtTransformer2DModel": PixArtTransformer2DModel,
    "SD3Transformer2DModel": SD3Transformer2DModel,
    "SanaTransformer2DModel": SanaTransformer2DModel,
}
NETWORKS = UNETS | TRANSFORMERS
Network = UNet2DModel | UNet2DConditionModel | blocks.Transformer

FLUX_LATENT = 128
"""The size for FLUX, which names none. It was made for 1024 x 1024 pixels, which are 128 x 128
positions of the latent.
"""


def anatomy_of(
    network: Network,
    pixels: int = 1,
    latent: int | None = None,
    beside: int = 0,
    tokens: int = 0,
) -> Anatomy:
    """Lists the sites of a network.

    A copy of it is built on the device ``meta``, unless it is already there.

    Args:
        network: One of ``NETWORKS``.
        pixels: The side of the picture divided by that of x: the codec's factor.
        latent: The side of x, for networks whose configuration does not contain it.
        beside: The number of channels that the network gets in addition to those of x.
        tokens: The number of tokens of its encoded text; 0 if it is not known.

    Raises:
        ModelError: it cannot be run at the size that its configuration names, or predicts another
            shape than x's.
    """
    if network.device.type != "meta":
        with torch.device("meta"):
            network = type(network).from_config(network.config)
    shape = _input_shape(network, latent, beside)
    x = torch.zeros((1, *shape), device=network.device, dtype=network.dtype)
    condition = _any_condition(network)
    image = (shape[1] * pixels, shape[2] * pixels, 3)
    parameters = sum(p.numel() for p in network.parameters())
    with torch.no_grad():
        if isinstance(network, tuple(TRANSFORMERS.values())):
            features, output = blocks.trace(network, x, 1, condition)
            _check_prediction(output, shape)
            return Anatomy(
                x=shape,
                image=image,
                h=None,
                parameters=parameters,
                without=blocks.why_no_unet(network),
                blocks=tuple(tuple(b.shape[1:]) for b in features.blocks if b is not None),
            )
        if beside:
            below = torch.zeros((1, beside, *shape[1:]), device=x.device, dtype=x.dtype)
            condition = replace(condition, beside=below)
        taps = Taps(keep=places_of(network))
        features = halves.encode(network, x, 1, condition, taps=taps)
        output = _decoded(network, features, condition, taps, shape)
    _check_prediction(output, shape)
    attends = tokens > 0 and bool(cross_attentions(network))
    return Anatomy(
        x=shape,
        image=image,
        h=tuple(features.h.shape[1:]),
        skips=tuple(tuple(_shape(member) for member in group) for group in features.skips if group),
        parameters=parameters,
        others=tuple((name, _shape(taps.kept[name])) for name in taps.keep),
        attention=(tokens, *shape[1:]) if attends else None,
        text=(tokens, _text_channels(network)) if attends else None,
    )


def _text_channels(network: halves.UNet) -> int:
    """Returns the number of channels of the encoded prompt, of a U-Net that attends to it."""
    dims = network.config.cross_attention_dim  # one, or one for each block
    return int(dims if isinstance(dims, int) else dims[0])


def _shape(tensor: torch.Tensor) -> tuple[int, int, int]:
    """Returns (c, h, w) of a batch."""
    _, channels, height, width = tensor.shape
    return channels, height, width


def _decoded(
    network: halves.UNet,
    features: Features,
    condition: Condition,
    taps: Taps,
    shape: tuple[int, int, int],
) -> torch.Tensor:
    """Returns the prediction. It raises a ModelError if x's sides are not divisible as needed."""
    try:
        return halves.decode(network, features, 1, condition, taps=taps)
    except RuntimeError as error:
        halved = sum(
            getattr(block, "downsamplers", None) is not None for block in network.down_blocks
        )
        raise ModelError(
            f"the network cannot be run at its sample_size of {shape[1]} x {shape[2]}, which it"
            f" halves {halved} times; expected multiples of {2**halved}"
            f" ({str(error).splitlines()[0]})"
        ) from error


def anatomy_of_config(
    config: Mapping[str, Any],
    pixels: int = 1,
    latent: int | None = None,
    beside: int = 0,
    tokens: int = 0,
) -> Anatomy:
    """Returns the sites of a network from its configuration only.

    The last ones are kept, because every loading and every plan asks, and tracing a network takes
    from a tenth of a second to seconds.
    """
    return _anatomy_of_json(
        json.dumps(dict(config), sort_keys=True), pixels, latent, beside, tokens
    )


@lru_cache(maxsize=64)
def _anatomy_of_json(
    config: str, pixels: int, latent: int | None, beside: int, tokens: int
) -> Anatomy:
    found = json.loads(config)
    kind = NETWORKS[found.get("_class_name", "UNet2DModel")]
    with torch.device("meta"):
        return anatomy_of(kind.from_config(found), pixels, latent, beside, tokens)


def _check_prediction(output: torch.Tensor, shape: tuple[int, int, int]) -> None:
    """Makes sure that a prediction has x's shape, possibly with as many more channels for its
    variance.
    """
    channels, height, width = shape
    if tuple(output.shape[1:]) not in ((channels, height, width), (2 * channels, height, width)):
        raise ModelError(
            f"the network makes {' x '.join(map(str, output.shape[1:]))} of x of"
            f" {' x '.join(map(str, shape))}; expected the same shape, or twice the channels with a"
            " learned variance. Its config.json has a sample_size or channels that it was not"
            " made for"
        )


def _input_shape(network: Network, latent: int | None, beside: int) -> tuple[int, int, int]:
    config = network.config
    if isinstance(network, FluxTransformer2DModel):
        side = latent or FLUX_LATENT
        return (config.in_channels // 4, side, side)
    size = config.sample_size
    if size is None:
        raise ModelError(
            "the model's configuration names no sample_size; its config.json must have one"
        )
    sides = list(size) if isinstance(size, list | tuple) else [size, size]
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ModelError(
            f"the model's configuration names sample_size {size!r}; expected a side, or [height,"
            " width]"
        )
    return (config.in_channels - beside, *sides)


def _any_condition(network: Network) -> Condition:
    """Returns a condition of the right shapes, for finding the shapes of activations."""
    config = network.config
    like: dict[str, Any] = {"device": network.device, "dtype": network.dtype}
    labels = torch.zeros(1, device=network.device, dtype=torch.long)
    if isinstance(network, DiTTransformer2DModel):
        return Condition(class_labels=labels)
    if isinstance(network, FluxTransformer2DModel):
        guidance = torch.ones(1, **like) if config.guidance_embeds else None
        text = torch.zeros(1, 1, config.joint_attention_dim, **like)
        return Condition(
            text=text,
            pooled=torch.zeros(1, config.pooled_projection_dim, **like),
            guidance=guidance,
        )
    if isinstance(network, PixArtTransformer2DModel):
        text = torch.zeros(1, 1, config.caption_channels or config.cross_attention_dim, **like)
        sizes = torch.ones(1, 3, **like) if network.use_additional_conditions else None
        return Condition(text=text, mask=torch.ones(1, 1, **like), sizes=sizes)
    if isinstance(network, SD3Transformer2DModel):
        text = torch.zeros(1, 1, config.joint_attention_dim, **like)
        return Condition(text=text, pooled=torch.zeros(1, config.pooled_projection_dim, **like))
    if isinstance(network, SanaTransformer2DModel):
        text = torch.zeros(1, 1, config.caption_channels, **like)
        return Condition(text=text, mask=torch.ones(1, 1, **like))
    labels = labels if network.class_embedding is not None else None
    if isinstance(network, UNet2DModel):
        return Condition(class_labels=labels)
    width = config.encoder_hid_dim or config.cross_attention_dim
    text = torch.zeros(1, 1, width if isinstance(width, int) else max(width), **like)
    told = None if config.time_cond_proj_dim is None else torch.ones(1, device=network.device)
    if config.addition_embed_type is None:
        return Condition(class_labels=labels, text=text, guidance=told)
    if config.addition_embed_type != "text_time":
        raise ModelError(
            f"added conditions of type {config.addition_embed_type!r} are not supported;"
            " text_time is"
        )
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    sizes = torch.zeros(1, 6, **like)
    return Condition(
        class_labels=labels,
        text=text,
        pooled=torch.zeros(1, pooled, **like),
        sizes=sizes,
        guidance=told,
    )
