"""Figures of results: plotly's for the pages, and figures for print as PNG, SVG and PDF.

    from hcache import figures, open_run
    figures.u_figure(open_run("..."), donor=1, recipient=0).save("u.pdf")

Names are imported when first used; no Streamlit, and no torch before something has to be rendered.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .drawing import Figure
    from .notebook import grid, strip, u_figure
    from .plot import Plot
    from .plots import (
        draw_heat_map,
        draw_response_curve,
        draw_scatter,
        draw_value_map,
        exhibit_plot,
        heat_map,
        response_curve,
        scatter,
        similarity_map,
        swap_map,
    )

_HOMES = {
    "Figure": "drawing",
    "grid": "notebook",
    "strip": "notebook",
    "u_figure": "notebook",
    "Plot": "plot",
    "draw_heat_map": "plots",
    "draw_response_curve": "plots",
    "draw_scatter": "plots",
    "draw_value_map": "plots",
    "exhibit_plot": "plots",
    "heat_map": "plots",
    "response_curve": "plots",
    "scatter": "plots",
    "similarity_map": "plots",
    "swap_map": "plots",
}

__all__ = [
    "Figure",
    "Plot",
    "draw_heat_map",
    "draw_response_curve",
    "draw_scatter",
    "draw_value_map",
    "exhibit_plot",
    "grid",
    "heat_map",
    "response_curve",
    "scatter",
    "similarity_map",
    "strip",
    "swap_map",
    "u_figure",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hcache.figures' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
