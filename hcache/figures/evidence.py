"""The charts of a verdict: every curve with its interval as a band, and its null.

Each run has the same colour in every chart. Dashes distinguish curves of one run. Grey is the null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..analysis.estimate import Estimate
from ..errors import UsageError
from ..measures.exhibits import (
    LEVEL,
    Bar,
    Bars,
    CosineCurves,
    Curves,
    HeatMaps,
    LeakageMaps,
    OwnChart,
    Point,
    ReadAndMove,
    ResponseCurves,
)
from .palette import CATEGORIES, DIVERGING, SEQUENTIAL

_MARGIN = {"l": 10, "r": 10, "t": 36, "b": 10}
_NULL = "#8A93A2"
DASHES = ("solid", "dash", "dot", "dashdot")

_ByRun = Mapping[str, Mapping[str, Sequence[Point]]]
"""Curves by run, and then by the compared thing on one run."""


def chart_of(shown: object) -> go.Figure | None:
    """Returns the chart of a measure's exhibit.

    It is None if the exhibit is not a chart.

    Raises:
        UsageError: an exhibit that draws itself returns no figure.
    """
    if isinstance(shown, OwnChart):
        return _own_chart(shown)
    draw = _CHARTS.get(type(shown))
    return None if draw is None else draw(shown)


def _own_chart(shown: OwnChart) -> go.Figure:
    """What an exhibit draws itself, as a figure."""
    found, name = shown.chart(), type(shown).__name__
    try:
        return found if isinstance(found, go.Figure) else go.Figure(dict(found))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"chart() of the exhibit {name} is to return a plotly figure or its JSON, and returned"
            f" {type(found).__name__}"
        ) from error


def curves_over_noise(shown: Curves) -> go.Figure:
    """Plots measures over log SNR with bands. Thin grey lines are nulls."""
    figure = go.Figure()
    add_curves(figure, shown.runs, shown.null)
    if shown.chance is not None:
        figure.add_hline(y=shown.chance, line={"color": _NULL, "width": 1, "dash": "dot"})
    figure.update_xaxes(title=shown.x)
    figure.update_yaxes(title=shown.axis)
    return _laid_out(figure, 360)


def read_and_move(shown: ReadAndMove) -> go.Figure:
    """Plots two panels: decodability of a label, and its control by h."""
    titles = ("where it can be read", "where moving h moves it")
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, horizontal_spacing=0.1)
    add_curves(figure, shown.read, "shuffled labels", row=1, col=1)
    for number, (run, points) in enumerate(shown.move.items()):
        colour = CATEGORIES[number % len(CATEGORIES)]
        _band_of_null(figure, points, row=1, col=2)
        _error_bars(
            figure, [p.at for p in points], [p.estimate for p in points], colour, run, row=1, col=2
        )
    figure.add_hline(y=0, line={"color": _NULL, "width": 1}, row=1, col=2)
    figure.update_xaxes(title=LEVEL)
    figure.update_yaxes(title=f"held-out {shown.metric}", row=1, col=1)
    figure.update_yaxes(title="spreads a unit of strength", row=1, col=2)
    return _laid_out(figure, 380)


def add_curves(figure: go.Figure, curves: _ByRun, null: str, **place: int) -> None:
    """Adds curves with bands and nulls to a figure or a panel."""
    said = False
    for number, (run, named) in enumerate(curves.items()):
        for dash, (name, points) in zip(DASHES, named.items(), strict=False):
            points = sorted((p for p in points if np.isfinite(p.at)), key=lambda p: p.at)
            colour, x = CATEGORIES[number % len(CATEGORIES)], [p.at for p in points]
            low, high = [p.estimate.low for p in points], [p.estimate.high for p in points]
            figure.add_scatter(
                x=x + x[::-1],
                y=high + low[::-1],
                fill="toself",
                mode="lines",
                line_width=0,
                fillcolor=_faint(colour),
                hoverinfo="skip",
                showlegend=False,
                legendgroup=f"{run} {name}",
                **place,
            )
            label = f"{name}, {run}" if len(curves) > 1 else name
            figure.add_scatter(
                x=x,
                y=[p.estimate.value for p in points],
                name=label,
                legendgroup=f"{run} {name}",
                mode="lines+markers",
                line={"color": colour, "dash": dash, "width": 2},
                text=[f"{p.estimate}" + ("" if p.p is None else f", p {p.p:.2g}") for p in points],
                hovertemplate=f"{label}<br>%{{text}}<extra></extra>",
                **place,
            )
            if any(p.null is not None for p in points):
                figure.add_scatter(
                    x=x,
                    y=[p.null for p in points],
                    name=null,
                    mode="lines",
                    legendgroup="null",
                    showlegend=not said,
                    line={"color": _NULL, "dash": dash, "width": 1},
                    hoverinfo="skip",
                    **place,
                )
                said = True


def response_curves(shown: ResponseCurves) -> go.Figure:
    """Plots the mean change of a reading over strengths, by run.

    Each panel has the straight line, and random directions in grey.
    """
    responses = shown.runs
    figure = make_subplots(
        rows=1, cols=len(responses), subplot_titles=list(responses), shared_yaxes=True
    )
    for number, found in enumerate(responses.values()):
        place, gamma = {"row": 1, "col": number + 1}, found["strengths"]
        colour = CATEGORIES[number % len(CATEGORIES)]
        for i, null in enumerate(found["null_curves"]):
            figure.add_scatter(
                x=gamma,
                y=null,
                mode="lines",
                line={"color": _NULL, "width": 1},
                opacity=0.6,
                name="random directions",
                legendgroup="null",
                showlegend=number == i == 0,
                hoverinfo="skip",
                **place,
            )
        curve = [Estimate.from_json(each) for each in found["curve"]]
        slope = float(np.dot(gamma, [each.value for each in curve]) / np.square(gamma).sum())
        figure.add_scatter(
            x=gamma,
            y=[slope * each for each in gamma],
            mode="lines",
            name="straight line",
            legendgroup="line",
            showlegend=number == 0,
            hoverinfo="skip",
            line={"color": colour, "width": 1, "dash": "dash"},
            **place,
        )
        _error_bars(
            figure, gamma, curve, colour, "mean change, 95 %", showlegend=number == 0, **place
        )
        figure.update_xaxes(title="strength γ", **place)
    figure.update_yaxes(title=f"change of {shown.label} (spreads)", row=1, col=1)
    return _laid_out(figure, 360)


def leakage_maps(shown: LeakageMaps) -> go.Figure:
    """Plots the mean change of every reading under every edit.

    There is one panel per run. A frame marks the intended reading, and a star marks a leak beyond
    chance.
    """
    matrices = shown.runs
    figure = make_subplots(
        rows=len(matrices), cols=1, subplot_titles=list(matrices), vertical_spacing=0.16
    )
    rows = 0
    for number, found in enumerate(matrices.values()):
        place = {"row": number + 1, "col": 1}
        cells = [[Estimate.from_json(cell) for cell in row] for row in found["matrix"]]
        leaks = [[p is not None and p <= 0.05 for p in row] for row in found["p"]]
        text = [
            [f"{cell.value:+.2f}" + ("*" if leak else "") for cell, leak in zip(*both, strict=True)]
            for both in zip(cells, leaks, strict=True)
        ]
        figure.add_heatmap(
            z=[[cell.value for cell in row] for row in cells],
            x=_words(found["attributes"]),
            y=_words(found["edits"]),
            text=text,
            texttemplate="%{text}",
            coloraxis="coloraxis",
            customdata=[[str(cell) for cell in row] for row in cells],
            hovertemplate="edit of %{y}: %{x}<br>%{customdata}<extra></extra>",
            **place,
        )
        for i, j in enumerate(found["meant"]):
            figure.add_shape(
                type="rect",
                x0=j - 0.5,
                x1=j + 0.5,
                y0=i - 0.5,
                y1=i + 0.5,
                **place,
                line={"color": "#1F2430", "width": 2},
            )
        figure.update_yaxes(title="edit meant for", autorange="reversed", **place)
        rows += len(cells)
    most = max(
        abs(Estimate.from_json(cell).value)
        for found in matrices.values()
        for row in found["matrix"]
        for cell in row
    )
    bar = {"title": {"text": "spreads"}, "thickness": 12}
    figure.update_layout(
        coloraxis={"colorscale": DIVERGING, "cmin": -most, "cmax": most, "colorbar": bar}
    )
    return _laid_out(figure, 110 * len(matrices) + 44 * rows + 40)


def heat_maps(shown: HeatMaps) -> go.Figure:
    """Draws tables as heat maps, one panel each.

    A dot marks a cell where chance gives as much.
    """
    across = min(2, len(shown.panels))
    down = -(-len(shown.panels) // across)
    figure = make_subplots(
        rows=down, cols=across, subplot_titles=list(shown.panels), vertical_spacing=0.3 / down
    )
    for number, found in enumerate(shown.panels.values()):
        place = {"row": number // across + 1, "col": number % across + 1}
        text = [
            [
                str(each) + ("" if p is None else f"; {shown.chance} {null:.2f}, p {p:.2g}")
                for each, null, p in zip(*cells, strict=True)
            ]
            for cells in zip(found.estimates, found.null, found.p, strict=True)
        ]
        figure.add_heatmap(
            z=[[each.value for each in row] for row in found.estimates],
            x=list(found.columns),
            y=list(found.rows),
            customdata=text,
            hovertemplate="%{y} and %{x}<br>%{customdata}<extra></extra>",
            coloraxis="coloraxis",
            **place,
        )
        chance = [
            (found.columns[j], found.rows[i])
            for i, row in enumerate(found.p)
            for j, p in enumerate(row)
            if p is not None and p > 0.05
        ]
        figure.add_scatter(
            x=[x for x, _ in chance],
            y=[y for _, y in chance],
            mode="markers",
            marker={"color": _NULL, "size": 4},
            name="not above chance",
            showlegend=number == 0 and bool(chance),
            legendgroup="null",
            hoverinfo="skip",
            **place,
        )
        figure.update_xaxes(title=found.x, type="category", **place)
        figure.update_yaxes(title=found.y, type="category", autorange="reversed", **place)
    bar = {"title": {"text": shown.scale}, "thickness": 12}
    axis = {"colorscale": SEQUENTIAL, "cmin": shown.low, "cmax": shown.high, "colorbar": bar}
    return _laid_out(figure.update_layout(coloraxis=axis), 420 * down)


def bars_with_null(shown: Bars) -> go.Figure:
    """Plots values with intervals, one colour per run. Grey marks are nulls."""
    figure, count = go.Figure(), len(shown.runs)
    names = list(dict.fromkeys(name for found in shown.runs.values() for name in found))
    for number, (run, found) in enumerate(shown.runs.items()):
        present = [name for name in names if name in found]
        y = [names.index(name) + (number - (count - 1) / 2) * 0.7 / count for name in present]
        nulls = [None if (null := found[name].null) is None else null.value for name in present]
        figure.add_scatter(
            x=nulls,
            y=y,
            mode="markers",
            name=shown.null,
            legendgroup="null",
            showlegend=number == 0,
            hoverinfo="skip",
            marker={"symbol": "line-ns", "size": 12, "line": {"width": 2, "color": _NULL}},
        )
        estimates = [found[name].measured for name in present]
        colour = CATEGORIES[number % len(CATEGORIES)]
        ends = {
            "symmetric": False,
            "array": [e.high - e.value for e in estimates],
            "arrayminus": [e.value - e.low for e in estimates],
            "thickness": 2,
            "width": 4,
        }
        text = [f"{name}: {_in_words(found[name], shown.null)}" for name in present]
        figure.add_scatter(
            x=[e.value for e in estimates],
            y=y,
            mode="markers",
            name=run,
            error_x=ends,
            text=text,
            marker={"color": colour, "size": 9},
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=_words(names),
        autorange="reversed",
        zeroline=False,
    )
    figure.update_xaxes(title=shown.axis, zeroline=True)
    return _laid_out(figure, 160 + 26 * len(names) * max(1, count))


def _in_words(bar: Bar, null: str) -> str:
    return str(bar.measured) if bar.null is None else f"{bar.measured}; {null} {bar.null}"


def cosines_over_noise(shown: CosineCurves) -> go.Figure:
    """Plots the cosine of every pair of directions over log SNR.

    There is one panel per run, with nulls in grey.
    """
    rows = shown.runs
    figure = make_subplots(rows=1, cols=len(rows), subplot_titles=list(rows), shared_yaxes=True)
    for number, found in enumerate(rows.values()):
        place = {"row": 1, "col": number + 1}
        steps = sorted((row for row in found if np.isfinite(row["at"])), key=lambda row: row["at"])
        for i, pair in enumerate(steps[0]["pairs"] if steps else ()):
            same = [(row["at"], row["pairs"][i]) for row in steps if row["pairs"][i]["cosine"]]
            points = [
                Point(at=at, estimate=Estimate.from_json(each["cosine"]), p=each["p"])
                for at, each in same
            ]
            name, colour = f"{pair['first']} and {pair['second']}", CATEGORIES[i % len(CATEGORIES)]
            _error_bars(
                figure,
                [p.at for p in points],
                [p.estimate for p in points],
                colour,
                name.replace("_", " "),
                showlegend=number == 0,
                **place,
            )
        null = [max(pair["null"] for pair in row["pairs"]) for row in steps]
        for sign in (1, -1):
            figure.add_scatter(
                x=[row["at"] for row in steps],
                y=[sign * each for each in null],
                mode="lines",
                line={"color": _NULL, "width": 1, "dash": "dot"},
                name="95 % by chance",
                legendgroup="null",
                showlegend=number == 0 and sign > 0,
                hoverinfo="skip",
                **place,
            )
        figure.update_xaxes(title=LEVEL, **place)
    figure.update_yaxes(title="cosine", range=[-1, 1])
    return _laid_out(figure, 380)


def _error_bars(
    figure: go.Figure,
    x: Sequence[float],
    estimates: Sequence[Estimate],
    colour: str,
    name: str,
    showlegend: bool = True,
    **place: int,
) -> None:
    ends = {
        "symmetric": False,
        "array": [e.high - e.value for e in estimates],
        "arrayminus": [e.value - e.low for e in estimates],
        "thickness": 1.5,
        "width": 3,
    }
    figure.add_scatter(
        x=list(x),
        y=[e.value for e in estimates],
        mode="lines+markers",
        name=name,
        legendgroup=name,
        showlegend=showlegend,
        error_y=ends,
        line={"color": colour, "width": 2},
        text=[str(e) for e in estimates],
        hovertemplate=f"{name}<br>%{{text}}<extra></extra>",
        **place,
    )


def _band_of_null(figure: go.Figure, points: Sequence[Point], **place: int) -> None:
    """Returns ± the random directions' root mean square."""
    x, null = [p.at for p in points], [p.null or 0.0 for p in points]
    figure.add_scatter(
        x=x + x[::-1],
        y=null + [-each for each in null[::-1]],
        fill="toself",
        mode="lines",
        line_width=0,
        fillcolor=_faint(_NULL),
        name="random directions",
        legendgroup="random",
        hoverinfo="skip",
        showlegend=not any(trace.name == "random directions" for trace in figure.data),
        **place,
    )


def _laid_out(figure: go.Figure, height: int) -> go.Figure:
    # the legend's y counts in heights of the plot itself: it stands 60 pixels below the plot
    legend = {"orientation": "h", "y": -60 / max(height - 120, 60), "x": 0}
    return figure.update_layout(height=height, margin=_MARGIN, legend=legend)


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"


def _words(names: Sequence[str]) -> list[str]:
    return [name.replace("_", " ") for name in names]


_CHARTS: Mapping[type, Callable[[Any], go.Figure]] = {
    Curves: curves_over_noise,
    Bars: bars_with_null,
    ReadAndMove: read_and_move,
    ResponseCurves: response_curves,
    HeatMaps: heat_maps,
    LeakageMaps: leakage_maps,
    CosineCurves: cosines_over_noise,
}
"""Every exhibit that is a chart, and the function that draws it."""
