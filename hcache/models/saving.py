"""Saves a converted network as a folder in diffusers' format."""

from __future__ import annotations

import os
import re
from pathlib import Path

from diffusers import DDIMScheduler, UNet2DModel
from safetensors import SafetensorError

from ..atomic import making_folder
from ..errors import refused

_CODE = re.compile(r"\(os error (\d+)\)")
"""The pattern for the system's error in a message of safetensors, which contains it only as
text.
"""


def save_pipeline(unet: UNet2DModel, scheduler: DDIMScheduler, out: Path) -> None:
    """Writes a pipeline's folder, completely or not at all.

    Args:
        unet: The network.
        scheduler: The scheduler of its training.
        out: A folder that does not exist yet, or is empty.

    Raises:
        NoSpaceError: the disk is full. Then ``out`` does not exist.
        UsageError: ``out`` cannot be written.
    """
    from diffusers import DDIMPipeline  # this imports transformers, which only this function needs

    try:
        with making_folder(out) as partial:
            DDIMPipeline(unet, scheduler).save_pretrained(partial)
    except SafetensorError as error:
        if found := _CODE.search(str(error)):
            code = int(found.group(1))
            raise refused(out, OSError(code, os.strerror(code), str(out))) from error
        raise
    except OSError as error:
        raise refused(out, error) from error
