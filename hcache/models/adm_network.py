"""The network that the tensors of a guided-diffusion checkpoint (ADM) show, and their new names.

The tensors show widths, depths, attention, up- and downsampling, outputs and classes.

References:
    Diffusion Models Beat GANs on Image Synthesis (Dhariwal, Nichol, 2021),
    https://arxiv.org/abs/2105.05233
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DModel

from ..errors import ModelError, UsageError
from .guided_unet import GuidedUNet2DModel

LEGACY, NEW = "legacy", "new"

ANCHOR = "input_blocks.0.0.weight"
"""A tensor that every checkpoint of this kind has."""

RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class AdmStructure:
    """The structure that the tensors show.

    ``widths``: channels per level. ``attention``: whether a level has attention.
    """

    widths: tuple[int, ...]
    resnets: int
    attention: tuple[bool, ...]
    resampling_resnets: bool
    scale_shift: bool
    channels: tuple[int, int]
    classes: int | None


@dataclass(frozen=True, kw_only=True)
class Heads:
    """The heads of an attention.

    Each has ``channels`` channels. Otherwise there are ``number`` heads, and ``above`` in the
    decoder.
    """

    channels: int | None = None
    number: int | None = None
    above: int | None = None

    def of(self, width: int, decoder: bool = False) -> int:
        """Returns the number of heads at a width.

        Raises:
            UsageError: the width is not divisible in this way.
        """
        if self.channels:
            if width % self.channels:
                raise UsageError(
                    f"{width} channels do not divide into heads of {self.channels}; give other"
                    " --num-head-channels"
                )
            return width // self.channels
        number = (self.above if decoder else None) or self.number or 1
        if width % number:
            raise UsageError(
                f"{width} channels do not divide into {number} heads; give another --num-heads"
            )
        return number


def read_structure(tensors: Tensors) -> AdmStructure:
    """Reads the structure of the network from its tensors.

    Raises:
        ModelError: they do not belong to a guided-diffusion U-Net.
    """
    if "out.2.positional_embedding" in tensors:
        raise ModelError(
            "this is a classifier of guided-diffusion, not a diffusion model; convert"
            " 256x256_diffusion.pt or the like"
        )
    for name in ("time_embed.0.weight", ANCHOR, "middle_block.1.qkv.weight", "out.2.weight"):
        if name not in tensors:
            raise ModelError(f"this is no guided-diffusion checkpoint: it has no tensor {name}")
        if tensors[name].ndim != (2 if name.startswith("time") else 3 if "qkv" in name else 4):
            raise ModelError(
                f"this is no guided-diffusion checkpoint: {name} has shape"
                f" {tuple(tensors[name].shape)}"
            )
    inputs, outputs = _count(tensors, "input_blocks"), _count(tensors, "output_blocks")
    ups = [k for k in range(outputs) if _upsampler(tensors, k)]
    levels = len(ups) + 1
    resnets = outputs // levels - 1
    if (
        outputs != levels * (resnets + 1)
        or inputs != 1 + levels * resnets + levels - 1
        or resnets < 1
    ):
        raise ModelError(
            f"{inputs} input and {outputs} output blocks with {len(ups)} upsamplings do not make a"
            " guided-diffusion U-Net with the same depth at every level"
        )
    firsts = [1 + level * (resnets + 1) for level in range(levels)]
    try:
        widths = tuple(
            len(tensors[f"input_blocks.{first}.0.out_layers.3.weight"]) for first in firsts
        )
        scale_shift = len(tensors["middle_block.0.emb_layers.1.weight"]) == 2 * widths[-1]
        channels = (tensors["input_blocks.0.0.weight"].shape[1], len(tensors["out.2.weight"]))
    except KeyError as error:
        raise ModelError(f"the checkpoint lacks {error.args[0]}; it is incomplete") from error
    if channels[0] not in (1, 3) or channels[1] not in (channels[0], 2 * channels[0]):
        why = (
            "as a super-resolution model does"
            if channels[0] == 6
            else "as no model of pictures alone does"
        )
        raise ModelError(
            f"the checkpoint takes {channels[0]} channels and gives {channels[1]}, {why}; expected"
            " 3 or 1 in, and as many out, or twice that with learned variance"
        )
    return AdmStructure(
        widths=widths,
        resnets=resnets,
        attention=tuple(f"input_blocks.{first}.1.qkv.weight" in tensors for first in firsts),
        resampling_resnets=bool(ups) and ".in_layers." in _upsampler(tensors, ups[0]),
        scale_shift=scale_shift,
        channels=channels,
        classes=len(tensors["label_emb.weight"]) if "label_emb.weight" in tensors else None,
    )


def unet_of(
    structure: AdmStructure,
    image_size: int,
    heads: Heads | int,
    timestep_scale: float = 1.0,
    time_channels: int | None = None,
) -> UNet2DModel:
    """Returns the same network as a diffusers U-Net, without its weights.

    If one width of head is right for all its attentions, it is a plain ``UNet2DModel``, and
    otherwise a ``GuidedUNet2DModel``. ``heads``: a number means the channels of a head.
    """
    heads = heads if isinstance(heads, Heads) else Heads(channels=heads)
    plain = "Resnet{}sampleBlock2D" if structure.resampling_resnets else "{}Block2D"
    kind = "resnet" if structure.resampling_resnets else "conv"
    attended = [width for width, a in zip(structure.widths, structure.attention, strict=True) if a]
    channels = {structure.widths[-1] // heads.of(structure.widths[-1])}
    channels |= {
        width // heads.of(width, decoder) for width in attended for decoder in (False, True)
    }
    own: dict[str, Any] = {}
    if len(channels) > 1:
        own = {"num_heads": heads.number or 1, "num_heads_upsample": heads.above}
    if timestep_scale != 1:
        own["timestep_scale"] = timestep_scale
    if time_channels not in (None, structure.widths[0]):
        own["time_channels"] = time_channels
    return (GuidedUNet2DModel if own else UNet2DModel)(
        **own,
        sample_size=image_size,
        in_channels=structure.channels[0],
        out_channels=structure.channels[1],
        block_out_channels=structure.widths,
        layers_per_block=structure.resnets,
        down_block_types=tuple(
            "AttnDownBlock2D" if a else plain.format("Down") for a in structure.attention
        ),
        up_block_types=tuple(
            "AttnUpBlock2D" if a else plain.format("Up") for a in reversed(structure.attention)
        ),
        downsample_type=kind,
        upsample_type=kind,
        resnet_time_scale_shift="scale_shift" if structure.scale_shift else "default",
        attention_head_dim=min(channels),
        attn_norm_num_groups=32,  # otherwise the mid attention silently has no GroupNorm
        norm_eps=1e-5,
        flip_sin_to_cos=True,
        freq_shift=0,
        num_class_embeds=structure.classes,
    )


def converted(
    tensors: Tensors, structure: AdmStructure, heads: Heads, order: str
) -> dict[str, torch.Tensor]:
    """Returns the tensors by diffusers' names.

    Queries, keys and values are separate tensors.

    Raises:
        UsageError: the order is neither ``legacy`` nor ``new``.
    """
    if order not in (LEGACY, NEW):
        raise UsageError(f"attention order must be {LEGACY} or {NEW}, got {order!r}")
    places = places_of(structure)
    result = {}
    for name, tensor in tensors.items():
        prefix, _, suffix = name.rpartition(".")
        if name == "label_emb.weight":
            result["class_embedding.weight"] = tensor
        elif prefix in ENDS:
            result[f"{ENDS[prefix]}.{suffix}"] = tensor
        else:
            result.update(_in_block(name, tensor, places, heads, order))
    return result


def built_strictly(make: Callable[[], UNet2DModel], weights: Tensors) -> UNet2DModel:
    """Builds a network and loads exactly the tensors that it has.

    Shapes are compared before memory is taken. A tensor of a wrong shape may describe a network of
    any size.

    Raises:
        ModelError: some are missing, unexpected or of another shape.
    """
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in make().state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = {
        "missing": sorted(expected.keys() - shapes.keys()),
        "unexpected": sorted(shapes.keys() - expected.keys()),
        "of another shape": [
            f"{name}: {shapes[name]} in place of {shape}"
            for name, shape in expected.items()
            if shapes.get(name, shape) != shape
        ],
    }
    if any(wrong.values()):
        parts = [
            f"{len(names)} {what} (first {names[0]})" for what, names in wrong.items() if names
        ]
        raise ModelError(
            f"the checkpoint does not fit the network its tensors describe: {', '.join(parts)}"
        )
    unet = make()
    unet.load_state_dict(dict(weights))
    return unet


def places_of(structure: AdmStructure) -> dict[str, str]:
    """Maps guided-diffusion's blocks to diffusers' modules. The modules after the first in a block
    depend on attention.
    """
    levels, resnets = len(structure.widths), structure.resnets
    places = {
        "middle_block.0": "mid_block.resnets.0",
        "middle_block.1": "mid_block.attentions.0",
        "middle_block.2": "mid_block.resnets.1",
    }
    index = 1
    for level in range(levels):
        for r in range(resnets):
            places[f"input_blocks.{index}.0"] = f"down_blocks.{level}.resnets.{r}"
            places[f"input_blocks.{index}.1"] = f"down_blocks.{level}.attentions.{r}"
            index += 1
        places[f"input_blocks.{index}.0"] = f"down_blocks.{level}.downsamplers.0"
        index += 1
    for up in range(levels):
        attends = structure.attention[levels - 1 - up]
        for r in range(resnets + 1):
            block = f"output_blocks.{up * (resnets + 1) + r}"
            places[f"{block}.0"] = f"up_blocks.{up}.resnets.{r}"
            if attends:
                places[f"{block}.1"] = f"up_blocks.{up}.attentions.{r}"
            if r == resnets:
                places[f"{block}.{1 + attends}"] = f"up_blocks.{up}.upsamplers.0"
    return places


def _in_block(
    name: str, tensor: torch.Tensor, places: Mapping[str, str], heads: Heads, order: str
) -> Tensors:
    """Yields a tensor of a block under its diffusers names. A tensor without one keeps its own
    name, and is later found as unexpected.
    """
    match = re.fullmatch(
        r"((?:in|out)put_blocks\.\d+\.\d+|middle_block\.\d+)\.(.+)\.(weight|bias)", name
    )
    if not match or match[1] not in places:
        return {name: tensor}
    place, part, kind = places[match[1]], match[2], match[3]
    if part in RESNET:
        return {f"{place}.{RESNET[part]}.{kind}": tensor}
    if part in ("op", "conv"):
        return {f"{place}.conv.{kind}": tensor}
    if part == "norm":
        return {f"{place}.group_norm.{kind}": tensor}
    if part in ("proj_out", "qkv"):
        _check_attention(name, tensor)
    if part == "proj_out":
        return {f"{place}.to_out.0.{kind}": tensor.flatten(1) if kind == "weight" else tensor}
    if part == "qkv":
        flat = tensor.flatten(1) if kind == "weight" else tensor
        width = len(flat) // 3
        pieces = _split(flat, width // heads.of(width, place.startswith("up_blocks")), order)
        return {
            f"{place}.to_{which}.{kind}": piece for which, piece in zip("qkv", pieces, strict=True)
        }
    return {name: tensor}


def _check_attention(name: str, tensor: torch.Tensor) -> None:
    """Refuses a tensor of an attention that cannot be converted.

    Weights are (c, c, 1) or (3 c, c, 1), biases (c,) or (3 c,).
    """
    fits = tensor.ndim == 1 if name.endswith("bias") else tensor.ndim > 1
    if not fits or ("qkv" in name and len(tensor) % 3):
        raise ModelError(
            f"this is no guided-diffusion checkpoint: {name} has shape {tuple(tensor.shape)}"
        )


def _split(qkv: torch.Tensor, head: int, order: str) -> tuple[torch.Tensor, ...]:
    """Splits queries, keys and values. In the new order they follow each other; in the legacy order
    they do so within every head.

    A plain split of the legacy order has the right shapes and loads, but is wrong.
    """
    if order == NEW:
        return qkv.chunk(3)
    by_head = qkv.unflatten(0, (-1, 3, head)).transpose(0, 1)
    return tuple(part.contiguous() for part in by_head.flatten(1, 2))


def _count(tensors: Tensors, kind: str) -> int:
    numbers = [int(name.split(".")[1]) for name in tensors if name.startswith(f"{kind}.")]
    return max(numbers, default=-1) + 1


def _upsampler(tensors: Tensors, block: int) -> str:
    """Returns the name of a tensor of the upsampling at the end of an output block, or ""."""
    pattern = re.compile(rf"output_blocks\.{block}\.[12]\.(in_layers\.0|conv)\.weight")
    return next((name for name in tensors if pattern.fullmatch(name)), "")
