"""Real pictures, made ready for a model: upright, in sRGB of 8 bits, square, of the model's
size.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..atomic import make_folder, read_file, reason, replacing
from ..errors import CacheError, UsageError
from .colours import in_srgb

MOST_PIXELS = 80_000_000
"""A file that claims more is refused before it is unpacked."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """``pixels``: (height, width, 3) uint8. ``notes``: what had to be done to it, in words."""

    pixels: np.ndarray
    notes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Hex digits that tell the picture from others."""
        return hashlib.sha256(repr(self.pixels.shape).encode() + self.pixels.tobytes()).hexdigest()

    def save(self, folder: Path) -> Path:
        """Keeps it as ``<digest>.png`` in a folder.

        Again only where what is there is not this picture.

        Raises:
            OSError: it cannot be written.
        """
        path = folder / f"{self.digest}.png"
        make_folder(folder)
        if not self._is_kept(path):
            with replacing(path) as file:
                Image.fromarray(self.pixels).save(file, "PNG")
        return path

    def _is_kept(self, path: Path) -> bool:
        try:
            return Picture(pixels=_decoded(read_file(path)), notes=()).digest == self.digest
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return False


def prepare_picture(source: Path | bytes, name: str, height: int, width: int) -> Picture:
    """A picture file as the model takes it.

    Turned upright by its EXIF, on white where it is transparent, in sRGB of 8 bits, its centre
    cropped to the right proportions and resized.

    Args:
        source: The file or what is in it.
        name: For messages.
        height: Of the result.
        width: Of the result.

    Raises:
        UsageError: it is no picture, one of too many pixels, or one whose tones have no agreed
            black and white.
    """
    try:
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        if image.width * image.height > MOST_PIXELS:
            raise UsageError(
                f"{name} claims {image.width} x {image.height} pixels; at most"
                f" {MOST_PIXELS // 10**6} million are taken: reduce it first"
            )
        image.load()
    except UsageError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(
            f"{name} is not a picture that can be read: {str(error).splitlines()[0]}"
        ) from error
    return _fit(image, name, height, width)


def _fit(image: Image.Image, name: str, height: int, width: int) -> Picture:
    notes = []
    frames = getattr(image, "n_frames", 1)  # which only the formats of many pictures have
    if frames > 1:
        notes.append(f"the first of its {frames} pictures")
    upright = ImageOps.exif_transpose(image)
    if upright.size != image.size or upright is not image and image.getexif().get(0x0112, 1) != 1:
        notes.append("turned upright by its EXIF")
    colour, more = in_srgb(upright, image, name)
    notes += more
    if colour.size != (width, height):
        if colour.width * height != colour.height * width:
            notes.append("cropped to its centre")
        notes.append(f"resized from {colour.width} x {colour.height}")
        colour = ImageOps.fit(colour, (width, height), Image.Resampling.LANCZOS)
    return Picture(pixels=np.asarray(colour), notes=tuple(notes))


def greyed(pixels: np.ndarray) -> np.ndarray:
    """Pictures (..., 3) uint8 by their luminance (ITU-R BT.601).

    They have three channels still: what a grey model takes.
    """
    luminance = pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return np.repeat(luminance.round().astype(np.uint8)[..., None], 3, axis=-1)


def load_prepared(folder: Path, digest: str) -> np.ndarray:
    """A picture that was saved (height, width, 3) uint8.

    Raises:
        UsageError: it is not there any more, or is another by now.
        CacheError: it could not be read.
    """
    path = folder / f"{digest}.png"
    again = "start the inversion again from the original pictures"
    try:
        data = read_file(path)
    except FileNotFoundError as error:
        raise UsageError(f"the picture {path} is gone; {again}") from error
    except OSError as error:
        raise CacheError(
            f"the picture {path} could not be read: {reason(error)}; try again later"
        ) from error
    try:
        found = Picture(pixels=_decoded(data), notes=())
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"the picture {path} is damaged ({reason(error)}); {again}") from error
    if found.digest != digest:
        raise UsageError(f"the picture {path} is not the one that was saved there; {again}")
    return found.pixels


def _decoded(data: bytes) -> np.ndarray:
    """The pixels of a PNG file (height, width, 3) uint8."""
    image = Image.open(io.BytesIO(data), formats=["PNG"])
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"it claims {image.width} x {image.height} pixels")
    return np.asarray(image.convert("RGB"))
