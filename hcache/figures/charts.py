"""Plotly charts of the analyses. Titles are left to the page; axes are labelled, with units."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from ..analysis.pca import PCA
from .palette import CATEGORIES, SEQUENTIAL

_MARGIN = {"l": 10, "r": 10, "t": 30, "b": 10}


def scatter_of_components(
    pca: PCA, first: int, second: int, samples: np.ndarray, colour: np.ndarray | None, name: str, chosen: int | None
) -> go.Figure:
    """Two components (numbered from 1) of every sample; ``customdata`` carries the sample numbers."""
    x, y = (pca.scores[:, i - 1].astype(np.float32) for i in (first, second))
    marker: dict = {"size": 9, "line": {"width": 0.5, "color": "rgba(127,127,127,.6)"}, "color": CATEGORIES[0]}
    if colour is not None:
        marker |= {"color": colour.astype(np.float32), "colorscale": SEQUENTIAL, "showscale": True}
        marker["colorbar"] = {"title": {"text": name.replace("_", " ")}, "thickness": 12}
    values = "" if colour is None else f"<br>{name.replace('_', ' ')} %{{marker.color:.2f}}"
    figure = go.Figure(
        go.Scattergl(
            x=x,
            y=y,
            mode="markers",
            marker=marker,
            customdata=samples,
            hovertemplate=f"sample %{{customdata}}{values}<extra></extra>",
        )  # fmt: skip
    )
    if chosen is not None and chosen in samples:
        row = int(np.flatnonzero(samples == chosen)[0])
        ring = {"size": 18, "symbol": "circle-open", "line": {"width": 3}, "color": CATEGORIES[5]}
        figure.add_scattergl(x=x[[row]], y=y[[row]], mode="markers", marker=ring, hoverinfo="skip", showlegend=False)
    label = "component {} ({:.1%} of variance)"
    figure.update_xaxes(title=label.format(first, pca.explained[first - 1]), zeroline=True)
    figure.update_yaxes(title=label.format(second, pca.explained[second - 1]), zeroline=True)
    return figure.update_layout(height=470, margin=_MARGIN, showlegend=False)


def variance_explained(pca: PCA) -> go.Figure:
    """Each component's share of the variance, beside that of shuffled data."""
    numbers = np.arange(1, len(pca.explained) + 1)
    figure = go.Figure(go.Bar(x=numbers, y=100 * pca.explained, name="this site", marker_color=CATEGORIES[0]))
    figure.add_scatter(
        x=numbers, y=100 * pca.baseline, name="shuffled features", mode="lines+markers", line_color=CATEGORIES[5]
    )
    figure.update_xaxes(title="component", dtick=1)
    figure.update_yaxes(title="variance explained (%)", rangemode="tozero")
    legend = {"orientation": "h", "y": 1.12, "x": 0}
    return figure.update_layout(height=300, margin=_MARGIN, legend=legend)
