"""Converts checkpoints of OpenAI's guided-diffusion (ADM) to diffusers' folder format.

What the network is, is read off its tensors: widths, depths, attention, up- and downsampling, outputs, classes. What
tensors do not show is asked for: the size of the picture, the channels of an attention head, and the order in which
queries, keys and values lie in one tensor.

References:
    Diffusion Models Beat GANs on Image Synthesis (Dhariwal, Nichol, 2021), https://arxiv.org/abs/2105.05233
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DModel
from safetensors.torch import load_file

from ..errors import ModelError, UsageError

LEGACY, NEW = "legacy", "new"

_RESNET = {"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
           "out_layers.3": "conv2", "skip_connection": "conv_shortcut"}  # fmt: skip
_ENDS = {"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
         "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out"}  # fmt: skip

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What the tensors tell. ``widths``: channels a level; ``attention``: whether a level attends."""

    widths: tuple[int, ...]
    resnets: int
    attention: tuple[bool, ...]
    resampling_resnets: bool
    scale_shift: bool
    channels: tuple[int, int]
    classes: int | None


def convert_adm(
    checkpoint: Path, out: Path, image_size: int, head_channels: int = 64, order: str = LEGACY
) -> Structure:
    """Writes the diffusers folder ``out`` from a guided-diffusion checkpoint (``.pt`` or safetensors).

    Args:
        checkpoint: The file. A pickle is read without running anything that is in it.
        out: A folder that does not exist yet, or is empty.
        image_size: A side of the pictures it was trained on.
        head_channels: Channels of an attention head (guided-diffusion's ``num_head_channels``).
        order: ``legacy`` or ``new`` (its ``use_new_attention_order``).

    Raises:
        ModelError: the file is no such checkpoint, whole.
        UsageError: the options do not fit it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists and is not an empty folder; choose another")
    if image_size < 1 or head_channels < 1:
        raise UsageError(f"image size and head channels must be 1 or more, got {image_size} and {head_channels}")
    tensors = read_checkpoint(checkpoint)
    structure = read_structure(tensors)
    unet = unet_of(structure, image_size, head_channels)
    load_strictly(unet, converted(tensors, structure, head_channels, order))
    from diffusers import DDIMPipeline  # brings transformers with it, which only this needs

    scheduler = DDIMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear", num_train_timesteps=1000)
    DDIMPipeline(unet, scheduler).save_pretrained(out)
    return structure


def read_tensors(path: Path) -> Any:
    """What a ``.pt``, ``.pth`` or ``.safetensors`` file holds: tensors and containers of them; nothing in it is run.

    Raises:
        ModelError: it holds anything else.
    """
    try:
        return load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}") from error
    except Exception as error:  # noqa: BLE001 - pickle, zip and safetensors each fail in their own way
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{path} cannot be read as tensors alone ({first}); nothing in it was run. If you trust it, save its "
            "state dict anew with torch.save, or as safetensors"
        ) from error


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, by guided-diffusion's names."""
    data = read_tensors(path)
    for nested in ("state_dict", "model", "ema"):
        if isinstance(data, Mapping) and isinstance(data.get(nested), Mapping):
            data = data[nested]
    if not isinstance(data, Mapping) or not all(isinstance(v, torch.Tensor) for v in data.values()):
        raise ModelError(f"{path} holds no state dict; expected a mapping from names to tensors")
    return {re.sub(r"^(model|module)\.", "", name): tensor for name, tensor in data.items()}


def read_structure(tensors: Tensors) -> Structure:
    """What network the tensors are of.

    Raises:
        ModelError: they are not of a guided-diffusion U-Net.
    """
    for name in ("time_embed.0.weight", "input_blocks.0.0.weight", "middle_block.1.qkv.weight", "out.2.weight"):
        if name not in tensors:
            raise ModelError(f"this is no guided-diffusion checkpoint: it has no tensor {name}")
    inputs, outputs = _count(tensors, "input_blocks"), _count(tensors, "output_blocks")
    ups = [k for k in range(outputs) if _upsampler(tensors, k)]
    levels = len(ups) + 1
    resnets = outputs // levels - 1
    if outputs != levels * (resnets + 1) or inputs != 1 + levels * resnets + levels - 1 or resnets < 1:
        raise ModelError(
            f"{inputs} input and {outputs} output blocks with {len(ups)} upsamplings do not make a guided-diffusion "
            "U-Net with the same depth at every level"
        )
    firsts = [1 + level * (resnets + 1) for level in range(levels)]
    try:
        widths = tuple(len(tensors[f"input_blocks.{first}.0.out_layers.3.weight"]) for first in firsts)
        scale_shift = len(tensors["middle_block.0.emb_layers.1.weight"]) == 2 * widths[-1]
        channels = (tensors["input_blocks.0.0.weight"].shape[1], len(tensors["out.2.weight"]))
    except KeyError as error:
        raise ModelError(f"the checkpoint lacks {error.args[0]}; it is not whole") from error
    return Structure(
        widths=widths,
        resnets=resnets,
        attention=tuple(f"input_blocks.{first}.1.qkv.weight" in tensors for first in firsts),
        resampling_resnets=bool(ups) and ".in_layers." in _upsampler(tensors, ups[0]),
        scale_shift=scale_shift,
        channels=channels,
        classes=len(tensors["label_emb.weight"]) if "label_emb.weight" in tensors else None,
    )


def unet_of(structure: Structure, image_size: int, head_channels: int) -> UNet2DModel:
    """The same network as a diffusers U-Net, its weights not set."""
    plain = "Resnet{}sampleBlock2D" if structure.resampling_resnets else "{}Block2D"
    kind = "resnet" if structure.resampling_resnets else "conv"
    for width, attends in [*zip(structure.widths, structure.attention, strict=True), (structure.widths[-1], True)]:
        if attends and width % head_channels:
            raise UsageError(
                f"{width} channels do not divide into heads of {head_channels}; give other --head-channels"
            )
    return UNet2DModel(
        sample_size=image_size,
        in_channels=structure.channels[0],
        out_channels=structure.channels[1],
        block_out_channels=structure.widths,
        layers_per_block=structure.resnets,
        down_block_types=tuple("AttnDownBlock2D" if a else plain.format("Down") for a in structure.attention),
        up_block_types=tuple("AttnUpBlock2D" if a else plain.format("Up") for a in reversed(structure.attention)),
        downsample_type=kind,
        upsample_type=kind,
        resnet_time_scale_shift="scale_shift" if structure.scale_shift else "default",
        attention_head_dim=head_channels,
        attn_norm_num_groups=32,  # else the mid attention has no GroupNorm, and says nothing
        norm_eps=1e-5,
        flip_sin_to_cos=True,
        freq_shift=0,
        num_class_embeds=structure.classes,
    )


def converted(tensors: Tensors, structure: Structure, head_channels: int, order: str) -> dict[str, torch.Tensor]:
    """The tensors by diffusers' names, queries, keys and values apart.

    Raises:
        UsageError: an order that is neither ``legacy`` nor ``new``.
    """
    if order not in (LEGACY, NEW):
        raise UsageError(f"attention order must be {LEGACY} or {NEW}, got {order!r}")
    places = _places(structure)
    result = {}
    for name, tensor in tensors.items():
        prefix, _, suffix = name.rpartition(".")
        if name == "label_emb.weight":
            result["class_embedding.weight"] = tensor
        elif prefix in _ENDS:
            result[f"{_ENDS[prefix]}.{suffix}"] = tensor
        else:
            result.update(_in_block(name, tensor, places, head_channels, order))
    return result


def load_strictly(unet: UNet2DModel, weights: Tensors) -> None:
    """Every tensor that the network has, and no other.

    Raises:
        ModelError: some are missing, unexpected or of another shape.
    """
    try:
        missing, unexpected = unet.load_state_dict(dict(weights), strict=False)
    except RuntimeError as error:
        raise ModelError(f"the checkpoint's tensors do not fit: {' '.join(str(error).split())[:300]}") from error
    if missing or unexpected:
        parts = [f"{len(names)} {what} (first {names[0]})" for what, names in
                 (("missing", missing), ("unexpected", unexpected)) if names]  # fmt: skip
        raise ModelError(f"the checkpoint does not fit the network its tensors describe: {', '.join(parts)}")


def _places(structure: Structure) -> dict[str, str]:
    """guided-diffusion's blocks -> diffusers' modules. What follows a block's first module depends on attention."""
    levels, resnets = len(structure.widths), structure.resnets
    places = {"middle_block.0": "mid_block.resnets.0", "middle_block.1": "mid_block.attentions.0",
              "middle_block.2": "mid_block.resnets.1"}  # fmt: skip
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


def _in_block(name: str, tensor: torch.Tensor, places: Mapping[str, str], head: int, order: str) -> Tensors:
    """One tensor of a block under its diffusers names; under its own if it has none there, to be found unexpected."""
    match = re.fullmatch(r"((?:in|out)put_blocks\.\d+\.\d+|middle_block\.\d+)\.(.+)\.(weight|bias)", name)
    if not match or match[1] not in places:
        return {name: tensor}
    place, part, kind = places[match[1]], match[2], match[3]
    if part in _RESNET:
        return {f"{place}.{_RESNET[part]}.{kind}": tensor}
    if part in ("op", "conv"):
        return {f"{place}.conv.{kind}": tensor}
    if part == "norm":
        return {f"{place}.group_norm.{kind}": tensor}
    if part == "proj_out":
        return {f"{place}.to_out.0.{kind}": tensor.flatten(1) if kind == "weight" else tensor}
    if part == "qkv":
        flat = tensor.flatten(1) if kind == "weight" else tensor
        return {
            f"{place}.to_{which}.{kind}": piece for which, piece in zip("qkv", _split(flat, head, order), strict=True)
        }
    return {name: tensor}


def _split(qkv: torch.Tensor, head: int, order: str) -> tuple[torch.Tensor, ...]:
    """Queries, keys and values: one below the other in the new order; in the legacy one so within every head.

    A plain split of the legacy order has the right shapes and loads, and is wrong.
    """
    if order == NEW:
        return qkv.chunk(3)
    if len(qkv) % (3 * head):
        raise UsageError(f"{len(qkv) // 3} channels do not divide into heads of {head}; give other --head-channels")
    by_head = qkv.unflatten(0, (-1, 3, head)).transpose(0, 1)
    return tuple(part.contiguous() for part in by_head.flatten(1, 2))


def _count(tensors: Tensors, kind: str) -> int:
    numbers = [int(name.split(".")[1]) for name in tensors if name.startswith(f"{kind}.")]
    return max(numbers, default=-1) + 1


def _upsampler(tensors: Tensors, block: int) -> str:
    """The name of a tensor of the upsampling at the end of an output block; empty if it has none."""
    pattern = re.compile(rf"output_blocks\.{block}\.[12]\.(in_layers\.0|conv)\.weight")
    return next((name for name in tensors if pattern.fullmatch(name)), "")
