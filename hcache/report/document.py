"""The verdict as one HTML file: table, evidence and explanations; plotly inside once, pictures
inlined, no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from .. import __version__
from ..cache.reading import Run
from ..figures.verdict import STYLE as TABLE_STYLE
from ..figures.verdict import anchor_of, carriers_table, row_title, verdict_table
from ..measures.evidence import Evidence
from ..measures.verdict import Row, compare
from .exhibits import Exhibit, exhibits
from .guide import page_html, pages_of


def verdict_report(runs: Sequence[Run], labels: Sequence[str] | None = None) -> str:
    """The report of some runs: complete HTML, to be written into a file as it is."""
    rows = compare(runs, labels)
    evidence = {run.name: Evidence(run) for run in runs}
    names = [run.name for run in runs]
    carriers = "".join(_carriers(name, found) for name, found in evidence.items())
    sections = "".join(_section(row, evidence) for row in rows if row.cells)
    explained = dict.fromkeys(
        name for row in rows if row.cells for name in pages_of(row.question, row.subject)
    )
    guide = "".join(
        f"<article id='measure-{name}'>{page_html(name)}</article>" for name in explained
    )
    title = "Verdict on " + ", ".join(dict.fromkeys(run.spec.model for run in runs))
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<style>{_STYLE}{TABLE_STYLE}</style><script>{get_plotlyjs()}</script></head><body><main>"
        f"<h1>{escape(title)}</h1><p class='about'>{_about(runs)}</p>{verdict_table(rows, names)}"
        f"<h2>Which group carries what</h2>{carriers or '<p>Swaps were not measured.</p>'}"
        f"<h2>Evidence</h2>{sections or '<p>Nothing was measured on these runs yet.</p>'}"
        f"<h2>The measures</h2>{guide}</main><script>{_SCRIPT}</script></body></html>"
    )


def _about(runs: Sequence[Run]) -> str:
    words = "; ".join(
        f"{escape(run.name)}: {len(run)} samples of {run.spec.steps} steps" for run in runs
    )
    return (
        f"{words}. In every cell a figure, its 95 % interval as a line, its null as a dashed mark,"
        " a thin mark at 0. Runs are ranked only at equal n, and where the interval of their"
        " difference, widened for all comparisons of the table, does not hold 0. p is adjusted for"
        " all labels or sites that a question was asked of. What is measured step by step is told"
        f" at log SNR 0. Made by hcache {escape(__version__)}."
    )


def _carriers(name: str, evidence: Evidence) -> str:
    table = carriers_table(evidence.carriers())
    return f"<h3>{escape(name)}</h3>{table}" if table else ""


def _section(row: Row, evidence: dict[str, Evidence]) -> str:
    """A row's evidence, folded; what is linked to is unfolded by the script."""
    shown = "".join(
        _exhibit(each, f"{anchor_of(row)}-{i}")
        for i, each in enumerate(exhibits(row.question, row.subject, evidence))
    )
    said = "".join(
        f"<li><b>{escape(run)}</b>: {escape(str(cell))}</li>" for run, cell in row.cells.items()
    )
    links = ", ".join(
        f"<a href='#measure-{name}'>{name}</a>" for name in pages_of(row.question, row.subject)
    )
    return (
        f"<details id='{anchor_of(row)}'><summary>{escape(row_title(row))}</summary><ul>{said}</ul>"
        f"<p class='about'>What it says, and what it does not: {links}.</p>{shown}</details>"
    )


def _exhibit(each: Exhibit, name: str) -> str:
    body = each.html if each.figure is None else _chart(each.figure, name)
    return f"<figure class='exhibit'><figcaption>{escape(each.title)}</figcaption>{body}</figure>"


def _chart(figure: go.Figure, name: str) -> str:
    """A chart's data; the script draws it when it is first to be seen, in the reader's colours."""
    clear = "rgba(0,0,0,0)"
    plain = go.Figure(figure).update_layout(
        template="none", paper_bgcolor=clear, plot_bgcolor=clear
    )
    data = plain.to_json().replace("<", "\\u003c")
    height = int(figure.layout.height or 360)
    return (
        f"<div class='chart' id='{name}' style='height:{height}px'></div>"
        f"<script type='application/json' data-chart='{name}'>{data}</script>"
    )


_STYLE = """
:root {color-scheme: light dark; --ink: #1F2430; --muted: #667085; --paper: #FFFFFF; --line: #CBD2DC;
  --accent: #0072B2; --chosen: #EAF3F9; --warn: #B54708; --font: 'Source Sans Pro', 'Helvetica Neue', Arial, sans-serif}
@media (prefers-color-scheme: dark) {:root {--ink: #E7EAF0; --muted: #9AA4B2; --paper: #0E1117; --line: #343B49;
  --accent: #56B4E9; --chosen: #16222E; --warn: #F0A04B}}
body {background: var(--paper); color: var(--ink); font-family: var(--font); margin: 0; line-height: 1.5}
main {max-width: 1180px; margin: auto; padding: 24px}
h2 {margin-top: 2.4rem}
a {color: var(--accent)}
.about {color: var(--muted); max-width: 60rem}
details {border-top: 1px solid var(--line); padding: 8px 0}
summary {cursor: pointer; font-weight: 600}
figure.exhibit {margin: 18px 0; overflow-x: auto}
figcaption {font-weight: 600; margin-bottom: 4px}
article {max-width: 60rem}
"""

_SCRIPT = """
const dark = matchMedia('(prefers-color-scheme: dark)');
function colours() {
  const css = getComputedStyle(document.documentElement), get = (name) => css.getPropertyValue(name).trim();
  return {ink: get('--ink'), line: get('--line')};
}
function draw(chart) {
  const source = document.querySelector(`[data-chart="${chart.id}"]`), figure = JSON.parse(source.textContent);
  const {ink, line} = colours();
  figure.layout.font = {color: ink};
  const axes = Object.keys(figure.layout).filter((key) => /^[xy]axis/.test(key));
  for (const key of axes) Object.assign(figure.layout[key], {gridcolor: line, zerolinecolor: line, automargin: true});
  Plotly.react(chart, figure.data, figure.layout, {responsive: true, displaylogo: false});
}
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
});
document.querySelectorAll('.chart').forEach((chart) => seen.observe(chart));
dark.addEventListener('change', () => document.querySelectorAll('.chart.js-plotly-plot').forEach(draw));
function unfold() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === 'DETAILS') { target.open = true; target.scrollIntoView(); }
}
addEventListener('hashchange', unfold);
unfold();
addEventListener('beforeprint', () => {
  document.querySelectorAll('details').forEach((each) => each.open = true);
  document.querySelectorAll('.chart:not(.js-plotly-plot)').forEach(draw);
});
"""
