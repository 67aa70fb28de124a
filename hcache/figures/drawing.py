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
"""The width of one column, and of two with the space between, in inches."""

SCALE = 2
"""The scale of the PNG, times 150 pixels per inch."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """The style of a figure: its width and its type.

    ``width`` of the sheet is in inches, and ``size`` of the type in points, both as in print.
    ``captioned``: whether the caption is drawn below the figure. A paper often sets its own.
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
        """The size of less important text.

        It is at least 5 points, the smallest size that most publishers accept.
        """
        return max(min(self.size, 5.0), 0.875 * self.size)


class Printed(ABC):
    """What has a format for each way to print it."""

    @property
    @abstractmethod
    def svg(self) -> str:
        """Returns the SVG text."""

    @property
    @abstractmethod
    def pdf(self) -> bytes:
        """Returns the PDF file."""

    @abstractmethod
    def png(self, scale: int = SCALE) -> bytes:
        """Returns the PNG file, with ``scale`` times 150 pixels per inch."""

    def save(self, path: str | Path) -> Path:
        """Writes it to a file of one of the formats.

        The file's name ends in .png, .svg or .pdf.

        Raises:
            UsageError: the name has another suffix, or the file cannot be written.
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
        """Returns the SVG for a notebook."""
        return self.svg


@dataclass(frozen=True, kw_only=True)
class Figure(Sheet, Printed):
    """A sheet that shows itself in a notebook, and saves itself.

    The formats are PNG, SVG and PDF.
    """

    @property
    def svg(self) -> str:
        """Returns the SVG, with texts as texts and lines as lines.

        Pictures are PNGs with their own pixels.
        """
        return svg_of(self)

    @property
    def pdf(self) -> bytes:
        """Returns one PDF page of the figure's size, with its font inside."""
        return pdf_of(self)

    def png(self, scale: int = SCALE) -> bytes:
        """Returns the PNG, with ``scale`` times 150 pixels per inch.

        It contains the recipe of every picture that has one.
        """
        return png_of(self, scale)


def finished(
    marks: Sequence[Mark], height: float, style: Style, title: str, caption: str
) -> Figure:
    """Returns the figure of marks down to ``height``.

    The caption is below them if the style has one.
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
