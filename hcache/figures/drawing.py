"""A figure for print: its size, its formats, and the file it is saved to.

Figures of pictures are sheets of our own, from which every format is made, because the PNG says
where every picture lies and which recipe made it. Plots are matplotlib's (``plot.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..atomic import write_bytes
from ..errors import UsageError, refused
from .fonts import DESCENT, LEADING, wrapped
from .marks import POINTS, Mark, Sheet, Text
from .pdf import pdf_of
from .png import png_of
from .svg import svg_of

WIDTHS = {"single": 3.3, "double": 6.9}
"""Of a column, and of two with what is between them, in inches."""

SCALE = 2
"""Of the PNG: 150 pixels an inch times this."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a figure is set: its width and its type.

    ``width`` of the sheet in inches, ``size`` of its type in points: as large in print as is
    said here. ``captioned``: whether the caption is drawn below; a paper often sets its own.
    """

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
        """The width in points."""
        return self.width * POINTS

    @property
    def small(self) -> float:
        """The size of what is less important.

        No less than 5 points, the least that most publishers take.
        """
        return max(min(self.size, 5.0), 0.875 * self.size)


class Printed(ABC):
    """What has a format for each way to print it."""

    @property
    @abstractmethod
    def svg(self) -> str:
        """The SVG text."""

    @property
    @abstractmethod
    def pdf(self) -> bytes:
        """The PDF file."""

    @abstractmethod
    def png(self, scale: int = SCALE) -> bytes:
        """The PNG file, of ``scale`` times 150 pixels an inch."""

    def save(self, path: str | Path) -> Path:
        """Writes it to a file of one of the formats.

        The file's name ends in .png, .svg or .pdf.

        Raises:
            UsageError: the name ends in something else, or the file cannot be written.
        """
        path = Path(path)
        makers = {".png": self.png, ".svg": lambda: self.svg.encode(), ".pdf": lambda: self.pdf}
        if path.suffix.lower() not in makers:
            raise UsageError(f"a figure is saved as {', '.join(makers)}; got {path.name!r}")
        try:
            write_bytes(path, makers[path.suffix.lower()]())
        except OSError as error:
            raise refused(path, error) from error
        return path

    def _repr_svg_(self) -> str:
        """How a notebook shows it."""
        return self.svg


@dataclass(frozen=True, kw_only=True)
class Figure(Sheet, Printed):
    """A sheet that shows itself in a notebook, and saves itself.

    As PNG, SVG or PDF.
    """

    @property
    def svg(self) -> str:
        """The SVG: texts as texts, lines as lines.

        Pictures are PNGs of their own pixels.
        """
        return svg_of(self)

    @property
    def pdf(self) -> bytes:
        """One page of the figure's size, with its font inside."""
        return pdf_of(self)

    def png(self, scale: int = SCALE) -> bytes:
        """Of ``scale`` times 150 pixels an inch.

        The recipe of every picture that has one is inside.
        """
        return png_of(self, scale)


def finished(
    marks: Sequence[Mark], height: float, style: Style, title: str, caption: str
) -> Figure:
    """The figure of marks that reach down to ``height``.

    With the caption below them if the style has one.
    """
    marks, size = list(marks), style.size
    lines = wrapped(caption, style.points, size) if style.captioned else []
    for number, text in enumerate(lines):
        marks.append(Text(x=0, y=height + size * (1.5 + LEADING * number), text=text, size=size))
    if lines:
        height += size * (1.5 + LEADING * (len(lines) - 1)) + DESCENT * size + 1
    return Figure(
        width=style.points, height=height, marks=tuple(marks), title=title, caption=caption
    )
