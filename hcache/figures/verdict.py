"""The table of a verdict as HTML: one row per question and one column per run. Every cell has a
value, its interval and its null.

The intervals of a row are drawn on one scale, so that overlaps are visible. Colours come from CSS
variables, which a page or a report sets for light or dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from ..analysis.swaps import Carriers
from ..assets import read_asset
from ..measures.cell import Cell
from ..measures.registry import find_question, measured_by, registry
from ..measures.verdict import Row

_WIDTH, _HEIGHT = 132, 14


def key_of(row: Row, run: str) -> str:
    """Returns the key of a cell."""
    return f"{row.question}|{row.subject}|{run}"


def anchor_of(row: Row) -> str:
    """Returns the anchor of a row's evidence in a report."""
    return "evidence-" + "".join(
        letter if letter.isalnum() else "-" for letter in f"{row.question} {row.subject}"
    )


def row_title(row: Row) -> str:
    """Returns a row in words: ``smile: decodable from h``."""
    question = find_question(*row.key)
    return row.question if question is None else question.title(*row.key)


def _sections(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Returns the rows by their part of the table, in the order of their questions."""
    found: dict[str, list[Row]] = {}
    for question in registry().questions():
        inside = [row for row in rows if question.asks(*row.key)]
        found.setdefault(question.section, []).extend(inside)
    return {section: inside for section, inside in found.items() if inside}


def verdict_table(
    rows: Sequence[Row], runs: Sequence[str], *, chosen: str = "", clickable: bool = False
) -> str:
    """Draws the table.

    Args:
        rows: The rows of ``compare``.
        runs: The columns.
        chosen: The key of the cell whose evidence is shown.
        clickable: Whether cells are buttons with ``data-key``, and missing results buttons with
            ``data-measure`` (``run|part``), for a page. Otherwise cells are links into the report.
    """
    head = "".join(
        f"<th scope='col'>{_letter(runs, run)}<span class='run'>{escape(run)}</span></th>"
        for run in runs
    )
    order = "<th scope='col' class='order'>larger</th>" if len(runs) > 1 else ""
    body = []
    for title, inside in _sections(rows).items():
        span, words = len(runs) + 1 + bool(order), escape(title)
        body.append(f"<tr class='section'><th colspan='{span}' scope='rowgroup'>{words}</th></tr>")
        body += [_row(row, runs, _scale(row, inside), chosen, clickable) for row in inside]
    return (
        f"<table class='verdict'><thead><tr><th scope='col'>question</th>{head}{order}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def carriers_table(table: Sequence[Carriers], aspects: Mapping[str, str] | None = None) -> str:
    """Draws which site carries what: quantities by sites.

    Significant values are bold, and others are grey. The last column has the sites that no other
    is known to exceed.

    Args:
        table: A row per quantity.
        aspects: The heading of each quantity. Rows of one heading follow each other.
    """
    if not table:
        return ""
    sites = list(table[0].sites)
    head = "".join(f"<th scope='col'>{escape(site)}</th>" for site in sites)
    body, heading = [], ""
    for row in table:
        cells = []
        if (aspect := (aspects or {}).get(row.quantity, "")) != heading:
            heading = aspect
            body.append(
                f"<tr class='section'><th colspan='{len(sites) + 2}' scope='rowgroup'>"
                f"{escape(aspect)}</th></tr>"
            )
        for site in sites:
            found = row.sites[site]
            if not found.excess.defined:
                cells.append(
                    f"<td class='unproven' title='{escape(str(found.excess))}'>undefined</td>"
                )
                continue
            proven = site not in row.nothing
            words = f"{found.excess}, p {found.p:.2g}" if found.p is not None else str(found.excess)
            cells.append(
                f"<td class='{'proven' if proven else 'unproven'}'"
                f" title='{escape(words)}'>{found.excess.value:+.2f}<small>{found.excess.low:+.2f}"
                f" to {found.excess.high:+.2f}</small></td>"
            )
        most = " or ".join(row.most) or "none proven"
        body.append(
            f"<tr><th scope='row'>{escape(row.quantity.replace('_', ' '))}</th>{''.join(cells)}"
            f"<td class='most'>{escape(most)}</td></tr>"
        )
    return (
        f"<table class='verdict carriers'><thead><tr><th scope='col'>carried</th>{head}"
        f"<th scope='col'>most</th></tr></thead><tbody>{''.join(body)}</tbody></table>"
    )


def _row(
    row: Row, runs: Sequence[str], scale: tuple[float, float], chosen: str, clickable: bool
) -> str:
    cells = []
    for run in runs:
        cell = row.cells.get(run)
        if cell is None:
            cells.append(f"<td>{_missing(row, run, clickable)}</td>")
            continue
        inside = _cell(cell, scale)
        if clickable:
            pressed = "true" if key_of(row, run) == chosen else "false"
            cells.append(
                f"<td><button type='button' data-key='{escape(key_of(row, run), quote=True)}' "
                f"aria-pressed='{pressed}'>{inside}</button></td>"
            )
        else:
            cells.append(f"<td><a href='#{anchor_of(row)}'>{inside}</a></td>")
    order = f"<td class='order'>{_order(row, runs)}</td>" if len(runs) > 1 else ""
    return f"<tr><th scope='row'>{escape(row_title(row))}</th>{''.join(cells)}{order}</tr>"


def _of_reader(cell: Cell) -> str:
    """Returns the reader of the values, with its error if it is known."""
    if not cell.reader:
        return ""
    short = cell.reader.partition(" against ")[0]
    return f"<span class='note' title='{escape(cell.reader)}'>{escape(short)}</span>"


def _cell(cell: Cell, scale: tuple[float, float]) -> str:
    """Returns the value, the interval drawn and in numbers, null and p."""
    e = cell.estimate
    if not e.defined:
        return f"<span class='missing'>{escape(str(e))}</span>"
    p = "" if cell.p is None else f" · p {_p(cell.p)}"
    if cell.family_p is not None and cell.asked > 1:
        p = f" · p {_p(cell.family_p)} of {cell.asked} asked"
    null = "" if cell.null is None else f"null {cell.null:.2f}{p}"
    return (
        f"<span class='figure'>{e.value:.2f}</span>{_interval(cell, scale)}"
        f"<span class='detail'>{e.low:.2f} to {e.high:.2f} · n {e.n} · {null or 'no null'}</span>"
        f"<span class='unit'>{escape(cell.unit)}</span>"
        + (f"<span class='note'>{escape(cell.note)}</span>" if cell.note else "")
        + _of_reader(cell)
        + (
            f"<span class='warning' title='{escape(cell.warning)}'>means little: see why</span>"
            if cell.warning
            else ""
        )
    )


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def _missing(row: Row, run: str, clickable: bool) -> str:
    part = measured_by(row.question, row.subject)
    if clickable:
        key = escape(f"{run}|{part}", quote=True)
        return (
            "<span class='missing'>not measured yet</span><button type='button' class='measure' "
            f"data-measure='{key}'>measure {part}</button>"
        )
    return "<span class='missing'>not measured</span>"


def _order(row: Row, runs: Sequence[str]) -> str:
    """Returns ``B > A``, every known pair, or why nothing is ranked."""
    if len(row.cells) < 2:
        return ""
    at = f"<small>first {row.first} of each</small>" if row.first else ""
    if not row.larger:
        return f"<small>{escape(row.why_not or 'cannot be told')}</small>{at}"
    return escape(", ".join(f"{_letter(runs, a)} > {_letter(runs, b)}" for a, b in row.larger)) + at


def _letter(runs: Sequence[str], run: str) -> str:
    return chr(65 + list(runs).index(run)) if len(runs) > 1 else ""


def _scale(row: Row, section: Sequence[Row]) -> tuple[float, float]:
    """Returns the range of a row's intervals: that of all rows of its section in the same unit,
    with their nulls and 0, so that lengths are comparable between rows.
    """
    units = {cell.unit for cell in row.cells.values()}
    numbers = [0.0]
    shown = (cell for each in section for cell in each.cells.values() if cell.unit in units)
    for cell in (cell for cell in shown if cell.estimate.defined):
        numbers += [cell.estimate.low, cell.estimate.high, cell.estimate.value]
        numbers += [] if cell.null is None else [cell.null]
    low, high = min(numbers), max(numbers)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _interval(cell: Cell, scale: tuple[float, float]) -> str:
    """Draws a line from end to end, a dot at the value, a dashed mark at the null, a thin one
    at 0.
    """
    low, high = scale

    def x(value: float) -> str:
        return f"{4 + (_WIDTH - 8) * (value - low) / (high - low):.1f}"

    e, middle = cell.estimate, _HEIGHT / 2
    marks = f"<line class='zero' x1='{x(0)}' x2='{x(0)}' y1='1' y2='{_HEIGHT - 1}'/>"
    if cell.null is not None:
        marks += (
            f"<line class='null' x1='{x(cell.null)}' x2='{x(cell.null)}' y1='0' y2='{_HEIGHT}'/>"
        )
    return (
        f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' aria-label='interval and null'>{marks}"
        f"<line class='interval' x1='{x(e.low)}' x2='{x(e.high)}' y1='{middle}' y2='{middle}'/>"
        f"<circle cx='{x(e.value)}' cy='{middle}' r='3.5'/></svg>"
    )


STYLE = read_asset(__file__, "verdict.css")
