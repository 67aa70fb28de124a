"""Prepares real pictures for a model: upright, 8-bit sRGB, in the model's size."""

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
"""The most pixels of a picture. A file that claims more is refused before it is unpacked."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A prepared picture.

    ``pixels``: (height, width, 3) uint8. ``notes``: what was done to it, in words.
    """

    pixels: np.ndarray
    notes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Hex digits that identify the picture."""
        return hashlib.sha256(repr(self.pixels.shape).encode() + self.pixels.tobytes()).hexdigest()

    def save(self, folder: Path) -> Path:
        """Saves the picture as ``<digest>.png`` in a folder.

        An existing file is replaced only if it is not this picture.

        Raises:
            OSError: the file cannot be written.
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
    """Prepares a picture file for the model.

    The picture is turned upright by its EXIF, put on white where it is transparent, and converted
    to 8-bit sRGB. Its centre is cropped to the right proportions and resized.

    Args:
        source: The file or its contents.
        name: The picture's name, for messages.
        height: The height of the result.
        width: The width of the result.

    Raises:
        UsageError: it is no picture, has too many pixels, or has tones without an agreed black and
            white.
    """
    try:
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        if image.width * image.height > MOST_PIXELS:
            raise UsageError(
                f"{name} claims {image.width} x {image.height} pixels; expected at most"
                f" {MOST_PIXELS // 10**6} million: reduce it first"
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
    """Makes pictures (..., 3) uint8 grey by their luminance (ITU-R BT.601).

    The result still has three channels, as grey models need.
    """
    luminance = pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return np.repeat(luminance.round().astype(np.uint8)[..., None], 3, axis=-1)


def load_prepared(folder: Path, digest: str) -> np.ndarray:
    """Loads a saved picture (height, width, 3) uint8.

    Raises:
        UsageError: the picture is gone, or is another one now.
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
    """Decodes the pixels of a PNG file (height, width, 3) uint8."""
    image = Image.open(io.BytesIO(data), formats=["PNG"])
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"it claims {image.width} x {image.height} pixels")
    return np.asarray(image.convert("RGB"))
