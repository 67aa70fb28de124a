"""LoRAs in the form of the command line and the Extract page. It uses no torch."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from .cards import pinned
from .errors import UsageError
from .foreign import is_apple_double
from .lora_downloads import choose_lora, hub_lora
from .specs import Lora

PICKLES = (".bin", ".pt", ".ckpt", ".pth")

HUB_ID = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w./-]+))?")
"""``owner/name`` or ``owner/name@revision``."""


def find_lora(text: str, download: bool = True) -> Lora:
    """Returns the LoRA of ``FOLDER_OR_FILE[:scale]``, with its digest.

    Args:
        text: A file, a folder or a hub id (``owner/name`` or ``owner/name@revision``), and its
            scale.
        download: Whether the file of a hub id may be downloaded.

    Raises:
        UsageError: there is no such file, or the choice is ambiguous. The message lists the files.
        ModelError: a hub id's file is not on this disk and cannot be downloaded.
    """
    path, scale = _split(text)
    hub = None if path.exists() else HUB_ID.fullmatch(str(path))
    if hub and path.suffix not in (".safetensors", *PICKLES):
        found = hub_lora(hub[1], hub[2], download)
    else:
        found = _file_in(path)
    # links are kept: a file of the hub's cache has its name only through a link
    return pinned(Lora(file=os.path.abspath(found), scale=scale))


def _split(text: str) -> tuple[Path, float]:
    """Returns (path, scale). A path may contain a colon."""
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
            " style.safetensors:0.8, or a hub id (owner/name)"
        )
    names = (file.name for file in path.iterdir() if not is_apple_double(file.name))
    return path / choose_lora(names, f"the folder {path}")
