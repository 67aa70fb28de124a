"""Arrays as pictures that a browser shows without another request, and sheets of them."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from PIL import Image

from ..images.pngs import png_bytes, read_recipe

__all__ = ["contact_sheet", "data_uri", "png_bytes", "read_recipe", "sprite", "thumbnail_uri"]


THUMBNAIL, QUALITY = 128, 90


def thumbnail_uri(picture: np.ndarray) -> str:
    """Returns a picture as a small ``data:`` address.

    The picture is (height, width, 3) uint8. The result is lossy and at most 128 pixels large.
    """
    return (
        "data:image/jpeg;base64," + base64.b64encode(_jpeg(_reduced(picture, THUMBNAIL))).decode()
    )


def sprite(pictures: np.ndarray, cell: int) -> bytes:
    """Returns pictures (n, height, width, 3) uint8 in one JPEG.

    Each is ``cell`` pixels wide, row by row in a square.
    """
    columns = math.ceil(math.sqrt(len(pictures)))
    height = max(1, round(cell * pictures.shape[1] / pictures.shape[2]))
    sheet = Image.new("RGB", (columns * cell, -(-len(pictures) // columns) * height))
    for i, picture in enumerate(pictures):
        small = Image.fromarray(picture)
        small = (
            small
            if small.size == (cell, height)
            else small.resize((cell, height), Image.Resampling.BILINEAR)
        )
        sheet.paste(small, (i % columns * cell, i // columns * height))
    return _jpeg(sheet)


def _reduced(picture: np.ndarray, most: int) -> Image.Image:
    image = Image.fromarray(picture)
    image.thumbnail((most, most))
    return image


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY, subsampling=0)
    return out.getvalue()


def data_uri(picture: np.ndarray) -> str:
    """Returns a picture (height, width, 3) uint8 as a ``data:`` address."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode()


def contact_sheet(
    pictures: np.ndarray, columns: int, gap: int = 4
) -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
    """Arranges pictures in rows on white, and returns their boxes.

    Pictures are (n, height, width, 3) uint8, in rows of ``columns``. The result is the sheet, and
    the box (left, top, width, height) of each picture in it.
    """
    n, height, width, _ = pictures.shape
    rows = -(-n // columns)
    sheet = np.full(
        (rows * (height + gap) + gap, min(columns, n) * (width + gap) + gap, 3), 255, np.uint8
    )
    boxes = []
    for i, picture in enumerate(pictures):
        top, left = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = picture
        boxes.append((left, top, width, height))
    return sheet, boxes
