"""Pictures in rows and columns for print: the strip (a row per method, a column per strength) and
the grid (a row per sample and method, a column per attribute).

This is own code, and not matplotlib, because a PNG of it contains the exact place and the recipe of
every picture. Its SVG and PDF keep texts as text, in one font and as wide as in the layout.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..edits.rendered import Rendered
from .drawing import Figure, Style, finished
from .fonts import ASCENT, DESCENT, LEADING, shortened, width_of, wrapped
from .marks import Mark, PlacedPicture, Text, line
from .palette import LINE, MUTED

GAP = 2.5
"""The distance between neighbours, in points."""

MOST_LABEL = 0.22
"""The share of the width that the labels of the rows may take."""


@dataclass(frozen=True, kw_only=True)
class PictureRow:
    """A row of a table of pictures.

    ``group``: the common name of several rows, shown at the first of them. ``notes``: a text below
    each picture.
    """

    label: str
    cells: tuple[Rendered, ...]
    group: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of pictures. ``corner`` describes the columns in a word or two."""

    title: str
    rows: tuple[PictureRow, ...]
    columns: tuple[str, ...]
    caption: str
    corner: str = ""


@dataclass(kw_only=True)
class _Page:
    """The horizontal layout, and the marks so far."""

    table: Table
    style: Style
    label: float
    side: float
    marks: list[Mark] = field(default_factory=list)

    def x(self, column: int) -> float:
        return self.label + column * (self.side + GAP)


def draw_table(what: Table, style: Style | None = None, caption: str | None = None) -> Figure:
    """Draws the strip or the grid.

    Args:
        what: The pictures, and the labels of rows and columns.
        style: Its width and type.
        caption: A caption that replaces the default.
    """
    style = style or Style()
    label = _label_width(what, style)
    side = (style.points - label - GAP * (len(what.columns) - 1)) / len(what.columns)
    page = _Page(table=what, style=style, label=label, side=side)
    y, group = _head(page), None
    for row in what.rows:
        if group is not None and row.group != group:
            middle = y + GAP / 2 + 1
            page.marks.append(line((0, middle), (style.points, middle), stroke=LINE, width=0.5))
            y += GAP + 2
        y = _row(page, row, y, row.group != group and bool(row.group))
        group = row.group
    return finished(
        page.marks, y - GAP, style, what.title, what.caption if caption is None else caption
    )


def _label_width(what: Table, style: Style) -> float:
    """Returns the width of the labels of the rows, with the distance to the pictures."""
    widths = [width_of(row.label, style.size) for row in what.rows]
    widths += [width_of(row.group, style.size, bold=True) for row in what.rows]
    widths += [width_of(what.corner, style.small)]
    return min(max(widths), MOST_LABEL * style.points) + 5


def _head(page: _Page) -> float:
    """Draws the columns' names, with their lowest lines aligned. Returns the top of the
    pictures.
    """
    size, columns = page.style.size, page.table.columns
    lines = [wrapped(name, page.side, size) or [""] for name in columns]
    most = max(map(len, lines))
    last = 1 + (ASCENT + LEADING * (most - 1)) * size
    for column, texts in enumerate(lines):
        x = page.x(column) + page.side / 2
        for number, text in enumerate(reversed(texts)):
            y = last - LEADING * size * number
            page.marks.append(Text(x=x, y=y, text=text, size=size, anchor="middle"))
    if page.table.corner:
        text = shortened(page.table.corner, page.label - 5, page.style.small)
        page.marks.append(
            Text(
                x=page.label - 5,
                y=last,
                text=text,
                size=page.style.small,
                colour=MUTED,
                anchor="end",
            )
        )
    return last + DESCENT * size + 2


def _row(page: _Page, row: PictureRow, y: float, with_group: bool) -> float:
    """Draws one row of pictures with its label. Returns the top of the next row."""
    columns, height = page.table.columns, page.side * _aspect(row)
    for column, cell in enumerate(row.cells):
        name = ", ".join(part for part in (row.group, row.label, columns[column]) if part)
        page.marks.append(
            PlacedPicture(
                x=page.x(column),
                y=y,
                width=page.side,
                height=height,
                pixels=cell.picture,
                title=name,
                recipe=cell.recipe,
            )
        )
    _row_label(page, row, y, height, with_group)
    y += height
    if row.notes:
        for column, note in enumerate(row.notes):
            text = shortened(note, page.side, page.style.small)
            below = y + 1.5 + ASCENT * page.style.small
            x = page.x(column) + page.side / 2
            page.marks.append(
                Text(x=x, y=below, text=text, size=page.style.small, colour=MUTED, anchor="middle")
            )
        y += 1.5 + (ASCENT + DESCENT) * page.style.small + 1
    return y + GAP


def _row_label(page: _Page, row: PictureRow, y: float, height: float, with_group: bool) -> None:
    """Draws the row's label at the middle of its height. The group's label is above it, at the
    row's upper edge if there is room.
    """
    size, room = page.style.size, page.label - 5
    group = wrapped(row.group, room, size, bold=True) if with_group else []
    own = wrapped(row.label, room, size)
    step = LEADING * size
    apart = height >= (2 * len(group) + len(own)) * step
    if group and apart:
        _set_lines(page, [(text, True) for text in group], y + ASCENT * size)
    lines = (
        [(text, False) for text in own]
        if apart
        else [(t, True) for t in group] + [(t, False) for t in own]
    )
    most = max(1, int((height + (LEADING - 1) * size) / step))
    if len(lines) > most:
        text, bold = lines[most - 1]
        lines = [*lines[: most - 1], (shortened(f"{text} …", room, size, bold), bold)]
    middle = y + height / 2 + (ASCENT - DESCENT) * size / 2
    _set_lines(page, lines, middle - step * (len(lines) - 1) / 2)


def _set_lines(page: _Page, lines: list[tuple[str, bool]], y: float) -> None:
    """Draws lines of a label, (text, bold), the first with its baseline at ``y``."""
    size = page.style.size
    for number, (text, bold) in enumerate(lines):
        mark = Text(
            x=page.label - 5,
            y=y + LEADING * size * number,
            text=text,
            size=size,
            bold=bold,
            anchor="end",
        )
        page.marks.append(mark)


def _aspect(row: PictureRow) -> float:
    height, width, _ = row.cells[0].picture.shape
    return height / width
