"""An HTML table whose buttons send events to a page. It is one component, with no round trip until
a press.
"""

from __future__ import annotations

import streamlit as st

from ..assets import read_asset
from ..figures.verdict import STYLE

_CSS = read_asset(__file__, "table.css") + STYLE
_JS = read_asset(__file__, "table.js")

_table = st.components.v2.component(
    "hcache_table", html="<div class='table'></div>\n", css=_CSS, js=_JS
)


def clickable_table(key: str, html: str) -> tuple[str | None, str | None]:
    """Shows a table.

    Returns the ``data-key`` and the ``data-measure`` of the last pressed button, once.
    """
    result = _table(
        key=key, data={"html": html}, on_picked_change=lambda: None, on_asked_change=lambda: None
    )
    if result is None:
        return None, None
    return result.picked, result.asked
