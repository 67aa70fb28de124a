"""Real pictures, made ready for a model: upright, in colour, square, of the model's size."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .errors import UsageError

MOST_PIXELS = 80_000_000
"""A file that claims more is refused before it is unpacked."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """``pixels``: (height, width, 3) uint8. ``notes``: what had to be done to it, in words."""

    pixels: np.ndarray
    notes: tuple[str, ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(self.pixels.shape).encode() + self.pixels.tobytes()).hexdigest()

    def save(self, folder: Path) -> Path:
        """Keeps it as ``<digest>.png`` in a folder; once."""
        path = folder / f"{self.digest}.png"
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            Image.fromarray(self.pixels).save(path)
        return path


def prepare_picture(source: Path | bytes, name: str, height: int, width: int) -> Picture:
    """A picture file as the model takes it: turned upright by its EXIF, on white where it is transparent, in colour,
    its centre cropped to the right proportions and resized.

    Args:
        source: The file or what is in it.
        name: For messages.
        height: Of the result.
        width: Of the result.

    Raises:
        UsageError: it is no picture, or one of too many pixels.
    """
    try:
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        if image.width * image.height > MOST_PIXELS:
            raise UsageError(
                f"{name} claims {image.width} x {image.height} pixels; at most {MOST_PIXELS // 10**6} million are "
                "taken: reduce it first"
            )
        image.load()
    except UsageError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"{name} is not a picture that can be read: {str(error).splitlines()[0]}") from error
    return _fit(image, height, width)


def _fit(image: Image.Image, height: int, width: int) -> Picture:
    notes = []
    upright = ImageOps.exif_transpose(image)
    if upright.size != image.size or upright is not image and image.getexif().get(0x0112, 1) != 1:
        notes.append("turned upright by its EXIF")
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        if np.asarray(layer.getchannel("A")).min() < 255:
            notes.append("put on white where it was transparent")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    elif upright.mode not in ("RGB", "P"):
        notes.append(f"turned from {upright.mode} to RGB")
    colour = upright.convert("RGB")
    if colour.size != (width, height):
        if colour.width * height != colour.height * width:
            notes.append("cropped to its centre")
        notes.append(f"resized from {colour.width} x {colour.height}")
        colour = ImageOps.fit(colour, (width, height), Image.Resampling.LANCZOS)
    return Picture(pixels=np.asarray(colour), notes=tuple(notes))


def load_prepared(folder: Path, digest: str) -> np.ndarray:
    """A picture that was saved (height, width, 3) uint8.

    Raises:
        UsageError: it is not there any more.
    """
    path = folder / f"{digest}.png"
    if not path.is_file():
        raise UsageError(f"the picture {path} is gone; start the inversion again from the original pictures")
    return np.asarray(Image.open(path).convert("RGB"))
