"""A picture for painting a mask: areas are drawn with the lasso or the box, and the mask is
highlighted.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from .pictures import data_uri

SIZE = 300
"""The size of the picture on the page, in CSS pixels."""

_DIMMED = 0.3
_POINTS = 33


def draw_paintable(picture: np.ndarray, values: np.ndarray | None) -> go.Figure:
    """Draws a picture on axes for the lasso.

    The axes go from 0 to 1 from its upper left corner.

    Args:
        picture: (height, width, 3) uint8.
        values: The mask at the picture's size (height, width) in [0, 1]. The rest is dimmed. None
            dims nothing.
    """
    height, width = picture.shape[:2]
    picture = picture if values is None else _dimmed(picture, values[..., None])
    figure = go.Figure()
    x, y = (
        axis.ravel() for axis in np.meshgrid(*[np.linspace(0, 1, _POINTS, dtype=np.float32)] * 2)
    )
    # a lasso selects points, and a picture has none: these are invisible
    unseen = {"marker": {"opacity": 0}}
    figure.add_trace(
        go.Scatter(
            x=x,
            y=y,
            mode="markers",
            marker={"size": 1, "opacity": 0},
            hoverinfo="skip",
            selected=unseen,
            unselected=unseen,
        )
    )
    figure.add_layout_image(
        source=data_uri(picture),
        xref="x",
        yref="y",
        x=0,
        y=0,
        sizex=1,
        sizey=1,
        layer="below",
        sizing="stretch",
    )
    axis = {"visible": False, "fixedrange": True, "constrain": "domain"}
    tall = min(2 * SIZE, round(SIZE * height / width))
    figure.update_layout(
        dragmode="lasso",
        showlegend=False,
        width=SIZE,
        height=tall,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        plot_bgcolor="rgba(0,0,0,0)",
        paper_bgcolor="rgba(0,0,0,0)",
        xaxis={**axis, "range": [0, 1]},
        yaxis={
            **axis,
            "range": [1, 0],
            "scaleanchor": "x",
            "scaleratio": height / width,
        },  # at any width
        newselection={"line": {"color": "#ff7f0e", "width": 2}},
    )
    return figure


def _dimmed(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns a picture that is grey and darker where a mask (height, width, 1) is 0."""
    weight, grey = _DIMMED + (1 - _DIMMED) * values, picture.mean(-1, keepdims=True)
    return (weight * (values * picture + (1 - values) * grey)).astype(np.uint8)


def areas_of(selection: dict) -> list[list[tuple[float, float]]]:
    """Returns the polygons of a selection from Streamlit.

    Corners (x, y) are in the axes' units. Boxes are polygons too.
    """
    found = [list(zip(area["x"], area["y"], strict=True)) for area in selection.get("lasso", [])]
    for box in selection.get("box", []):
        (left, right), (top, bottom) = box["x"], box["y"]
        found.append([(left, top), (right, top), (right, bottom), (left, bottom)])
    return found
