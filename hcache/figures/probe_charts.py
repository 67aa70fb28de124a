"""Charts of probes: a label by site and step, over the steps with its interval, and by number of
labelled samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ..cache.layout import X
from ..measures.by_cell import ProbeMap, chance_of
from .palette import CATEGORIES, SEQUENTIAL

SCORE, SELECTIVITY, CONTROL = "score", "selectivity", "control"
LEVEL = 0.05
MOST_TICKS = 20
_MARGIN = {"l": 10, "r": 10, "t": 10, "b": 10}


def site_name(site: str) -> str:
    """Returns the name of a site, with ``x`` as in formulas."""
    return "x_t" if site == X else site


def step_in_words(step: int, timesteps: Sequence[float], log_snr: np.ndarray) -> str:
    """Returns ``step 10 (t = 499, log SNR -2.5)``."""
    noise = f", log SNR {log_snr[step]:+.1f}" if np.isfinite(log_snr[step]) else ""
    return f"step {step} (t = {timesteps[step]:g}{noise})"


def probe_heatmap(
    probes: ProbeMap,
    quantity: str,
    timesteps: Sequence[float],
    log_snr: np.ndarray,
    chosen: tuple[str, int],
) -> go.Figure:
    """Plots a quantity by site and step, with the chosen cell framed.

    Cells are crossed out if meaningless labels reach their value anywhere in the map in more than 5
    % of cases, because all cells are one family
    (:meth:`~hcache.measures.by_cell.ProbeMap.family`). A heat map takes no clicks. Invisible
    marks over its cells take them, with ``customdata`` [site, step].
    """
    names, steps = [site_name(site) for site in probes.sites], list(range(probes.steps))
    low = 0.0 if quantity == SELECTIVITY else probes.nothing
    high = 1.0 - probes.nothing if quantity == SELECTIVITY else 1.0
    bar = {
        "title": {"text": probes.metric if quantity != SELECTIVITY else f"Δ {probes.metric}"},
        "thickness": 12,
    }
    figure = go.Figure(
        go.Heatmap(
            z=probes.values(quantity),
            x=steps,
            y=names,
            zmin=low,
            zmax=high,
            colorscale=SEQUENTIAL,
            xgap=1,
            ygap=1,
            colorbar=bar,
            hoverinfo="skip",
        )
    )
    chance = [cell for cell, p in probes.family().items() if not p <= LEVEL]
    cross = {"symbol": "x-thin", "size": 8, "line": {"width": 1.5, "color": "#FFFFFF"}}
    figure.add_scatter(
        x=[step for _, step in chance],
        y=[site_name(site) for site, _ in chance],
        mode="markers",
        marker=cross,
        hoverinfo="skip",
        showlegend=False,
    )
    every = [(site, step) for site in probes.sites for step in steps]
    words = [_in_words(probes, site, step, timesteps, log_snr) for site, step in every]
    _add_unseen(figure, every, words)
    row = probes.sites.index(chosen[0])
    figure.add_shape(
        type="rect",
        x0=chosen[1] - 0.5,
        x1=chosen[1] + 0.5,
        y0=row - 0.5,
        y1=row + 0.5,
        line={"color": CATEGORIES[5], "width": 3},
    )
    figure.update_yaxes(autorange="reversed", fixedrange=True, showgrid=False, type="category")
    _label_steps(figure, timesteps, log_snr)
    return figure.update_layout(height=90 + max(110, 30 * len(names)), margin=_MARGIN)


def _add_unseen(figure: go.Figure, cells: list[tuple[str, int]], words: list[str]) -> None:
    """Adds marks over cells (site, step) that take clicks and show what is below them."""
    figure.add_scatter(
        x=[step for _, step in cells],
        y=[site_name(site) for site, _ in cells],
        mode="markers",
        marker={"symbol": "square", "size": 30, "opacity": 0},
        customdata=[[site, step] for site, step in cells],
        showlegend=False,
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        text=words,
        hovertemplate="%{text}<extra></extra>",
    )


def probe_curves(
    probes: ProbeMap, chosen: tuple[str, int], timesteps: Sequence[float], log_snr: np.ndarray
) -> go.Figure:
    """Plots scores over the steps, one line per site.

    The chosen site's and x_t's have their intervals and shuffled labels.
    """
    figure = go.Figure()
    for number, site in enumerate(probes.sites):
        rows = [
            probes.cells[site, step] for step in range(probes.steps) if (site, step) in probes.cells
        ]
        if rows:
            steps, scores, controls = (
                [row[name] for row in rows] for name in ("step", SCORE, CONTROL)
            )
            _add_site(
                figure,
                number,
                site,
                site == chosen[0],
                steps,
                scores,
                controls if site in (chosen[0], X) else (),
            )
    figure.add_vline(x=chosen[1], line={"color": CATEGORIES[7], "width": 1, "dash": "dash"})
    figure.update_yaxes(
        title=f"{probes.metric}, held out", fixedrange=True, range=_range(figure, probes.nothing)
    )
    _label_steps(figure, timesteps, log_snr, most=10)
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    return figure.update_layout(height=330, margin=_MARGIN, legend=legend)


def learning_chart(
    found: Mapping[str, Mapping[str, Any]],
    sites: Sequence[str],
    chosen: str,
    chance: float | None = None,
) -> go.Figure:
    """Plots scores by the number of training samples.

    There is one line per site. The chosen one has its interval and shuffled labels.

    Args:
        found: Results by site, from :func:`~hcache.measures.learning.learning`.
        sites: All sites on the page, for the colours.
        chosen: One of them.
        chance: The score where there is nothing to read; None: 0.5 of an AUC, else 0.
    """
    figure, metric = go.Figure(), next(iter(found.values()))["metric"]
    chance = chance_of(metric) if chance is None else chance
    for number, site in enumerate(sites):
        if site in found:
            sizes, scores, controls = (
                found[site][name] for name in ("sizes", "scores", "controls")
            )
            _add_site(
                figure,
                number,
                site,
                site == chosen,
                sizes,
                scores,
                controls if site == chosen else (),
            )
    sizes = sorted({size for result in found.values() for size in result["sizes"]})
    figure.update_xaxes(
        title="labelled samples a probe is fitted on", type="log", tickvals=sizes, fixedrange=True
    )
    figure.update_yaxes(title=f"{metric}, held out", fixedrange=True, range=_range(figure, chance))
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    return figure.update_layout(height=330, margin=_MARGIN, legend=legend)


def _add_site(
    figure: go.Figure,
    number: int,
    site: str,
    chosen: bool,
    x: Sequence[float],
    scores: Sequence[Mapping[str, Any]],
    controls: Sequence[float],
) -> None:
    """Adds a site's line. With ``controls`` it adds its intervals and the scores of shuffled labels
    as well.
    """
    name, colour, width = (
        site_name(site),
        CATEGORIES[number % len(CATEGORIES)],
        3 if chosen else 1.5,
    )
    if controls:
        _add_band(figure, x, scores, colour)
        figure.add_scatter(
            x=x,
            y=controls,
            mode="lines",
            showlegend=False,
            line={"color": colour, "width": 1.5, "dash": "dot"},
            hovertemplate=f"{name}, labels shuffled: %{{y:.2f}} at %{{x}}<extra></extra>",
        )
    figure.add_scatter(
        x=x,
        y=[score["value"] for score in scores],
        name=name,
        mode="lines+markers",
        line={"color": colour, "width": width},
        marker={"size": 2 * width},
        hovertemplate=f"{name}: %{{y:.2f}} at %{{x}}<extra></extra>",
    )


def _add_band(
    figure: go.Figure, x: Sequence[float], estimates: Sequence[Mapping[str, Any]], colour: str
) -> None:
    """Adds the intervals of estimates as an area."""
    around = [each["high"] for each in estimates] + [each["low"] for each in estimates][::-1]
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    figure.add_scatter(
        x=[*x, *reversed(x)],
        y=around,
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},.18)",
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )


def _range(figure: go.Figure, chance: float) -> list[float]:
    """Returns the range: up to 1, and down to a little below chance, or to the scores of probes
    with few samples, within reason.
    """
    lowest = min(
        float(np.min([v for v in trace.y if v is not None]))
        for trace in figure.data
        if len(trace.y)
    )
    return [max(min(lowest, chance) - 0.05, chance - 0.5), 1.02]


def _label_steps(
    figure: go.Figure, timesteps: Sequence[float], log_snr: np.ndarray, most: int = MOST_TICKS
) -> None:
    """Labels the axis of steps, each with its timestep and log SNR."""
    shown = range(0, len(timesteps), -(-len(timesteps) // most))
    text = [
        f"{i}<br>{timesteps[i]:g}" + (f"<br>{log_snr[i]:+.1f}" if np.isfinite(log_snr[i]) else "")
        for i in shown
    ]
    title = "step · timestep t" + (" · log SNR" if np.isfinite(log_snr).any() else "")
    figure.update_xaxes(
        title={"text": title, "standoff": 4},
        tickvals=list(shown),
        ticktext=text,
        tickangle=0,
        tickfont={"size": 10},
        ticks="",
        fixedrange=True,
        showgrid=False,
        range=[-0.5, len(timesteps) - 0.5],
    )


def _in_words(
    probes: ProbeMap, site: str, step: int, timesteps: Sequence[float], log_snr: np.ndarray
) -> str:
    """Returns the hover text of a cell."""
    lines = [f"<b>{site_name(site)}</b>, {step_in_words(step, timesteps, log_snr)}"]
    row = probes.cells.get((site, step))
    if row is None:
        return f"{lines[0]}<br>not probed yet"
    lines += [
        (
            f"{probes.metric} {row['score']['value']:.2f} ({row['score']['low']:.2f} to"
            f" {row['score']['high']:.2f})"
        ),
        f"labels shuffled {row['control']:.2f}, p of this cell alone {row['p']:.2f}",
        (
            f"selectivity {row['selectivity']['value']:.2f} ({row['selectivity']['low']:.2f} to "
            f"{row['selectivity']['high']:.2f})"
        ),
    ]
    return "<br>".join(lines)
