"""A plot for print: a matplotlib figure of the size, type and colours of the other figures.

matplotlib draws what has axes, so that a reader can go on with an Axes. Figures that are made of
pictures (``ufigure.py``, ``table.py``) have a layout of their own: a PNG of them says where each
picture lies and which recipe made it, to the pixel, and keeps every picture's own pixels.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.font_manager import fontManager
from matplotlib.rcsetup import cycler
from matplotlib.text import Text

from .drawing import SCALE, Printed, Style
from .fonts import DESCENT, FAMILY, LEADING, font_path, width_of, wrapped
from .marks import POINTS
from .palette import CATEGORIES, INK, PAPER, SEQUENTIAL
from .png import dots_of
from .svg import fonts_of

MOST_LAYOUTS, STILL = 6, 1e-3
"""The number of layout passes, and the share of its size below which a movement counts as none."""


@dataclass(frozen=True, kw_only=True)
class Plot(Printed):
    """A plot that shows itself in a notebook, and saves itself.

    The formats are PNG, SVG and PDF. ``axes``: those of the data, from left to right; anything
    drawn on them is in every format. ``figure``: the matplotlib figure. ``caption``: its
    alternative text, whether it is drawn or not.
    """

    figure: Canvas
    axes: tuple[Axes, ...]
    style: Style
    title: str
    caption: str

    @property
    def ax(self) -> Axes:
        """The first of the axes."""
        return self.axes[0]

    @property
    def width(self) -> float:
        """The width in points."""
        return float(self.figure.get_size_inches()[0] * POINTS)

    @property
    def height(self) -> float:
        """The height in points, including a drawn caption."""
        return float(self.figure.get_size_inches()[1] * POINTS)

    @property
    def svg(self) -> str:
        """Returns the SVG: texts as texts, with the font for browsers inside."""
        about = {"Title": self.title, "Description": self.caption, "Creator": "hcache"}
        text = self._saved("svg", metadata={**about, "Date": None}).decode()
        text = text.replace("'Arimo'", FAMILY)
        named = f"<title>{escape(self.title)}</title><desc>{escape(self.caption)}</desc>"
        start = text.index("<defs>")
        return f"{text[:start]}{named}{fonts_of({False})}{text[start:]}"

    @property
    def pdf(self) -> bytes:
        """Returns one PDF page of the plot's size, with its font inside."""
        about = {"Title": self.title, "Subject": self.caption, "Creator": "hcache"}
        return self._saved("pdf", metadata={**about, "CreationDate": None})

    def png(self, scale: int = SCALE) -> bytes:
        """Returns the PNG, with ``scale`` times 150 pixels per inch.

        Raises:
            UsageError: the PNG would have too many pixels.
        """
        width, height = self.figure.get_size_inches() * POINTS
        about = {"Title": self.title, "Description": self.caption, "Software": "hcache"}
        return self._saved("png", dpi=dots_of(width, height, scale), metadata=about)

    def _saved(self, kind: str, **options: Any) -> bytes:
        """Returns the file's bytes.

        Raises:
            UsageError: a text has characters that the font lacks.
        """
        for text in self.figure.findobj(Text):
            width_of(text.get_text().replace("\n", " "), 1.0)  # raises
        buffer = io.BytesIO()
        with in_print(self.style), _settled(self.figure):
            self.figure.savefig(buffer, format=kind, **options)
        return buffer.getvalue()


@contextmanager
def in_print(style: Style) -> Iterator[None]:
    """Applies matplotlib's settings for print during the block."""
    _add_font()
    small = style.small
    with matplotlib.rc_context(
        {
            "font.family": ["Arimo"],
            "font.size": style.size,
            "axes.labelsize": style.size,
            "axes.titlesize": style.size,
            "axes.titlelocation": "left",
            "axes.titlepad": 0.4 * style.size,
            "xtick.labelsize": small,
            "ytick.labelsize": small,
            "text.color": INK,
            "axes.labelcolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.edgecolor": INK,
            "axes.linewidth": 0.5,
            "xtick.major.width": 0.5,
            "ytick.major.width": 0.5,
            "xtick.major.size": 2.5,
            "ytick.major.size": 2.5,
            "xtick.major.pad": 1.5,
            "ytick.major.pad": 1.5,
            "axes.labelpad": 2.0,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": cycler(color=CATEGORIES),
            "image.cmap": SEQUENTIAL.lower(),
            "figure.facecolor": PAPER,
            "text.hinting": "none",  # as wide in pixels as in points
            "text.parse_math": False,  # dollars in a name are literal
            "pdf.fonttype": 42,
            "svg.fonttype": "none",
            "svg.hashsalt": "hcache",  # otherwise the names inside differ each time
            "savefig.bbox": None,  # keep the requested size
        }
    ):
        yield


@contextmanager
def on_paper(style: Style, height: float) -> Iterator[Canvas]:
    """Returns an empty figure for print.

    It is as wide as the style and ``height`` points high, with settings for print.
    """
    with in_print(style):
        yield Canvas(figsize=(style.width, height / POINTS), layout="constrained")


def finished_plot(
    figure: Canvas, axes: Sequence[Axes], style: Style, title: str, caption: str
) -> Plot:
    """Returns the plot with its caption below, if the style has one."""
    size, height = style.size, figure.get_size_inches()[1] * POINTS
    lines = wrapped(caption, style.points, size) if style.captioned else []
    below = size * (1.0 + LEADING * len(lines)) if lines else 0.0
    whole = height + below
    figure.set_size_inches(style.width, whole / POINTS)
    for number, text in enumerate(reversed(lines)):
        base = (DESCENT * size + 1 + LEADING * size * number) / whole
        figure.text(0, base, text, size=size, verticalalignment="baseline", in_layout=False)
    rect = (0, below / whole, 1, 1 - below / whole)
    figure.set_layout_engine("constrained", rect=rect, w_pad=0.01, h_pad=0.01)
    return Plot(figure=figure, axes=tuple(axes), style=style, title=title, caption=caption)


@contextmanager
def _settled(figure: Canvas) -> Iterator[None]:
    """Fixes the layout during the block, so that every format has the same.

    Each drawing computes the layout again, and the ticks of the last layout change the next.
    """
    before = np.inf
    for _ in range(MOST_LAYOUTS):
        figure.draw_without_rendering()
        places = np.array([ax.get_position().bounds for ax in figure.axes])
        if np.abs(places - before).max() < STILL:
            break
        before = places
    engine = figure.get_layout_engine()
    figure.set_layout_engine("none")
    try:
        yield
    finally:
        figure.set_layout_engine(engine)


@cache
def _add_font() -> None:
    """Registers the typeface of figures with matplotlib, once."""
    fontManager.addfont(font_path())
