"""The picture of the point under the mouse, beside it, without asking the server: from one sprite of all pictures.

It listens to the events of Streamlit's own plotly charts. Where a chart is not found, or a picture would be too small,
nothing is shown, and nothing else depends on it.
"""

from __future__ import annotations

import json

import streamlit as st

from ..cache.reading import Run
from . import loaders

_JS = """
const SIZE = 96;

export default function ({data, key}) {
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  const end = bytes.indexOf(10);
  const about = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
  const url = URL.createObjectURL(new Blob([bytes.subarray(end + 1)], {type: 'image/jpeg'}));
  const tip = document.createElement('div');
  tip.className = 'hcache-hover';
  Object.assign(tip.style, {position: 'fixed', display: 'none', pointerEvents: 'none', zIndex: 1000,
    width: SIZE + 'px', height: SIZE + 'px', borderRadius: '8px', border: '2px solid white',
    boxShadow: '0 2px 10px rgba(0,0,0,.5)', backgroundImage: `url(${url})`});
  document.body.append(tip);
  const scale = SIZE / about.cell;
  tip.style.backgroundSize = `${about.columns * SIZE}px auto`;

  const show = (event) => {
    const point = event.points.find((p) => Array.isArray(p.customdata));
    if (!point) return;
    const row = point.customdata[1], mouse = event.event;
    tip.style.backgroundPosition =
      `${-(row % about.columns) * SIZE}px ${-Math.floor(row / about.columns) * about.height * scale}px`;
    tip.style.height = about.height * scale + 'px';
    const left = mouse.clientX + 18, top = mouse.clientY + 18;
    tip.style.left = (left + SIZE > innerWidth ? mouse.clientX - SIZE - 18 : left) + 'px';
    tip.style.top = (top + SIZE > innerHeight ? mouse.clientY - SIZE - 18 : top) + 'px';
    tip.style.display = 'block';
  };
  const hide = () => { tip.style.display = 'none'; };
  const attach = () => {
    const chart = document.querySelector(`.st-key-${about.chart} .js-plotly-plot`);
    if (!chart?.on || chart.hcacheHover === tip) return;
    chart.hcacheHover = tip;
    chart.on('plotly_hover', show);
    chart.on('plotly_unhover', hide);
    chart.addEventListener('mouseleave', hide);
  };
  const timer = setInterval(attach, 400);
  return () => { clearInterval(timer); tip.remove(); URL.revokeObjectURL(url); };
}
"""

_hover = st.components.v2.component("hcache_hover", html="<span></span>\n", js=_JS)


def hover_pictures(run: Run, chart: str) -> bool:
    """Shows a run's pictures at the points of the chart in the container of that key, whose ``customdata`` is (number,
    row, ...); False where there are too many for one sprite."""
    found = loaders.sprite_of(str(run.folder), len(run))
    if found is None:
        return False
    picture, cell = found
    height = max(1, round(cell * run.anatomy.image[0] / run.anatomy.image[1]))
    about = {"chart": chart, "cell": cell, "height": height, "columns": -int(-(len(run) ** 0.5) // 1)}
    with st.container(key="hover-pictures", height=1, border=False):
        _hover(key=f"hover-{chart}", data=json.dumps(about).encode() + b"\n" + picture)
    return True
