"""Differences between a selection's labels and the rest, as points with their intervals around
zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from ..analysis.contrasts import LabelContrast
from .palette import CATEGORIES

_MARGIN = {"l": 10, "r": 10, "t": 10, "b": 40}


def contrast_chart(contrasts: Sequence[LabelContrast]) -> go.Figure:
    """Plots one row per label, with the first at the top.

    Differences are in deviations of the label over all samples.
    """
    found = [contrast.in_spreads for contrast in contrasts]
    names = [contrast.name.replace("_", " ") for contrast in contrasts]
    ends = np.array([[e.high - e.value, e.value - e.low] for e in found]).T
    clear = [not e.covers(0.0) and e.low == e.low for e in found]
    own = [[c.selected, c.rest, c.difference.value, *c.counts] for c in contrasts]
    figure = go.Figure(
        go.Scatter(
            x=[e.value for e in found],
            y=names,
            mode="markers",
            customdata=own,
            error_x={
                "array": ends[0],
                "arrayminus": ends[1],
                "thickness": 2,
                "width": 4,
                "color": CATEGORIES[0],
            },
            marker={
                "size": 10,
                "color": [CATEGORIES[0] if c else "rgba(0,0,0,0)" for c in clear],
                "line": {"width": 2, "color": CATEGORIES[0]},
            },
            hovertemplate=(
                "%{y}: %{customdata[0]:.3g} selected, %{customdata[1]:.3g} others "
                "(%{customdata[3]} and %{customdata[4]} samples)<extra></extra>"
            ),
        )
    )
    figure.add_vline(x=0, line_width=1, line_dash="dot", line_color="rgba(127,127,127,.9)")
    figure.update_xaxes(title="selected − others, in deviations of the label")
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure.update_layout(height=90 + 30 * len(names), margin=_MARGIN, showlegend=False)
