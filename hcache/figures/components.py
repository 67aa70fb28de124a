"""Charts of principal components: samples on two of them, their paths over the steps, and what components explain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from .palette import CATEGORIES, SEQUENTIAL

MOST_CATEGORIES, MOST_RINGS = len(CATEGORIES), 200
SELECTED, UNKNOWN = "#D55E00", "rgba(127,127,127,.55)"
"""The rings around the selected, and the colour of a sample that has no value."""

_MARGIN = {"l": 10, "r": 10, "t": 30, "b": 10}
_NONE = "rgba(0,0,0,0)"


def scatter_of_components(
    scores: np.ndarray,
    explained: np.ndarray,
    axes: tuple[int, int],
    samples: np.ndarray,
    colour: np.ndarray | None = None,
    name: str = "",
    chosen: int | None = None,
    selected: np.ndarray | None = None,
    paths: np.ndarray | None = None,
    window: np.ndarray | None = None,
    drag: str = "pan",
) -> go.Figure:
    """Every sample on two components.

    Args:
        scores: (n, k) at one step; ``explained`` (k,) shares of that step's variance.
        explained: See above.
        axes: The two components, numbered from 1.
        samples: (n,) their numbers; ``customdata`` carries number and row of every point.
        colour: (n,) a label, NaN where unknown. A few whole numbers are taken for classes.
        name: Of the label.
        chosen: The sample with a ring of its own.
        selected: (n,) bool; the others step back.
        paths: (m, steps, 2) the way of some samples over the steps, on these axes.
        window: (2, 2) lower and upper end of each axis, to hold still over the steps.
        drag: What dragging does: ``pan``, ``select`` or ``lasso``.
    """
    x, y = (scores[:, axis - 1].astype(np.float32) for axis in axes)
    figure = go.Figure()
    for path in () if paths is None else paths:
        figure.add_scattergl(x=path[:, 0], y=path[:, 1], mode="lines", hoverinfo="skip", showlegend=False,
                             line={"width": 1, "color": "rgba(213,94,0,.5)"})  # fmt: skip
    marker, legend = _colours(colour, name)
    has_some = selected is not None and selected.any()
    value = "" if colour is None else f"<br>{name.replace('_', ' ')} %{{customdata[2]:.2f}}"
    figure.add_scattergl(
        x=x, y=y, mode="markers", customdata=_about(samples, colour), showlegend=False, name="samples",
        marker={"size": 8 if len(x) <= 1000 else 6, **marker},
        selectedpoints=np.flatnonzero(selected).tolist() if has_some else None,
        selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 0.45}},
        hovertemplate=f"sample %{{customdata[0]}}{value}<extra></extra>",
    )  # fmt: skip
    if has_some and selected.sum() <= MOST_RINGS:
        _ring(figure, x[selected], y[selected], {"size": 12, "line": {"width": 2}, "color": SELECTED})
    at = np.flatnonzero(samples == chosen)
    _ring(figure, x[at], y[at], {"size": 20, "line": {"width": 3}, "color": CATEGORIES[3]})
    for category, colour_of in legend:
        figure.add_scatter(x=[None], y=[None], mode="markers", name=category, marker={"size": 9, "color": colour_of})
    for update, axis, ends in ((figure.update_xaxes, axes[0], 0), (figure.update_yaxes, axes[1], 1)):
        share = f"component {axis} ({explained[axis - 1]:.1%} of this step's variance)"
        update(title=share, zeroline=True, range=None if window is None else list(window[ends]))
    return figure.update_layout(
        height=450, margin=_MARGIN, showlegend=bool(legend), dragmode=drag, uirevision=f"{axes}",
        legend={"title": {"text": name.replace("_", " ")}, "itemclick": False, "itemdoubleclick": False},
    )  # fmt: skip


def is_categorical(values: np.ndarray) -> bool:
    """Whether a label takes a few whole numbers only."""
    distinct = np.unique(values[np.isfinite(values)])
    return 0 < len(distinct) <= MOST_CATEGORIES and bool((distinct == np.round(distinct)).all())


def variance_explained(explained: np.ndarray, baseline: np.ndarray | None = None) -> go.Figure:
    """Each component's share of the variance, their sum so far, and the same of shuffled data where it is known."""
    numbers = np.arange(1, len(explained) + 1)
    figure = go.Figure(go.Bar(x=numbers, y=100 * explained, name="each component", marker_color=CATEGORIES[0]))
    lines: Sequence = ((np.cumsum(explained), "cumulative", CATEGORIES[1], "solid"),)
    if baseline is not None:
        lines = (*lines, (baseline, "each, features shuffled", CATEGORIES[5], "dot"))
    for shares, name, colour, dash in lines:
        figure.add_scatter(x=numbers, y=100 * shares, name=name, mode="lines+markers",
                           line={"color": colour, "dash": dash})  # fmt: skip
    figure.update_traces(hovertemplate="component %{x}: %{y:.1f} %")
    figure.update_xaxes(title="component", dtick=1)
    figure.update_yaxes(title="variance of this step (%)", rangemode="tozero")
    legend = {"orientation": "h", "y": 1.12, "x": 0}
    return figure.update_layout(height=300, margin=_MARGIN, legend=legend)


def _about(samples: np.ndarray, colour: np.ndarray | None) -> np.ndarray:
    """Number, row and label of every point. As an array plotly takes it as it is, where it looks at every entry of a
    list; of objects, because a browser is to be sent lists and not bytes."""
    columns = [samples.tolist(), range(len(samples)), *([] if colour is None else [colour.tolist()])]
    found = np.empty((len(samples), len(columns)), object)
    for column, values in enumerate(columns):
        found[:, column] = values
    return found


def _ring(figure: go.Figure, x: np.ndarray, y: np.ndarray, style: dict) -> None:
    figure.add_scattergl(x=x, y=y, mode="markers", marker={"symbol": "circle-open", **style}, hoverinfo="skip",
                         showlegend=False)  # fmt: skip


def _colours(colour: np.ndarray | None, name: str) -> tuple[dict, list[tuple[str, str]]]:
    """The marker of a label's values, and the legend of its classes."""
    edge = {"line": {"width": 0.5, "color": "rgba(127,127,127,.6)"}}
    if colour is None:
        return {"color": CATEGORIES[0], **edge}, []
    if is_categorical(colour):
        classes = np.unique(colour[np.isfinite(colour)])
        of = dict(zip(classes.tolist(), CATEGORIES, strict=False))
        return {"color": [of.get(value, UNKNOWN) for value in colour.tolist()], **edge}, [
            (f"{value:g}", found) for value, found in of.items()
        ]
    bar = {"title": {"text": name.replace("_", " ")}, "thickness": 12}
    scale = {"colorscale": SEQUENTIAL, "showscale": True, "colorbar": bar}
    return {"color": colour.astype(np.float32), **scale, **edge}, []
