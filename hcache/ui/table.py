"""A table of HTML whose buttons a page hears: one component, no round trip until one is pressed."""

from __future__ import annotations

import streamlit as st

from ..figures.verdict import STYLE

_CSS = f"""
.table {{--ink: var(--st-text-color); --line: var(--st-border-color-light, var(--st-border-color, #CBD2DC));
  --muted: color-mix(in srgb, var(--st-text-color) 68%, transparent); --accent: var(--st-primary-color);
  --chosen: color-mix(in srgb, var(--st-primary-color) 12%, transparent); --warn: var(--st-orange-text-color, #B54708);
  --font: var(--st-font); overflow-x: auto; padding: 2px}}
{STYLE}
"""

_JS = """
export default function ({data, parentElement, setTriggerValue}) {
  const table = parentElement.querySelector('.table');
  if (table.dataset.shown !== data.html) { table.innerHTML = data.html; table.dataset.shown = data.html; }
  table.onclick = (event) => {
    const cell = event.target.closest('[data-key]'), measure = event.target.closest('[data-measure]');
    if (cell) setTriggerValue('picked', cell.dataset.key);
    if (measure) setTriggerValue('asked', measure.dataset.measure);
  };
}
"""

_table = st.components.v2.component(
    "hcache_table", html="<div class='table'></div>\n", css=_CSS, js=_JS
)


def clickable_table(key: str, html: str) -> tuple[str | None, str | None]:
    """Shows a table; returns the ``data-key`` and the ``data-measure`` of the button that was
    just pressed, once.
    """
    result = _table(
        key=key, data={"html": html}, on_picked_change=lambda: None, on_asked_change=lambda: None
    )
    if result is None:
        return None, None
    return result.picked, result.asked
