"""A figure for print: marks on a sheet of paper, from which every format is made, so that all of them agree.

Lengths are points (1/72 inch), from the upper left corner of the sheet. Shapes lie lowest, pictures on them, texts on
top; within each kind the later lie on the earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..edits.recipe import Recipe
from ..edits.sheet import Box, Cell, sheet_text
from ..errors import UsageError
from .fonts import ASCENT, DESCENT, LEADING, width_of, wrapped
from .palette import INK

POINTS = 72.0
"""In an inch."""

WIDTHS = {"single": 3.3, "double": 6.9}
"""Of a column, and of two with what is between them, in inches."""

SCALE = 2
"""Of the PNG: 150 pixels an inch times this."""

KAPPA = 0.5523
"""How far the handles of a Bézier curve stand off, in radii, for it to be a quarter of a circle."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """``width`` of the sheet in inches, ``size`` of its type in points: as large in print as is said here.
    ``captioned``: whether the caption is drawn below; a paper often sets its own."""

    width: float = WIDTHS["double"]
    size: float = 8.0
    captioned: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 20:
            raise UsageError(f"a figure is 2 to 20 inches wide, got {self.width:g}")
        if not 4 <= self.size <= 24:
            raise UsageError(f"the type of a figure has 4 to 24 points, got {self.size:g}")

    @property
    def points(self) -> float:
        return self.width * POINTS

    @property
    def small(self) -> float:
        """The size of what is less important; no less than 5 points, the least that most publishers take."""
        return max(min(self.size, 5.0), 0.875 * self.size)


@dataclass(frozen=True, kw_only=True)
class Text:
    """One line of text. ``y``: its baseline. ``anchor``: which of its parts lies at ``x``: start, middle or end.
    ``upward``: turned by 90 degrees, to be read from below."""

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
    """A line or an area. ``moves``: points it goes to: (x, y) straight, (x1, y1, x2, y2, x, y) along a Bézier curve."""

    moves: tuple[tuple[float, ...], ...]
    stroke: str = ""
    width: float = 0.75
    fill: str = ""
    dash: tuple[float, ...] = ()

    @property
    def closed(self) -> bool:
        return bool(self.fill)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """``pixels``: (height, width, 3) uint8, kept as they are in SVG and PDF. ``recipe``: what made it, if known."""

    x: float
    y: float
    width: float
    height: float
    pixels: np.ndarray
    title: str
    recipe: Recipe | None = None


Mark = Text | Shape | Picture


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Marks on a sheet of ``width`` by ``height`` points. It shows itself in a notebook, and saves itself as PNG, SVG
    or PDF. ``caption`` is its alternative text too, whether or not it is drawn."""

    width: float
    height: float
    marks: tuple[Mark, ...]
    title: str
    caption: str = ""

    @property
    def texts(self) -> list[Text]:
        return [mark for mark in self.marks if isinstance(mark, Text)]

    @property
    def shapes(self) -> list[Shape]:
        return [mark for mark in self.marks if isinstance(mark, Shape)]

    @property
    def pictures(self) -> list[Picture]:
        return [mark for mark in self.marks if isinstance(mark, Picture)]

    @property
    def svg(self) -> str:
        """Texts as texts, lines as lines, pictures as PNGs of their own pixels."""
        from .svg import svg_of

        return svg_of(self)

    @property
    def pdf(self) -> bytes:
        """One page of the figure's size, with its font inside."""
        from .pdf import pdf_of

        return pdf_of(self)

    def png(self, scale: int = SCALE) -> bytes:
        """Of ``scale`` times 150 pixels an inch, with the recipe of every picture that has one inside."""
        from .png import png_of

        return png_of(self, scale)

    def sheet(self, scale: int = SCALE) -> str:
        """The recipes, with where their pictures lie in the PNG; empty if there are none."""
        from .png import pixel_box

        cells = [
            Cell(recipe=picture.recipe, title=picture.title, box=Box(**pixel_box(picture, scale)))
            for picture in self.pictures
            if picture.recipe
        ]
        return sheet_text(cells) if cells else ""

    def save(self, path: str | Path) -> Path:
        """Writes it to a file whose name ends in .png, .svg or .pdf.

        Raises:
            UsageError: the name ends in something else, or the file cannot be written.
        """
        path = Path(path)
        makers = {".png": self.png, ".svg": lambda: self.svg.encode(), ".pdf": lambda: self.pdf}
        if path.suffix.lower() not in makers:
            raise UsageError(f"a figure is saved as {', '.join(makers)}; got {path.name!r}")
        try:
            path.write_bytes(makers[path.suffix.lower()]())
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from error
        return path

    def _repr_svg_(self) -> str:
        return self.svg


def line(*points: tuple[float, float], stroke: str, width: float = 0.75, dash: tuple[float, ...] = ()) -> Shape:
    """Straight from point to point."""
    return Shape(moves=points, stroke=stroke, width=width, dash=dash)


def area(*points: tuple[float, float], fill: str, stroke: str = "", width: float = 0.75) -> Shape:
    """A filled polygon."""
    return Shape(moves=points, fill=fill, stroke=stroke, width=width)


def arch(left: float, right: float, foot: tuple[float, float], top: float, radius: float, stroke: str,
         width: float = 0.75) -> Shape:  # fmt: skip
    """Up from one foot, over, and down to the other, its shoulders rounded. ``foot``: the heights of the two feet."""
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


def frame(x: float, y: float, width: float, height: float, stroke: str, thick: float, fill: str = "#FFFFFF") -> Shape:
    """A rectangle that goes around what it is given, on the outside."""
    o = thick / 2
    corners = ((x - o, y - o), (x + width + o, y - o), (x + width + o, y + height + o), (x - o, y + height + o))
    return area(*corners, fill=fill, stroke=stroke, width=thick)


def disc(x: float, y: float, radius: float, fill: str) -> Shape:
    """A filled circle."""
    r, k = radius, radius * KAPPA
    moves = (
        (x + r, y),
        (x + r, y + k, x + k, y + r, x, y + r),
        (x - k, y + r, x - r, y + k, x - r, y),
        (x - r, y - k, x - k, y - r, x, y - r),
        (x + k, y - r, x + r, y - k, x + r, y),
    )
    return Shape(moves=moves, fill=fill)


def finished(marks: Sequence[Mark], height: float, style: Style, title: str, caption: str) -> Figure:
    """The figure of marks that reach down to ``height``, with the caption below them if the style has one."""
    marks, size = list(marks), style.size
    lines = wrapped(caption, style.points, size) if style.captioned else []
    for number, text in enumerate(lines):
        marks.append(Text(x=0, y=height + size * (1.5 + LEADING * number), text=text, size=size))
    if lines:
        height = marks[-1].y + DESCENT * size + 1
    return Figure(width=style.points, height=height, marks=tuple(marks), title=title, caption=caption)
