"""Plotly charts of the analyses. Titles are left to the page; axes are labelled, with units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..analysis.probes import AUC, ProbeMap
from .palette import CATEGORIES, SEQUENTIAL

_MARGIN = {"l": 10, "r": 10, "t": 30, "b": 10}


def probe_heatmaps(probes: ProbeMap, timesteps: Sequence[int]) -> go.Figure:
    """Scores by site and step, and beside them the same with shuffled labels, on one scale from chance to 1."""
    chance = 0.5 if probes.metric == AUC else 0.0
    titles = ("labels as they are", "labels shuffled (what chance looks like)")
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.03)
    steps = [str(i) for i in range(probes.scores.shape[1])]
    for column, scores in enumerate((probes.scores, probes.shuffled), 1):
        text = [[f"{value:.2f}" for value in row] for row in scores]
        t = np.tile(np.asarray(timesteps), (len(probes.sites), 1))
        figure.add_heatmap(
            z=scores, x=steps, y=list(probes.sites), text=text, customdata=t, coloraxis="coloraxis", row=1, col=column,
            hovertemplate=f"%{{y}}, step %{{x}} (t = %{{customdata}})<br>{probes.metric} %{{text}}<extra></extra>",
        )  # fmt: skip
        figure.update_xaxes(title="step (0: most noise)", row=1, col=column, type="category", nticks=11)
    bar = {"title": {"text": probes.metric}, "thickness": 12}
    return figure.update_layout(
        height=90 + 48 * len(probes.sites), margin=_MARGIN | {"b": 40},
        coloraxis={"colorscale": SEQUENTIAL, "cmin": chance, "cmax": 1.0, "colorbar": bar},
    )  # fmt: skip


def probe_curves(probes: ProbeMap) -> go.Figure:
    """The same numbers as lines over steps, one a site; the shuffled ones dotted."""
    figure = go.Figure()
    steps = np.arange(probes.scores.shape[1])
    for i, site in enumerate(probes.sites):
        colour = CATEGORIES[i % len(CATEGORIES)]
        figure.add_scatter(
            x=steps, y=probes.scores[i], name=site, mode="lines+markers", line={"color": colour, "width": 2}
        )
        figure.add_scatter(
            x=steps, y=probes.shuffled[i], name=f"{site}, shuffled", mode="lines",
            line={"color": colour, "width": 1, "dash": "dot"}, showlegend=False,
        )  # fmt: skip
    figure.update_xaxes(title="step (0: most noise)")
    figure.update_yaxes(title=f"cross-validated {probes.metric}")
    return figure.update_layout(height=340, margin=_MARGIN)
