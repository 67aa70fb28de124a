"""Converts checkpoints of OpenAI's guided-diffusion (ADM) to diffusers' folder format.

The tensors show the structure of the network: widths, depths, attention, up- and downsampling,
outputs, classes. The options of the original scripts (``adm_flags``) give the rest: the size of the
picture, the heads of an attention, the order of queries, keys and values in one tensor, and the
noise schedule.

References:
    Diffusion Models Beat GANs on Image Synthesis (Dhariwal, Nichol, 2021),
    https://arxiv.org/abs/2105.05233
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DModel

from ..errors import ModelError, UsageError
from .adm_flags import COSINE, LINEAR, PRESETS, Flags
from .guided_unet import GuidedUNet2DModel
from .saving import save_pipeline
from .states import read_state

LEGACY, NEW = "legacy", "new"

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


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """The result of a conversion, with notes.

    It has the structure of its converter, and one line per note.
    """

    structure: Any
    notes: tuple[str, ...]


ASSUMED_CHANNELS = 64
"""The default channels of an attention head, for a file without options. Most published files have
them, and the notes mention it.
"""

ANCHOR = "input_blocks.0.0.weight"


def convert_adm(
    checkpoint: Path,
    out: Path,
    image_size: int | None = None,
    head_channels: int | None = None,
    order: str | None = None,
    *,
    flags: Flags | None = None,
    weights: str | None = None,
) -> Conversion:
    """Converts a guided-diffusion checkpoint to the diffusers folder ``out``.

    The checkpoint is a ``.pt`` or safetensors file.

    Args:
        checkpoint: The file. A pickle is read without executing anything in it.
        out: A folder that does not exist yet, or is empty.
        image_size: The side length of the training pictures.
        head_channels: Channels of an attention head (guided-diffusion's ``num_head_channels``).
        order: ``legacy`` or ``new`` (its ``use_new_attention_order``).
        flags: All these options and more, by the original's names. Missing options come from the
            published file of the same name, if there is one. Otherwise they have the usual values,
            and the notes say so.
        weights: ``ema`` or ``raw``, for a training state. None means the moving average if there is
            one.

    Raises:
        ModelError: the file is not such a checkpoint, or is incomplete.
        UsageError: the options contradict it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists and is not an empty folder; choose another")
    if order not in (None, LEGACY, NEW):
        raise UsageError(f"attention order must be {LEGACY} or {NEW}, got {order!r}")
    own = Flags(
        image_size=image_size,
        num_head_channels=_positive(head_channels),
        use_new_attention_order=None if order is None else order == NEW,
    )
    found, notes = _completed(own.over(flags or Flags()), checkpoint)
    state = read_state(checkpoint, ANCHOR, weights)
    structure = read_structure(state.tensors)
    check_flags(found, structure, state.tensors)
    heads = Heads(
        channels=found.num_head_channels, number=found.num_heads, above=found.num_heads_upsample
    )
    channels, steps = state.tensors["time_embed.0.weight"].shape[1], found.number("diffusion_steps")
    scale = 1000 / steps if found.rescale_timesteps else 1.0
    new = NEW if found.use_new_attention_order else LEGACY
    unet = built_strictly(
        lambda: unet_of(structure, found.number("image_size"), heads, scale, channels),
        converted(state.tensors, structure, heads, new),
    )
    save_pipeline(unet, scheduler_of(found), out)
    return Conversion(structure=structure, notes=tuple(filter(None, [state.told, *notes])))


def scheduler_of(flags: Flags) -> DDIMScheduler:
    """Returns one of the original's named schedules.

    The linear one is scaled by 1000/T. The cosine one is that of Nichol and Dhariwal.
    """
    steps = flags.number("diffusion_steps")
    if flags.noise_schedule == COSINE:
        betas: dict[str, Any] = {"beta_schedule": "squaredcos_cap_v2"}
    else:
        betas = {"beta_schedule": "linear", "beta_start": 0.1 / steps, "beta_end": 20 / steps}
    predicts = "sample" if flags.predict_xstart else "epsilon"
    return DDIMScheduler(num_train_timesteps=steps, prediction_type=predicts, **betas)


def _positive(number: int | None) -> int | None:
    if number is not None and number < 1:
        raise UsageError(f"head channels must be 1 or more, got {number}")
    return number


def _completed(given: Flags, checkpoint: Path) -> tuple[Flags, list[str]]:
    """Completes the options that tensors do not show. Returns them, and the assumptions in
    words.
    """
    notes, name = [], checkpoint.name.split(".")[0]
    if name in PRESETS and given.over(PRESETS[name]) != given:
        given = given.over(PRESETS[name])
        notes.append(
            f"options of the published {name}:"
            f" {', '.join(f'{k} {v}' for k, v in given.given.items())}"
        )
    usual = Flags(
        image_size=256,
        use_new_attention_order=False,
        diffusion_steps=1000,
        noise_schedule=LINEAR,
        predict_xstart=False,
        rescale_timesteps=False,
    )
    if given.num_heads is None and given.num_head_channels is None:
        usual = Flags(num_head_channels=ASSUMED_CHANNELS).over(usual)
    full = given.over(usual)
    assumed = [f"{k} {v}" for k, v in full.given.items() if k not in given.given]
    if assumed:
        notes.append(
            "assumed, because they are not given and tensors do not show them:"
            f" {', '.join(assumed)}; if the training had other options, this model's results are"
            " wrong"
        )
    return full, notes


def check_flags(flags: Flags, structure: AdmStructure, tensors: Tensors) -> None:
    """Compares the options with the structure of the tensors.

    Raises:
        UsageError: they contradict each other.
    """
    base, size = tensors["time_embed.0.weight"].shape[1], flags.number("image_size")
    attended = [size // 2**level for level, attends in enumerate(structure.attention) if attends]
    shown = {
        "num_channels": base,
        "num_res_blocks": structure.resnets,
        "class_cond": structure.classes is not None,
        "learn_sigma": structure.channels[1] == 2 * structure.channels[0],
        "use_scale_shift_norm": structure.scale_shift,
        "resblock_updown": (
            structure.resampling_resnets if len(structure.widths) > 1 else flags.resblock_updown
        ),
    }
    for name, seen in shown.items():
        if getattr(flags, name) is not None and getattr(flags, name) != seen:
            raise UsageError(
                f"--{name.replace('_', '-')} {getattr(flags, name)} does not fit the checkpoint,"
                f" whose tensors have {name} {seen}; leave it out, or give the right file"
            )
    if flags.channel_mult:
        widths = tuple(int(m * base) for m in _numbers("channel_mult", flags.channel_mult))
        if widths != structure.widths:
            raise UsageError(
                f"--channel-mult {flags.channel_mult} of {base} channels is {widths}, but the"
                f" checkpoint's levels have {structure.widths} channels"
            )
    if flags.attention_resolutions:
        rates = {
            size // int(r) for r in _numbers("attention_resolutions", flags.attention_resolutions)
        }
        asked = [size // 2**level for level in range(len(structure.widths)) if 2**level in rates]
        if asked != attended:
            raise UsageError(
                f"--attention-resolutions {flags.attention_resolutions} at --image-size {size}"
                f" means attention at {asked}, but the checkpoint has it at {attended}; give"
                " another image size or another file"
            )


def _numbers(name: str, text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(
            f"--{name.replace('_', '-')} takes numbers separated by commas, got {text!r}"
        ) from error
    if not all(number > 0 for number in found):
        raise UsageError(f"--{name.replace('_', '-')} takes numbers above 0, got {text!r}")
    return found


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
