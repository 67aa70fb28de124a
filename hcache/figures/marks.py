"""What figures for print are made of: texts, shapes and pictures on a sheet of paper.

Lengths are points (1/72 inch), from the upper left corner of the sheet. Shapes lie lowest, pictures
on them, texts on top; within each kind the later lie on the earlier.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..recipes.recipe import Recipe
from .fonts import ASCENT, DESCENT, width_of
from .palette import INK

POINTS = 72.0
"""In an inch."""

KAPPA = 0.5523
"""How far the handles of a Bézier curve stand off, in radii, for it to be a quarter of a circle."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """One line of text. ``y``: its baseline. ``anchor``: which of its parts lies at ``x``: start,
    middle or end. ``upward``: turned by 90 degrees, to be read from below."""

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
        """(left, top, right, bottom) of what it covers."""
        width = width_of(self.text, self.size, self.bold)
        start = -{"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        above, below = ASCENT * self.size, DESCENT * self.size
        if self.upward:
            return (self.x - above, self.y - start - width, self.x + below, self.y - start)
        return (self.x + start, self.y - above, self.x + start + width, self.y + below)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A line or an area. ``moves``: points it goes to: (x, y) straight, (x1, y1, x2, y2, x, y)
    along a Bézier curve.
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

    ``pixels``: (height, width, 3) uint8, kept as they are in SVG and PDF. ``recipe``: what made
    it, if known.
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
    """Marks on ``width`` by ``height`` points. ``caption`` is its alternative text, whether or
    not it is drawn.
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
    """Straight from point to point."""
    return Shape(moves=points, stroke=stroke, width=width, dash=dash)


def area(*points: tuple[float, float], fill: str, stroke: str = "", width: float = 0.75) -> Shape:
    """A filled polygon."""
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
    """A line up, over, and down, with round shoulders.

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
    """A rectangle that goes around what it is given, on the outside."""
    o = thick / 2
    corners = (
        (x - o, y - o),
        (x + width + o, y - o),
        (x + width + o, y + height + o),
        (x - o, y + height + o),
    )
    return area(*corners, fill=fill, stroke=stroke, width=thick)
