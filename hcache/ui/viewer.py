"""Pictures side by side under one zoom, or two in one place by turns.

Wheel or + and - zoom, dragging or the arrow keys move, 0 goes back; all panes follow. By turns,
Space stops and goes on, A and B show one of the two. Nothing changes more than twice a second, and
nothing moves by itself for who has asked their system for less motion.
https://www.w3.org/WAI/WCAG22/Understanding/three-flashes-or-below-threshold.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from ..assets import read_asset

SLOWEST, FASTEST = 0.5, 2.0
"""The number of changes per second."""

_CSS = read_asset(__file__, "viewer.css")

_JS = read_asset(__file__, "viewer.js")

_viewer = st.components.v2.component(
    "hcache_viewer", html="<div class='host'></div>\n", css=_CSS, js=_JS
)


def show_pictures(
    key: str,
    pictures: Sequence[Mapping[str, object]],
    pane: int,
    rate: float = 0.0,
    legend: Mapping | None = None,
) -> None:
    """Shows pictures under one zoom.

    Args:
        key: The key of the component.
        pictures: ``uri`` and ``title`` of each; ``legend`` true of the one that has the legend
            below it.
        pane: The largest width of a picture, in pixels.
        rate: If it is not 0, two pictures alternate in one place, with this number of changes per
            second.
        legend: ``colours`` of a scale from left to right, and the texts ``ends`` below it.
    """
    data = {
        "pictures": list(pictures),
        "pane": pane,
        "blink": rate > 0,
        "rate": min(max(rate, SLOWEST), FASTEST),
        "legend": legend,
        "label": "Pictures: plus and minus zoom, arrow keys move, 0 goes back",
    }
    _viewer(key=key, data=data)
