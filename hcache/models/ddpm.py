"""Converts original DDPM checkpoints in PyTorch (``celeba_hq.ckpt``, ``bedroom.ckpt``,
``church_outdoor.ckpt``).

They contain the network of Ho, Jain and Abbeel, with the layer names of pesser's and ermongroup's
code. SDEdit, DiffusionCLIP and Asyrp use the same names. Each layer is one of diffusers'
``UNet2DModel``, so nothing but names changes. All are trained on the linear schedule of 1,000
steps, and sampled without clipping x_0.

References:
    Denoising Diffusion Probabilistic Models (Ho, Jain, Abbeel, 2020),
        https://arxiv.org/abs/2006.11239
    Denoising Diffusion Implicit Models (Song, Meng, Ermon, 2020),
        https://github.com/ermongroup/ddim
    SDEdit (Meng, He, Song, Song, Wu, Zhu, Ermon, 2021), https://github.com/ermongroup/SDEdit
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DModel

from ..errors import ModelError, UsageError
from .adm import Conversion
from .adm_network import built_strictly
from .saving import save_pipeline
from .states import read_state

ANCHOR = "temb.dense.0.weight"
ATTENDED = 16
"""The side at which all published models have attention, which shows the size of the picture."""

Tensors = Mapping[str, torch.Tensor]

_ENDS = {
    "temb.dense.0": "time_embedding.linear_1",
    "temb.dense.1": "time_embedding.linear_2",
    "norm_out": "conv_norm_out",
    "conv_in": "conv_in",
    "conv_out": "conv_out",
}
_MID = {"block_1": "resnets.0", "attn_1": "attentions.0", "block_2": "resnets.1"}
_RESNET = {
    "norm1": "norm1",
    "conv1": "conv1",
    "temb_proj": "time_emb_proj",
    "norm2": "norm2",
    "conv2": "conv2",
    "nin_shortcut": "conv_shortcut",
}
_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_PLACE = re.compile(
    r"(?:(down|up)\.(\d+)\.(?:(block|attn)\.(\d+)|(?:down|up)sample)|mid\.(\w+))\.(\w+)\.(weight|bias)"
)


@dataclass(frozen=True, kw_only=True)
class DdpmStructure:
    """The structure that the tensors show.

    ``widths``: channels per level. ``attention``: whether a level has attention.
    """

    widths: tuple[int, ...]
    resnets: int
    attention: tuple[bool, ...]
    channels: tuple[int, int]


def convert_ddpm(
    checkpoint: Path, out: Path, image_size: int | None = None, weights: str | None = None
) -> Conversion:
    """Converts a DDPM checkpoint to the diffusers folder ``out``.

    Args:
        checkpoint: The file, a state dict or a training state. Nothing in it is executed.
        out: A folder that does not exist yet, or is empty.
        image_size: The side length of the pictures. None chooses it so that attention is at 16 x
            16, as in all published models.
        weights: ``ema`` or ``raw``, for a training state. None means the moving average if there is
            one.

    Raises:
        ModelError: the file is not such a checkpoint, or is incomplete.
        UsageError: the options contradict it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists and is not an empty folder; choose another")
    state = read_state(checkpoint, ANCHOR, weights)
    structure = read_structure(state.tensors)
    size, told = _size_of(structure, image_size)
    unet = built_strictly(lambda: unet_of(structure, size), converted(state.tensors, structure))
    scheduler = DDIMScheduler(
        beta_start=1e-4, beta_end=0.02, num_train_timesteps=1000, clip_sample=False
    )
    save_pipeline(unet, scheduler, out)
    schedule = (
        "schedule: linear, 0.0001 to 0.02 over 1,000 steps, x_0 not clipped, as the original code"
        " has it"
    )
    return Conversion(structure=structure, notes=tuple(filter(None, [state.told, told, schedule])))


def read_structure(tensors: Tensors) -> DdpmStructure:
    """Reads the structure of the network from its tensors.

    Raises:
        ModelError: they do not belong to a DDPM's U-Net.
    """
    for name in (
        ANCHOR,
        "conv_in.weight",
        "conv_out.weight",
        "mid.attn_1.q.weight",
        "down.0.block.0.conv1.weight",
    ):
        if name not in tensors:
            raise ModelError(
                f"this is no checkpoint of the original DDPM network: it has no tensor {name}"
            )
        if tensors[name].ndim != (2 if name == ANCHOR else 4):
            raise ModelError(
                f"this is no checkpoint of the original DDPM network: {name} has shape"
                f" {tuple(tensors[name].shape)}"
            )
    levels = 1 + max(
        int(name.split(".")[1]) for name in tensors if re.match(r"down\.\d+\.block\.", name)
    )
    resnets = 1 + max(
        int(name.split(".")[3]) for name in tensors if re.match(r"down\.0\.block\.\d+\.", name)
    )
    try:
        widths = tuple(
            len(tensors[f"down.{level}.block.0.conv1.weight"]) for level in range(levels)
        )
    except KeyError as error:
        raise ModelError(f"the checkpoint lacks {error.args[0]}; it is incomplete") from error
    if levels > 1 and "down.0.downsample.conv.weight" not in tensors:
        raise ModelError(
            "the checkpoint resamples without convolutions (resamp_with_conv: false), which is not "
            "supported; the published ones have them"
        )
    return DdpmStructure(
        widths=widths,
        resnets=resnets,
        attention=tuple(f"down.{level}.attn.0.q.weight" in tensors for level in range(levels)),
        channels=(tensors["conv_in.weight"].shape[1], len(tensors["conv_out.weight"])),
    )


def unet_of(structure: DdpmStructure, image_size: int) -> UNet2DModel:
    """Returns the same network as a diffusers U-Net, without its weights.

    Google/ddpm-ema-celebahq-256 has this form.
    """
    attention = structure.attention
    try:
        return UNet2DModel(
            sample_size=image_size,
            in_channels=structure.channels[0],
            out_channels=structure.channels[1],
            block_out_channels=structure.widths,
            layers_per_block=structure.resnets,
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attention),
            up_block_types=tuple(
                "AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)
            ),
            downsample_padding=0,  # it pads only right and below
            attention_head_dim=None,  # one head
            norm_eps=1e-6,
            flip_sin_to_cos=False,
            freq_shift=1,
        )
    except ValueError as error:
        raise ModelError(
            f"the checkpoint's widths {structure.widths} make no network: {error}"
        ) from error


def converted(tensors: Tensors, structure: DdpmStructure) -> dict[str, torch.Tensor]:
    """Returns the tensors by diffusers' names.

    A tensor without such a name keeps its own, and is later found as unexpected.
    """
    result = {}
    for name, tensor in tensors.items():
        prefix, _, kind = name.rpartition(".")
        if prefix in _ENDS:
            result[f"{_ENDS[prefix]}.{kind}"] = tensor
            continue
        match = _PLACE.fullmatch(name)
        new = match and _name_of(match, len(structure.widths))
        is_projection = (
            bool(new) and ".attentions." in new and kind == "weight" and tensor.ndim == 4
        )
        result[new or name] = tensor.flatten(1) if is_projection else tensor
    return result


def _name_of(match: re.Match[str], levels: int) -> str | None:
    """Returns diffusers' name for a tensor of a block. diffusers counts up blocks from the
    bottleneck.
    """
    way, level, part, number, middle, layer, kind = match.groups()
    if middle:
        if middle not in _MID:
            return None
        block, attends = f"mid_block.{_MID[middle]}", middle.startswith("attn")
    else:
        place = f"{way}_blocks.{level if way == 'down' else levels - 1 - int(level)}"
        if part is None:
            return f"{place}.{way}samplers.0.conv.{kind}" if layer == "conv" else None
        block, attends = (
            f"{place}.{'resnets' if part == 'block' else 'attentions'}.{number}",
            part == "attn",
        )
    found = (_ATTENTION if attends else _RESNET).get(layer)
    return f"{block}.{found}.{kind}" if found else None


def _size_of(structure: DdpmStructure, given: int | None) -> tuple[int, str]:
    """Returns (the side of the picture, how it was found)."""
    if given is not None:
        if given < 1:
            raise UsageError(f"image size must be 1 or more, got {given}")
        return given, ""
    attended = [level for level, attends in enumerate(structure.attention) if attends]
    if len(attended) != 1:
        raise UsageError(
            f"the checkpoint has attention at {len(attended)} levels, which does not determine the"
            " size of its pictures; give --image-size"
        )
    size = ATTENDED * 2 ** attended[0]
    return (
        size,
        (
            f"image size {size}, at which its attention lies at {ATTENDED} x {ATTENDED} as in all"
            " published ones"
        ),
    )
