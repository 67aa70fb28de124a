"""The marks of figures for print: texts, shapes and pictures on a sheet of paper.

Lengths are points (1/72 inch) from the upper left corner of the sheet. Shapes are drawn first, then
pictures, then texts, each in their order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..recipes.recipe import Recipe
from .fonts import ASCENT, DESCENT, width_of
from .palette import INK

POINTS = 72.0
"""Points per inch."""

KAPPA = 0.5523
"""The distance of the handles of a Bézier curve for a quarter of a circle, in radii."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """One line of text.

    ``y``: its baseline. ``anchor``: the part of the text that is at ``x``: start, middle or end.
    ``upward``: rotated by 90 degrees, so that it reads from bottom to top.
    """

    x: float
    y: float
    text: str
    size: float
    bold: bool = False
    colour: str = INK
    anchor: str = "start"
    upward: bool = False

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The box (left, top, right, bottom) that it covers."""
        width = width_of(self.text, self.size, self.bold)
        start = -{"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        above, below = ASCENT * self.size, DESCENT * self.size
        if self.upward:
            return (self.x - above, self.y - start - width, self.x + below, self.y - start)
        return (self.x + start, self.y - above, self.x + start + width, self.y + below)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A line or an area.

    ``moves``: the next points: (x, y) straight, or (x1, y1, x2, y2, x, y) along a Bézier curve.
    """

    moves: tuple[tuple[float, ...], ...]
    stroke: str = ""
    width: float = 0.75
    fill: str = ""
    dash: tuple[float, ...] = ()

    @property
    def closed(self) -> bool:
        """Whether the shape is filled."""
        return bool(self.fill)


@dataclass(frozen=True, kw_only=True)
class PlacedPicture:
    """A picture on a sheet.

    ``pixels``: (height, width, 3) uint8, unchanged in SVG and PDF. ``recipe``: the recipe of the
    picture, if known.
    """

    x: float
    y: float
    width: float
    height: float
    pixels: np.ndarray
    title: str
    recipe: Recipe | None = None


Mark = Text | Shape | PlacedPicture


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Marks on ``width`` by ``height`` points.

    ``caption`` is the alternative text, whether it is drawn or not.
    """

    width: float
    height: float
    marks: tuple[Mark, ...]
    title: str
    caption: str = ""

    @property
    def texts(self) -> list[Text]:
        """The texts among the marks."""
        return [mark for mark in self.marks if isinstance(mark, Text)]

    @property
    def shapes(self) -> list[Shape]:
        """The lines and areas among the marks."""
        return [mark for mark in self.marks if isinstance(mark, Shape)]

    @property
    def pictures(self) -> list[PlacedPicture]:
        """The pictures among the marks."""
        return [mark for mark in self.marks if isinstance(mark, PlacedPicture)]


def line(
    *points: tuple[float, float], stroke: str, width: float = 0.75, dash: tuple[float, ...] = ()
) -> Shape:
    """Adds a straight line from point to point."""
    return Shape(moves=points, stroke=stroke, width=width, dash=dash)


def area(*points: tuple[float, float], fill: str, stroke: str = "", width: float = 0.75) -> Shape:
    """Adds a filled polygon."""
    return Shape(moves=points, fill=fill, stroke=stroke, width=width)


def arch(
    left: float,
    right: float,
    foot: tuple[float, float],
    top: float,
    radius: float,
    stroke: str,
    width: float = 0.75,
) -> Shape:
    """Adds a line up, over, and down, with round shoulders.

    ``foot``: the heights of the two feet.
    """
    r = max(0.0, min(radius, (right - left) / 2, min(foot) - top))
    k = r * (1 - KAPPA)
    moves = (
        (left, foot[0]),
        (left, top + r),
        (left, top + k, left + k, top, left + r, top),
        (right - r, top),
        (right - k, top, right, top + k, right, top + r),
        (right, foot[1]),
    )
    return Shape(moves=moves, stroke=stroke, width=width)


def frame(
    x: float,
    y: float,
    width: float,
    height: float,
    stroke: str,
    thick: float,
    fill: str = "#FFFFFF",
) -> Shape:
    """Adds a rectangle around the outside of a box."""
    o = thick / 2
    corners = (
        (x - o, y - o),
        (x + width + o, y - o),
        (x + width + o, y + height + o),
        (x - o, y + height + o),
    )
    return area(*corners, fill=fill, stroke=stroke, width=thick)
