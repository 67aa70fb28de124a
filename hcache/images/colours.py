"""Converts all kinds of pixels that Pillow opens to 8-bit sRGB, or refuses them.

Pillow's own ``convert("RGB")`` clips 16-bit and float tones at 255, which turns a picture white or
black. It also ignores colour profiles.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

from ..errors import UsageError

_BITS_A_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF


def in_srgb(image: Image.Image, source: Image.Image, name: str) -> tuple[Image.Image, list[str]]:
    """Converts a picture to sRGB of 8 bits.

    Also returns what was done to the picture, in words.

    Args:
        image: The decoded, upright picture.
        source: The picture as it was opened. It knows the file's description of its samples.
        name: The picture's name, for messages.

    Raises:
        UsageError: its numbers have no agreed black and white, or its mode is unknown.
    """
    notes: list[str] = []
    mode, profile, alpha = image.mode, image.info.get("icc_profile"), _alpha(image)
    if mode in ("I", "F") or mode.startswith("I;16"):
        image = _eight_bits(image, source, name, notes)
    elif mode not in ("RGB", "RGBA", "P", "PA", "RGBX", "RGBa"):
        notes.append(f"turned from {mode} to RGB")
    colour = _converted(image, profile, name, notes)
    if alpha is not None and alpha.getextrema() != (255, 255):
        notes.append("put on white where it was transparent")
        colour = Image.composite(colour, Image.new("RGB", colour.size, "white"), alpha)
    return colour, notes


def _alpha(image: Image.Image) -> Image.Image | None:
    """Returns how opaque each pixel is (L), or None if all are."""
    if image.mode in ("RGBA", "LA", "PA"):
        return image.getchannel("A")
    if image.mode in ("RGBa", "La"):
        return image.getchannel("a")
    clear = image.info.get("transparency")
    if clear is None:
        return None
    if image.mode == "P":
        return image.convert("RGBA").getchannel("A")
    pixels = np.asarray(image).astype(np.int64)
    hidden = (pixels == np.asarray(clear)).reshape(*pixels.shape[:2], -1).all(-1)
    return Image.fromarray(np.where(hidden, 0, 255).astype(np.uint8))


def _eight_bits(
    image: Image.Image, source: Image.Image, name: str, notes: list[str]
) -> Image.Image:
    """Converts grey tones of 16 bits, or floats from 0 to 1, to 8 bits."""
    values, tags = np.asarray(image).astype(np.float64), getattr(source, "tag_v2", {})
    if image.mode == "F":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            low, high = (f"{value:.4g}" for value in (np.nanmin(values), np.nanmax(values)))
            raise UsageError(
                f"{name} holds floating-point tones from {low} to {high}; expected 0 (black) to 1"
                " (white): scale them first, or save it with 8 or 16 bits"
            )
        white, told = 1.0, "floating-point tones from 0 to 1"
    elif image.mode == "I" and source.format not in ("PNG", "PPM"):
        raise UsageError(
            f"{name} holds 32-bit whole numbers ({values.min():.0f} to {values.max():.0f}), and no"
            " value is agreed to be white: save it with 8 or 16 bits"
        )
    else:
        bits = int(np.ravel(tags.get(_BITS_A_SAMPLE, 16))[0])
        white, told = 2.0**bits - 1, f"{bits}-bit tones"
    share = values / white
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        share = 1 - share
    notes.append(f"{told} scaled to 8 bits")
    return Image.fromarray((share * 255).round().clip(0, 255).astype(np.uint8))


def _converted(
    image: Image.Image, profile: bytes | None, name: str, notes: list[str]
) -> Image.Image:
    """Converts to RGB, by the colour profile if there is one other than sRGB."""
    plain = {"RGBA": "RGB", "RGBX": "RGB", "LA": "L", "1": "L"}
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA").convert("RGB")
    elif image.mode in ("RGBa", "La"):
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    image = image.convert(plain[image.mode]) if image.mode in plain else image
    if image.mode == "LAB":
        return _by_profiles(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    if profile and image.mode in ("RGB", "L", "CMYK"):
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            described = (own.profile.profile_description or "").strip()
            if "srgb" in described.lower():
                return image.convert("RGB")
            result = _by_profiles(image, own)
            notes.append(
                f"turned to sRGB from its colour profile ({described or 'without a name'})"
            )
            return result
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            notes.append("its colour profile does not fit it and is left out")
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise UsageError(
            f"{name} has pixels of the mode {image.mode}, which cannot be turned to colour: save it"
            " as RGB or grey"
        ) from error


def _by_profiles(image: Image.Image, own: ImageCms.ImageCmsProfile) -> Image.Image:
    return ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), image.mode, "RGB").apply(
        image
    )
