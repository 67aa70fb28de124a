"""Charts of the variance that principal components explain; also finds which labels are classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from .palette import CATEGORIES

MOST_CATEGORIES = len(CATEGORIES)
_MARGIN = {"l": 10, "r": 10, "t": 30, "b": 10}


def is_categorical(values: np.ndarray) -> bool:
    """Returns whether a label has only a few whole numbers as values."""
    distinct = np.unique(values[np.isfinite(values)])
    return 0 < len(distinct) <= MOST_CATEGORIES and bool((distinct == np.round(distinct)).all())


def variance_explained(explained: np.ndarray, baseline: np.ndarray | None = None) -> go.Figure:
    """Plots each component's share of the variance, and their sum.

    The shares of shuffled data are added if they are known.
    """
    numbers = np.arange(1, len(explained) + 1)
    figure = go.Figure(
        go.Bar(x=numbers, y=100 * explained, name="each component", marker_color=CATEGORIES[0])
    )
    lines: Sequence = ((np.cumsum(explained), "cumulative", CATEGORIES[1], "solid"),)
    if baseline is not None:
        lines = (*lines, (baseline, "each, features shuffled", CATEGORIES[5], "dot"))
    for shares, name, colour, dash in lines:
        figure.add_scatter(
            x=numbers,
            y=100 * shares,
            name=name,
            mode="lines+markers",
            line={"color": colour, "dash": dash},
        )
    figure.update_traces(hovertemplate="component %{x}: %{y:.1f} %")
    figure.update_xaxes(title="component", dtick=1)
    figure.update_yaxes(title="variance of this step (%)", rangemode="tozero")
    legend = {"orientation": "h", "y": 1.12, "x": 0}
    return figure.update_layout(height=300, margin=_MARGIN, legend=legend)
