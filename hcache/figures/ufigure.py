"""The U-figure for print: donor A and recipient B, the U as two trapezoids with its arcs, and on
every arc what becomes of B with A's activations there.

This is own code, and not matplotlib, because a PNG of it contains the exact place and the recipe of
every picture. Its SVG and PDF keep texts as text, in one font and as wide as in the layout.

After the figure of Training-Free Style and Content Transfer by Leveraging U-Net Skip Connections in
Stable Diffusion (Schaerf, Alfarano, Silvestri, Impett, 2025), https://arxiv.org/abs/2501.14524
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..edits.rendered import Rendered
from ..specs import Anatomy
from .drawing import Figure, Style, finished
from .fonts import ASCENT, DESCENT, shortened, width_of
from .marks import Mark, PlacedPicture, Text, arch, area, frame, line
from .palette import BOTTLENECK, DECODER, ENCODER, MUTED, tinted

ARC = "#98A2B3"
"""The width of the lines that are skips."""

LEFT, CLEAR = 0.19, 2.5
"""The share of the width for A and B, and the distance of texts from lines, in points."""


@dataclass(frozen=True, kw_only=True)
class Swapped:
    """The contents of the U-figure.

    ``cells``: site -> B with A's activations at that site only. ``names``: those of A and B.
    """

    anatomy: Anatomy
    donor: Rendered
    recipient: Rendered
    cells: dict[str, Rendered]
    names: tuple[str, str]
    caption: str

    def moved(self, site: str) -> float:
        """Returns how far a swap moves B towards A.

        It is the root mean square distance from B, divided by that of A from B; NaN if A is B.
        """
        apart = _distance(self.donor, self.recipient)
        return _distance(self.cells[site], self.recipient) / apart if apart else math.nan


@dataclass(frozen=True, kw_only=True)
class _U:
    """The layout of the U. Rows are counted from h, the lowest, outward. ``inner``, ``outer``: the
    distances from the centre where the trapezoids begin and end. Arcs are between the two.
    """

    groups: int
    left: float
    width: float
    side: float
    row: float
    inner: float
    strand: float
    top: float = 0.0

    @property
    def centre(self) -> float:
        return self.left + self.width / 2

    @property
    def outer(self) -> float:
        return self.width / 2

    @property
    def base(self) -> float:
        """The height of the line through the bottleneck."""
        return self.y(self.groups) + self.row * self.groups

    @property
    def tall(self) -> float:
        """Half the largest height of the trapezoids. At h it is a fifth of that."""
        return 0.62 * self.side

    @property
    def bottom(self) -> float:
        return self.base + max(self.tall, self.side / 2) + 2

    def y(self, row: int) -> float:
        """Returns the height of a row's middle, which is the top of its arc."""
        return self.top + max(self.side, self.row) / 2 + 1.5 + self.row * (self.groups - row)

    def x(self, group: int) -> float:
        """Returns the distance from the centre of a group's arc on the trapezoids."""
        return self.inner + (self.outer - self.inner) * (group - 0.25) / (self.groups + 0.25)

    def half(self, x: float) -> float:
        """Returns half the height of the trapezoids at a distance from the centre."""
        share = (x - self.inner) / (self.outer - self.inner)
        return self.tall * (0.2 + 0.8 * share)


def draw_u(what: Swapped, style: Style | None = None, caption: str | None = None) -> Figure:
    """Draws the U-figure.

    Args:
        what: The pictures.
        style: Its width and type.
        caption: A caption that replaces the default.
    """
    style = style or Style()
    u = _u_of(what.anatomy, style)
    marks: list[Mark] = [*_trapezoids(u, style), *_arcs(u, what.anatomy)]
    for row in range(u.groups, -1, -1):
        site = f"skip.{row}" if row else "h"
        marks += _site(u, row, site, what, style)
    marks += _pair(u, what, style)
    title = "The U-figure: B with A's activations at one site at a time"
    return finished(marks, u.bottom, style, title, what.caption if caption is None else caption)


def _u_of(anatomy: Anatomy, style: Style) -> _U:
    """Returns a layout as large as the width allows. Rows are as high as a picture or the text
    beside it, and together at least as high as A above B.
    """
    groups, width = len(anatomy.skips), style.points
    left = LEFT * width
    side = min(0.62 * (width - left) / (groups + 1), 0.105 * width + 8)
    strand = 0.0035 * width + 0.5
    beside = strand * (max(map(len, anatomy.skips), default=1) - 1) + 2 * CLEAR
    beside += (ASCENT + DESCENT) * (style.size + style.small) + 1
    row = max(side + max(3.0, 0.008 * width), beside)
    inner = side / 2 + width_of("skip.9", style.size, bold=True) + 5
    u = _U(
        groups=groups,
        left=left + 0.025 * width,
        width=width - left - 0.035 * width,
        side=side,
        row=row,
        inner=inner,
        strand=strand,
    )
    return replace(u, top=max(0.0, _pair_height(style) - u.bottom))


def _trapezoids(u: _U, style: Style) -> list[Mark]:
    marks: list[Mark] = []
    marks.append(
        line(
            (u.centre - u.inner, u.base), (u.centre + u.inner, u.base), stroke=BOTTLENECK, width=1.5
        )
    )
    for sign, colour, name in ((-1, ENCODER, "encoder"), (1, DECODER, "decoder")):
        near, far, low = u.centre + sign * u.inner, u.centre + sign * u.outer, u.half(u.inner)
        corners = (
            (near, u.base - low),
            (far, u.base - u.tall),
            (far, u.base + u.tall),
            (near, u.base + low),
        )
        marks.append(area(*corners, fill=tinted(colour), stroke=colour))
        middle = u.centre + sign * (u.inner + 0.56 * (u.outer - u.inner))
        text = shortened(name, u.outer - u.inner - 3, style.small)
        lower = u.base + ASCENT * style.small / 2
        marks.append(
            Text(x=middle, y=lower, text=text, size=style.small, colour=colour, anchor="middle")
        )
    return marks


def _arcs(u: _U, anatomy: Anatomy) -> list[Mark]:
    """Draws one line per skip tensor, in one bundle per group."""
    marks: list[Mark] = []
    for group in range(u.groups, 0, -1):
        count = len(anatomy.skips[group - 1])
        radius = min(0.45 * u.row, 14.0)
        for number in range(count):
            aside = (number - (count - 1) / 2) * u.strand
            x, foot = u.x(group) + aside, u.base - u.half(u.x(group) + aside)
            marks.append(
                arch(
                    u.centre - x,
                    u.centre + x,
                    (foot, foot),
                    u.y(group) - aside,
                    radius + aside,
                    ARC,
                    0.75,
                )
            )
    return marks


def _site(u: _U, row: int, site: str, what: Swapped, style: Style) -> list[Mark]:
    """Draws a site's result with its name above the arc and its distance below."""
    strands = u.strand * (len(what.anatomy.skips[row - 1]) - 1) / 2 if row else 0.5
    x, y = u.centre + u.side / 2 + 4, u.y(row)
    name = Text(x=x, y=y - strands - CLEAR, text=site, size=style.size, bold=True)
    if site not in what.cells:
        return [name]
    left, top = u.centre - u.side / 2, y - u.side / 2
    marks = [*_framed(left, top, u.side, what.cells[site], f"B with A's {site}", ARC, 0.75), name]
    if math.isfinite(moved := what.moved(site)):
        below = y + strands + CLEAR + ASCENT * style.small
        marks.append(Text(x=x, y=below, text=f"{moved:.2f}", size=style.small, colour=MUTED))
    return marks


def _pair_sizes(style: Style) -> tuple[float, float, float, float]:
    """Returns the sizes of A and B: the part above a picture, its side, the part below, and the
    distance between the two.
    """
    return (
        1.35 * style.size,
        LEFT * style.points - 2,
        3 + (ASCENT + DESCENT) * style.small,
        0.7 * style.size,
    )


def _pair_height(style: Style) -> float:
    head, side, foot, gap = _pair_sizes(style)
    return 2 * (head + side + foot) + gap


def _pair(u: _U, what: Swapped, style: Style) -> list[Mark]:
    """Draws A above B, at the middle of the left side, each with its letter above and its name
    below.
    """
    head, side, foot, gap = _pair_sizes(style)
    top = (u.bottom - _pair_height(style)) / 2
    marks: list[Mark] = []
    for letter, role, colour, cell, name in (
        ("A", "donor", BOTTLENECK, what.donor, what.names[0]),
        ("B", "recipient", ENCODER, what.recipient, what.names[1]),
    ):
        y = top + ASCENT * style.size
        after = 1 + width_of(f"{letter}  ", style.size, bold=True)
        role, name = shortened(role, side - after, style.size), shortened(name, side, style.small)
        below = top + head + side + 3 + ASCENT * style.small
        marks.append(Text(x=1, y=y, text=letter, size=style.size, bold=True, colour=colour))
        marks.append(Text(x=after, y=y, text=role, size=style.size))
        marks += _framed(1, top + head, side, cell, f"{letter}, {name}", colour, 1.25)
        marks.append(Text(x=1, y=below, text=name, size=style.small, colour=MUTED))
        top += head + side + foot + gap
    return marks


def _framed(
    x: float, y: float, side: float, cell: Rendered, title: str, colour: str, thick: float
) -> list[Mark]:
    picture = PlacedPicture(
        x=x, y=y, width=side, height=side, pixels=cell.picture, title=title, recipe=cell.recipe
    )
    return [frame(x, y, side, side, colour, thick), picture]


def _distance(a: Rendered, b: Rendered) -> float:
    return float(np.sqrt(np.square(a.picture.astype(np.float64) - b.picture).mean()))
