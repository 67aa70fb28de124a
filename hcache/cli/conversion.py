"""The commands ``convert-adm`` and ``convert-ddpm``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..models.adm_flags import WITHOUT_EFFECT
from .result import Result


def convert_adm(arguments: argparse.Namespace) -> Result:
    """Converts a guided-diffusion checkpoint to a diffusers folder."""
    from ..models.adm import convert_adm as convert
    from ..models.adm_flags import Flags, preset_of

    out = Path(arguments.out)
    given = {
        name: value
        for name in Flags.__dataclass_fields__
        if (value := getattr(arguments, name)) is not None
    }
    flags = Flags(**given)
    if arguments.preset:
        flags = flags.over(preset_of(arguments.preset))
    found = convert(
        Path(arguments.checkpoint),
        out,
        order=arguments.attention_order,
        flags=flags,
        weights=arguments.weights,
    )
    return _converted(
        out, found.structure.widths, found.structure.resnets, found.notes, asdict(found.structure)
    )


def convert_ddpm(arguments: argparse.Namespace) -> Result:
    """Converts a checkpoint of the original DDPM network to a diffusers folder."""
    from ..models.ddpm import convert_ddpm as convert

    out = Path(arguments.out)
    found = convert(Path(arguments.checkpoint), out, arguments.image_size, arguments.weights)
    return _converted(
        out, found.structure.widths, found.structure.resnets, found.notes, asdict(found.structure)
    )


def _converted(
    out: Path, widths: tuple[int, ...], depth: int, notes: Iterable[str], data: dict[str, Any]
) -> Result:
    notes = list(notes)
    text = "\n".join([f"{out}: {len(widths)} levels of {depth}, channels {widths}", *notes])
    return Result(text=text, data={"folder": str(out), **data, "notes": notes})


def add_conversion(command: Any) -> None:
    """Adds the commands that convert checkpoints."""
    text = (
        "Convert a guided-diffusion checkpoint to a diffusers folder. The options have the"
        " names of the original scripts."
    )
    child = command("convert-adm", convert_adm, text, home=False)
    _add_checkpoint(child)
    child.add_argument(
        "--preset",
        metavar="NAME",
        help=(
            "use the options of a published checkpoint, such as 128x128_diffusion; the default for"
            " a file of that name"
        ),
    )
    for name, kind, meaning in ADM_OPTIONS:
        names = _both_spellings(name) + (["--head-channels"] if name == "num_head_channels" else [])
        child.add_argument(*names, dest=name, type=kind, metavar="V", help=meaning)
    for name, kind in ADM_COMPARED:
        child.add_argument(
            *_both_spellings(name),
            dest=name,
            type=kind,
            metavar="V",
            help="known from the tensors; if given, compared with them",
        )
    for name in WITHOUT_EFFECT:
        child.add_argument(
            *_both_spellings(name), dest=name, metavar="V", help="accepted, but has no effect"
        )
    child.add_argument(
        "--attention-order", choices=("legacy", "new"), help="the same as --use-new-attention-order"
    )
    text = (
        "Convert an original DDPM checkpoint (celeba_hq.ckpt, bedroom.ckpt,"
        " church_outdoor.ckpt) to a diffusers folder."
    )
    child = command("convert-ddpm", convert_ddpm, text, home=False)
    _add_checkpoint(child)
    child.add_argument(
        "--image-size",
        type=int,
        help="side length of the pictures in pixels (default: chosen so that attention is at 16 x"
        " 16)",
    )


def _add_checkpoint(child: argparse.ArgumentParser) -> None:
    child.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help=".pt, .ckpt or .safetensors; code in the file is never executed",
    )
    child.add_argument("out", metavar="OUT", help="folder to write")
    child.add_argument(
        "--weights",
        metavar="WHICH",
        help=(
            "ema: the moving average of a training state; raw: the weights themselves (default:"
            " the moving average if there is one; the output says so)"
        ),
    )


def _both_spellings(name: str) -> list[str]:
    """Returns both spellings, such as ``--num-heads`` and the original ``--num_heads``."""
    return list(dict.fromkeys([f"--{name.replace('_', '-')}", f"--{name}"]))


def _truth(text: str) -> bool:
    """Parses ``True`` or ``False``, as guided-diffusion's scripts do."""
    if text.lower() in ("yes", "true", "t", "y", "1"):
        return True
    if text.lower() in ("no", "false", "f", "n", "0"):
        return False
    raise argparse.ArgumentTypeError(f"expected True or False, got {text!r}")


ADM_OPTIONS = (
    ("image_size", int, "side length of the pictures in pixels (default: 256)"),
    ("num_heads", int, "number of attention heads, the same at every width"),
    ("num_heads_upsample", int, "number of attention heads in the decoder half"),
    (
        "num_head_channels",
        int,
        "channels per attention head; overrides --num-heads (default: 64)",
    ),
    (
        "use_new_attention_order",
        _truth,
        "queries, keys and values are stored separately (True), or by head (False, default)",
    ),
    ("noise_schedule", str, "linear (default) or cosine"),
    ("diffusion_steps", int, "training timesteps (default: 1000; 4000 for improved-diffusion)"),
    (
        "rescale_timesteps",
        _truth,
        "the network's time input is t 1000/T (default: False; True for improved-diffusion)",
    ),
    ("predict_xstart", _truth, "the network predicts x_0 instead of the noise (default: False)"),
)
"""Options of the original scripts that files do not contain: name, kind, meaning."""


ADM_COMPARED = (
    ("num_channels", int),
    ("num_res_blocks", int),
    ("channel_mult", str),
    ("attention_resolutions", str),
    ("class_cond", _truth),
    ("learn_sigma", _truth),
    ("use_scale_shift_norm", _truth),
    ("resblock_updown", _truth),
)
"""Options that the tensors show as well."""
