"""Samples as points one can click, draw a box or a lasso around, and hover over.

Why no plotly chart: Streamlit builds a plotly chart afresh at every change, which takes some half a
second for thousands of samples, and its hover texts show no pictures. This component draws columns
of numbers on a canvas in place, in a few milliseconds.

Dragging moves, or draws what selects; Ctrl with the wheel, + and - zoom, the arrow keys move, 0
shows all. The picture of the point under the mouse comes from one sprite of all pictures
(``hover_pictures``), without asking the server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from plotly.colors import get_colorscale, sample_colorscale

from ..assets import read_asset
from ..figures.components import is_categorical
from ..figures.palette import CATEGORIES, SEQUENTIAL

PAN, BOX, LASSO = "pan", "box", "lasso"
"""The actions of dragging."""

HEIGHT = 450
MOST_RINGS, LARGE_UP_TO = 200, 1000
SELECTED, CHOSEN, UNKNOWN = "#D55E00", CATEGORIES[3], "#9A9A9A"
"""The rings around the selected and the chosen samples, and the colour of a sample without a
value.
"""

_SHADES = 32

_CSS = read_asset(__file__, "scatter.css")

_scatter = st.components.v2.component(
    "hcache_scatter",
    html=f"<div class='scatter' style='--height: {HEIGHT}px'></div><div class='legend'></div>\n",
    css=_CSS,
    js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Placed:
    """The positions of samples at a step.

    ``places`` (n, 2): the positions on two ``axes``, each with a title. ``ways`` (steps, n, 2): the
    positions at all steps, if these have the same axes.
    """

    places: np.ndarray
    axes: tuple[str, str]
    ways: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Samples on two axes.

    ``samples`` (n,): their numbers. ``places`` (n, 2). ``axes``: a title each. ``colour`` (n,): a
    label of that ``name``, NaN where unknown; a few whole numbers are taken for classes.
    ``chosen``: the sample with a ring of its own. ``selected`` (n,) bool: the others step back.
    ``paths`` (m, steps, 2): the way of some samples over the steps. ``window`` (2, 2): lower and
    upper end of each axis, to hold still over the steps. ``drag``: what dragging does. ``view``: as
    long as it stays the same, so does what was zoomed to. ``sprite``: the key of the pictures shown
    under the mouse.
    """

    samples: np.ndarray
    places: np.ndarray
    axes: tuple[str, str]
    colour: np.ndarray | None = None
    name: str = ""
    chosen: int | None = None
    selected: np.ndarray | None = None
    paths: np.ndarray | None = None
    window: np.ndarray | None = None
    drag: str = PAN
    view: str = ""
    sprite: str = ""


def scatter(
    key: str,
    points: Points,
    alt: str,
    on_pick: Callable[[list[int]], None],
    on_clear: Callable[[bool], None],
) -> None:
    """Shows the points.

    Args:
        key: The key of the component.
        points: The points to show.
        alt: The chart in words.
        on_pick: Called before the page is redrawn, with the samples that were clicked or enclosed.
        on_clear: Called when the user cleared the selection: by a double click (True), or by
            another click on its only point.
    """

    def told(name: str) -> Any:
        return st.session_state[key].get(name)

    def pick() -> None:
        if picked := told("picked"):
            on_pick([int(sample) for sample in picked])

    def clear() -> None:
        if cleared := told("cleared"):
            on_clear(cleared == "twice")

    _scatter(key=key, data=packed(points, alt), on_picked_change=pick, on_cleared_change=clear)


def packed(points: Points, alt: str) -> bytes:
    """Returns the data for the browser, as bytes.

    They are a line of JSON, then x, y, value, number, colour and selected of all samples, four
    bytes each, then the paths.
    """
    n = len(points.samples)
    paths = np.zeros((0, 0, 2)) if points.paths is None else points.paths
    flags = np.zeros(n, bool) if points.selected is None else np.asarray(points.selected, bool)
    rows = np.flatnonzero(points.samples == points.chosen)
    colours, legend = _colours(points.colour, points.name, n)
    words = points.name.replace("_", " ")
    about = {
        "samples": n,
        "axes": list(points.axes),
        "view": points.view,
        "alt": alt,
        "drag": points.drag,
        "named": words if points.colour is not None else "",
        "legend": words,
        "sprite": points.sprite,
        "radius": 4 if n <= LARGE_UP_TO else 3,
        "rings": MOST_RINGS,
        "marked": int(flags.sum()),
        "chosen": int(rows[0]) if len(rows) else -1,
        "ringed": SELECTED,
        "chosenColour": CHOSEN,
        "paths": list(paths.shape[:2]),
        "file": "hcache-pca.png",
        "window": None if points.window is None else np.asarray(points.window, float).tolist(),
        **legend,
    }
    value = np.zeros(n) if points.colour is None else points.colour
    columns = [
        points.places[:, 0].astype("<f4"),
        points.places[:, 1].astype("<f4"),
        value.astype("<f4"),
        points.samples.astype("<i4"),
        colours.astype("<u4"),
        flags.astype("<u4"),
        paths.astype("<f4"),
    ]
    return json.dumps(about).encode() + b"\n" + b"".join(column.tobytes() for column in columns)


def _colours(values: np.ndarray | None, name: str, n: int) -> tuple[np.ndarray, dict]:
    """Returns the colour of every sample (n,) as 0xRRGGBB, and their legend: classes, or a bar."""
    nothing = {"classes": [], "bar": None}
    if values is None:
        return np.full(n, _number(CATEGORIES[0])), nothing
    known = np.isfinite(values)
    if is_categorical(values):
        found = np.unique(values[known])
        of = dict(zip(found.tolist(), CATEGORIES, strict=False))
        colours = [_number(of.get(value, UNKNOWN)) for value in values.tolist()]
        return np.array(colours), {
            **nothing,
            "classes": [[f"{value:g}", colour] for value, colour in of.items()],
        }
    if not known.any():
        return np.full(n, _number(UNKNOWN)), nothing
    low, high = float(values[known].min()), float(values[known].max())
    shades = _shades()
    place = np.zeros(n) if high == low else (values - low) / (high - low)
    index = np.rint(np.where(known, place, 0) * (len(shades) - 1)).astype(int)
    colours = np.where(
        known, np.array([_number(shade) for shade in shades])[index], _number(UNKNOWN)
    )
    bar = {"colours": shades, "low": low, "high": high, "title": name.replace("_", " ")}
    return colours, {**nothing, "bar": bar if high > low else None}


def _shades() -> Sequence[str]:
    """Returns the sequential scale in invisibly small steps, as #RRGGBB."""
    found = sample_colorscale(
        get_colorscale(SEQUENTIAL), np.linspace(0, 1, _SHADES).tolist(), colortype="tuple"
    )
    return ["#" + "".join(f"{round(255 * part):02X}" for part in colour) for colour in found]


def _number(colour: str) -> int:
    return int(colour[1:], 16)
