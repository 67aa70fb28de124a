"""Arrays as pictures that a browser shows without asking the server again, and sheets of them."""

from __future__ import annotations

import base64

import numpy as np

from ..cache.pngs import png_bytes, read_recipe

__all__ = ["contact_sheet", "data_uri", "png_bytes", "read_recipe"]


def data_uri(picture: np.ndarray) -> str:
    """A picture (height, width, 3) uint8 as a ``data:`` address."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode()


def contact_sheet(
    pictures: np.ndarray, columns: int, gap: int = 4
) -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
    """Pictures (n, height, width, 3) uint8 in rows of ``columns`` on white: the sheet, and each one's box in it
    (left, top, width, height)."""
    n, height, width, _ = pictures.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (height + gap) + gap, min(columns, n) * (width + gap) + gap, 3), 255, np.uint8)
    boxes = []
    for i, picture in enumerate(pictures):
        top, left = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = picture
        boxes.append((left, top, width, height))
    return sheet, boxes
