"""Converts checkpoints of OpenAI's guided-diffusion (ADM) to diffusers' folder format.

The tensors show the structure of the network (``adm_network``). The options of the original scripts
(``adm_flags``) give the rest: the size of the picture, the heads of an attention, the order of
queries, keys and values in one tensor, and the noise schedule.

References:
    Diffusion Models Beat GANs on Image Synthesis (Dhariwal, Nichol, 2021),
    https://arxiv.org/abs/2105.05233
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import DDIMScheduler

from ..errors import UsageError
from .adm_flags import COSINE, LINEAR, PRESETS, Flags
from .adm_network import (
    ANCHOR,
    LEGACY,
    NEW,
    AdmStructure,
    Heads,
    Tensors,
    built_strictly,
    converted,
    read_structure,
    unet_of,
)
from .saving import save_pipeline
from .states import read_state


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
