"""A figure as PNG, with the recipe of every picture in it and its resolution."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import UsageError
from ..images.pngs import png_bytes
from ..recipes.sheet import Box, SheetCell, sheet_text
from .fonts import font_path
from .marks import POINTS, PlacedPicture, Shape, Sheet, Text
from .palette import PAPER

DPI = 150
"""Pixels per inch at scale 1."""

FINER, CURVE = 3, 10
"""The factor by which lines are drawn finer before they are reduced, and the number of straight
pieces of a curve.
"""

MOST_SCALE, MOST_PIXELS = 8, 60_000_000


def png_of(figure: Sheet, scale: int) -> bytes:
    """Returns the PNG file.

    Raises:
        UsageError: the PNG would have too many pixels.
    """
    factor = dots_of(figure.width, figure.height, scale) / POINTS
    size = (round(figure.width * factor), round(figure.height * factor))
    sheet = _draw_shapes(figure, size, factor)
    for picture in figure.pictures:
        box = pixel_box(picture, scale)
        image = Image.fromarray(picture.pixels)
        if image.size != (box["width"], box["height"]):
            image = image.resize((box["width"], box["height"]), Image.Resampling.BICUBIC)
        sheet.paste(image, (box["left"], box["top"]))
    for text in figure.texts:
        _draw_text(sheet, text, factor)
    return png_bytes(np.asarray(sheet), recipes_of(figure, scale) or None, DPI * scale)


def dots_of(width: float, height: float, scale: int) -> int:
    """Returns the pixels per inch of a figure at a scale.

    The figure's size is in points.

    Raises:
        UsageError: the scale is out of range, or there would be too many pixels.
    """
    factor = _factor(scale)
    across, down = round(width * factor), round(height * factor)
    if across * down > MOST_PIXELS:
        raise UsageError(
            f"this figure would have {across} x {down} pixels; choose a smaller scale than {scale}"
        )
    return DPI * scale


def pixel_box(picture: PlacedPicture, scale: int) -> dict[str, int]:
    """Returns the box of a picture in the PNG.

    It is left, top, width and height in pixels.
    """
    f = _factor(scale)
    left, top = round(picture.x * f), round(picture.y * f)
    right, bottom = round((picture.x + picture.width) * f), round((picture.y + picture.height) * f)
    return {"left": left, "top": top, "width": right - left, "height": bottom - top}


def recipes_of(figure: Sheet, scale: int) -> str:
    """Returns the recipes of the pictures, as stored in the PNG.

    They include the boxes of the pictures in the PNG. The text is empty if there are none.
    """
    cells = [
        SheetCell(recipe=picture.recipe, title=picture.title, box=Box(**pixel_box(picture, scale)))
        for picture in figure.pictures
        if picture.recipe
    ]
    return sheet_text(cells) if cells else ""


def _factor(scale: int) -> float:
    """Returns pixels per point."""
    if not 1 <= scale <= MOST_SCALE:
        raise UsageError(f"the scale of a PNG is 1 to {MOST_SCALE}, got {scale}")
    return DPI * scale / POINTS


def _draw_shapes(figure: Sheet, size: tuple[int, int], factor: float) -> Image.Image:
    """Draws all shapes on paper. Pillow draws lines without smoothing, so they are drawn finer and
    reduced.
    """
    finer = FINER if size[0] * size[1] * FINER**2 <= MOST_PIXELS else 1
    sheet = Image.new("RGB", (size[0] * finer, size[1] * finer), PAPER)
    draw = ImageDraw.Draw(sheet)
    for shape in figure.shapes:
        points = [(x * factor * finer, y * factor * finer) for x, y in _flattened(shape)]
        if shape.fill:
            draw.polygon(points, fill=shape.fill)
        if shape.stroke:
            width = max(1, round(shape.width * factor * finer))
            for part in _dashed(
                [*points, points[0]] if shape.closed else points, shape.dash, factor * finer
            ):
                draw.line(part, fill=shape.stroke, width=width, joint="curve")
    return sheet.reduce(finer) if finer > 1 else sheet


def _flattened(shape: Shape) -> list[tuple[float, float]]:
    """Returns curves as short straight pieces."""
    points: list[tuple[float, float]] = []
    for move in shape.moves:
        if len(move) == 2:
            points.append((move[0], move[1]))
            continue
        corners = np.array([points[-1], *zip(move[::2], move[1::2], strict=True)])
        t = np.linspace(0, 1, CURVE + 1)[1:, None]
        a, b, c, d = (1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
        points += [
            tuple(p) for p in a * corners[0] + b * corners[1] + c * corners[2] + d * corners[3]
        ]
    return points


def _dashed(
    points: list[tuple[float, float]], dash: tuple[float, ...], factor: float
) -> list[list[tuple[float, float]]]:
    """Returns the drawn pieces of a dashed line. ``dash``: on and off, in points."""
    if not dash:
        return [points]
    on, off = (length * factor for length in (dash[0], dash[-1]))
    parts = []
    for a, b in zip(np.array(points[:-1]), np.array(points[1:]), strict=True):
        length = float(np.hypot(*(b - a)))
        for start in np.arange(0, length, on + off):
            ends = (start, min(start + on, length))
            parts.append([tuple(a + (b - a) * (end / length)) for end in ends])
    return parts


def _draw_text(sheet: Image.Image, text: Text, factor: float) -> None:
    size = text.size * factor
    font = ImageFont.truetype(
        io.BytesIO(font_path(text.bold).read_bytes()), size, layout_engine=ImageFont.Layout.BASIC
    )
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[text.anchor]
    if not text.upward:
        ImageDraw.Draw(sheet).text(
            (text.x * factor, text.y * factor), text.text, text.colour, font, anchor
        )
        return
    left, top, right, bottom = (round(side * factor) for side in text.box)
    flat = Image.new("L", (bottom - top, right - left))
    start = (0, round(text.x * factor) - left)
    ImageDraw.Draw(flat).text(start, text.text, 255, font, "ls")
    sheet.paste(text.colour, (left, top), flat.transpose(Image.Transpose.ROTATE_90))
