"""LoRA files on this disk, as they are named on the command line. No torch."""

from __future__ import annotations

import math
from pathlib import Path

from .cards import pinned
from .errors import UsageError
from .foreign import is_apple_double
from .specs import Lora

USUAL = "pytorch_lora_weights.safetensors"
"""The name that diffusers' training scripts give a LoRA in its folder."""

PICKLES = (".bin", ".pt", ".ckpt", ".pth")


def find_lora(text: str) -> Lora:
    """The LoRA that ``FOLDER_OR_FILE[:scale]`` names, with the digest of its bytes.

    Raises:
        UsageError: no file goes by that name, or it is not clear which; the message says what
            there is.
    """
    path, scale = _split(text)
    return pinned(Lora(file=str(_file_in(path).resolve()), scale=scale))


def _split(text: str) -> tuple[Path, float]:
    """(path, scale); a path may have a colon in it."""
    whole = Path(text).expanduser()
    name, colon, number = text.rpartition(":")
    if not colon or whole.exists():
        return whole, 1.0
    try:
        scale = float(number)
    except ValueError:
        return whole, 1.0
    if not math.isfinite(scale):
        raise UsageError(f"the scale of a LoRA must be a finite number, got {number}")
    return Path(name).expanduser(), scale


def _file_in(path: Path) -> Path:
    if path.is_file():
        if path.suffix in PICKLES:
            raise UsageError(
                f"{path} is a pickle; expected a LoRA as .safetensors. Save its tensors so"
                " (torch.load(..., weights_only=True), then safetensors.torch.save_file)"
            )
        return path
    if not path.is_dir():
        raise UsageError(
            f"there is no LoRA at {path}; expected FOLDER_OR_FILE[:scale], such as"
            " style.safetensors:0.8"
        )
    if (path / USUAL).is_file():
        return path / USUAL
    found = [file for file in sorted(path.glob("*.safetensors")) if not is_apple_double(file.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in found[:5]) or "none"
    raise UsageError(
        f"the folder {path} must hold {USUAL} or one .safetensors file, and has {names}; name the"
        " file"
    )
