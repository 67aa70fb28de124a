"""Pictures as lossless PNG files that contain their recipe.

The recipe is in an ``iTXt`` chunk named ``hcache``.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..errors import UsageError
from .pictures import MOST_PIXELS

CHUNK = "hcache"
MOST_TEXT = 8 * 2**20
"""The most bytes of the text in a picture."""


def png_bytes(picture: np.ndarray, recipe: str | None = None, dpi: float | None = None) -> bytes:
    """Encodes a picture (height, width, 3) uint8 as a PNG file.

    ``recipe``: a JSON text to store in it. ``dpi``: pixels per inch in print.

    Raises:
        UsageError: the text is longer than a picture may carry.
    """
    info = None
    if recipe is not None:
        if len(recipe.encode()) > MOST_TEXT:
            raise UsageError(
                f"the recipes of this picture take {len(recipe.encode())} bytes, and {MOST_TEXT} is"
                " the most it may carry; save fewer cells at a time"
            )
        info = PngInfo()
        info.add_itxt(CHUNK, recipe)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(
        buffer, "PNG", compress_level=4, pnginfo=info, **({"dpi": (dpi, dpi)} if dpi else {})
    )
    return buffer.getvalue()


def read_picture(data: bytes) -> np.ndarray:
    """Reads the pixels of a PNG file (height, width, 3) uint8.

    Raises:
        UsageError: it is no PNG file.
    """
    return np.asarray(_open(data).convert("RGB"))


def read_recipe(data: bytes) -> str:
    """Reads the JSON text that a PNG file carries.

    Raises:
        UsageError: it is no PNG, or carries no such text.
    """
    text = getattr(_open(data), "text", {}).get(CHUNK)
    if not text:
        raise UsageError(
            "this PNG carries no recipe: it was not made by hcache, or was saved anew by a program"
            " that drops what it does not know (a screenshot, a messenger); take the file that was"
            " downloaded"
        )
    if len(text.encode(errors="replace")) > MOST_TEXT:
        raise UsageError(
            f"what this PNG carries is larger than {MOST_TEXT} bytes; that is no recipe of hcache"
        )
    return str(text)


def pixels_digest(picture: np.ndarray) -> str:
    """Returns the SHA-256 of a picture's shape and pixels.

    The picture is (height, width, 3) uint8.
    """
    return hashlib.sha256(
        repr(picture.shape).encode() + np.ascontiguousarray(picture).tobytes()
    ).hexdigest()


def _open(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=["PNG"])
        if image.width * image.height > MOST_PIXELS:
            raise UsageError(
                f"this PNG claims {image.width} x {image.height} pixels; that is too many"
            )
        image.load()
        return image
    except UsageError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"this is not a PNG file that can be read: {reason[:200]}") from error
