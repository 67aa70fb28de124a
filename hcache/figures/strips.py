"""Strips of pictures with their readings below, as aligned HTML tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from ..assets import read_asset
from .pictures import data_uri

_MORE, _LESS = "214,112,28", "33,102,172"


def draw_strip(
    rows: Mapping[str, np.ndarray],
    strengths: Sequence[float],
    readings: Mapping[str, Mapping[str, np.ndarray]],
    spreads: Mapping[str, float],
    target: str | None,
    axis: str = "strength γ",
    apart: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    others: Mapping[str, float] | None = None,
) -> str:
    """Draws pictures over strengths, with readings below each picture.

    There is one block per method.

    Args:
        rows: Method -> pictures (n, height, width, 3) uint8, one per strength.
        strengths: (n,), one of them 0.
        readings: Method -> attribute -> values (n,).
        spreads: Attribute -> standard deviation over the run. A reading's cell is tinted by its
            change from strength 0 in these units, blue for less and orange for more.
        target: The intended attribute of the edit, which comes first.
        axis: The meaning of ``strengths``.
        apart: Method -> distance -> values (n,) from the picture at strength 0. A cell is tinted
            by its share of ``others``.
        others: Distance -> its value between two different samples.
    """
    amount, _, _ = axis.partition(" ")
    head = "".join(f"<th scope='col'>{s:+g}</th>" for s in strengths)
    body = []
    for method, pictures in rows.items():
        cells = "".join(
            f"<td><img src='{data_uri(p)}' alt='{escape(method)}, {escape(amount)} {s:+g}'></td>"
            for p, s in zip(pictures, strengths, strict=True)
        )
        body.append(f"<tr class='pictures'><th scope='row'>{escape(method)}</th>{cells}</tr>")
        names = sorted(readings.get(method, {}), key=lambda name: name != target)
        for name in names:
            body.append(
                _reading_row(name, readings[method][name], strengths, spreads[name], name == target)
            )
        for name, values in (apart or {}).get(method, {}).items():
            body.append(_apart_row(name, values, (others or {}).get(name, 0.0)))
    header = f"<thead><tr><th scope='col'>{escape(axis)}</th>{head}</tr></thead>"
    return f"{_STYLE}<table class='strip'>{header}<tbody>{''.join(body)}</tbody></table>"


def draw_sheet(pictures: np.ndarray, columns: Sequence[str]) -> str:
    """Draws pictures under the titles of their columns.

    They are (rows, columns, height, width, 3) uint8.
    """
    head = "".join(f"<th scope='col'>{escape(words)}</th>" for words in columns)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td><img src='{data_uri(p)}' alt='{escape(c)}'></td>"
            for p, c in zip(row, columns, strict=True)
        )
        + "</tr>"
        for row in pictures
    )
    return (
        f"{_STYLE}<table class='sheet'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def draw_film(pictures: np.ndarray, captions: Sequence[str], side: int = 76) -> str:
    """Draws pictures in a row that wraps, each with its caption.

    They are (n, height, width, 3), and ``side`` pixels of the screen wide.
    """
    cells = "".join(
        f"<figure><img src='{data_uri(p)}'"
        f" alt='{escape(c)}'><figcaption>{escape(c)}</figcaption></figure>"
        for p, c in zip(pictures, captions, strict=True)
    )
    return f"{_STYLE}<div class='film' style='--side:{side}px'>{cells}</div>"


def _apart_row(name: str, values: np.ndarray, other: float) -> str:
    """Draws distances from the unedited picture. The tint is full at the distance between two
    samples.
    """
    cells = []
    for value in values:
        share, shown = float(value) / other if other > 0 else 0.0, round(float(value), 3) + 0.0
        tint = f"rgba({_MORE},{min(share, 1) * 0.55:.2f})"
        told = f"{share:.2f} of the distance between two samples"
        cells.append(f"<td style='background:{tint}' title='{told}'>{shown:.3f}</td>")
    words = f"distance in {name}"
    return f"<tr><th scope='row'>{escape(words)}</th>{''.join(cells)}</tr>"


def _reading_row(
    name: str, values: np.ndarray, strengths: Sequence[float], spread: float, is_target: bool
) -> str:
    zero = values[int(np.argmin(np.abs(np.asarray(strengths))))]
    cells = []
    for value in values:
        change = float((value - zero) / spread) if spread > 0 else 0.0
        colour, opacity = _MORE if change > 0 else _LESS, min(abs(change) / 2.5, 1) * 0.55
        tint = f"rgba({colour},{opacity:.2f})"
        cells.append(
            f"<td style='background:{tint}' title='{change:+.2f} spreads'>{value:.2f}</td>"
        )
    weight = " class='target'" if is_target else ""
    return f"<tr{weight}><th scope='row'>{escape(name.replace('_', ' '))}</th>{''.join(cells)}</tr>"


_STYLE = f"<style>{read_asset(__file__, 'strips.css')}</style>"
