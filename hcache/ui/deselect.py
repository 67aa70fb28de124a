"""Taking a selection off in a chart: a double click, or a click on the only point that is selected.

Streamlit tells of it only if the points were selected in the very chart that is shown. A chart that marks the selection
is another one after every change, so this listens to plotly's own events, and to nothing that Streamlit makes of them.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

_JS = """
export default function ({data, setTriggerValue}) {
  let soon = null, twice = false;
  const tell = (double) => {  // one double click is up to three events
    twice ||= double;
    clearTimeout(soon);
    soon = setTimeout(() => { setTriggerValue('cleared', twice ? 'twice' : 'once'); twice = false; }, 60);
  };
  const attach = () => {
    const chart = document.querySelector(`.st-key-${data.chart} .js-plotly-plot`);
    if (!chart?.on) return;
    if (!chart.hcacheCleared) {
      chart.on('plotly_doubleclick', () => chart.hcacheCleared(true));
      chart.on('plotly_deselect', () => chart.hcacheCleared(chart._fullLayout.dragmode !== 'pan'));
    }
    chart.hcacheCleared = tell;
  };
  attach();
  const timer = setInterval(attach, 100);
  return () => clearInterval(timer);
}
"""

_deselect = st.components.v2.component("hcache_deselect", html="<span></span>\n", js=_JS)


def on_deselect(chart: str, call: Callable[[bool], None]) -> None:
    """Calls, before the page is drawn again, when the user took the selection off in the chart in the container of
    that key; with whether it was a double click."""
    key = f"deselecting-{chart}"

    def tell() -> None:
        if cleared := st.session_state[key].get("cleared"):
            call(cleared == "twice")

    with st.container(key=f"deselect-{chart}", height=1, border=False):
        _deselect(key=key, data={"chart": chart}, on_cleared_change=tell)
