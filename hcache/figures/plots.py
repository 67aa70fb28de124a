"""Plots for print: probes as a heat map, samples on components, and responses.

``heat_map``, ``scatter`` and ``response_curve`` make a plot in the size of a column or a page.
``draw_heat_map``, ``draw_scatter`` and ``draw_response_curve`` draw the same on an Axes of
matplotlib and return it. You can use them in a figure of your own:

    figure, (left, right) = plt.subplots(1, 2)
    figures.draw_scatter(pca, left, values=labels["yaw"], name="yaw").set_title("h")
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from ..analysis.bootstrap import bootstrap_many, mean_of
from ..analysis.pca import PCA
from ..errors import UsageError
from ..measures.by_cell import ProbeMap
from ..measures.exhibits import Exhibit, HeatMap
from .notebook import style_of
from .palette import CATEGORIES, LINE, MUTED, SEQUENTIAL
from .plot import Plot, finished_plot, on_paper

COLOURS = SEQUENTIAL.lower()

MOST_NAMES = 12
"""The largest number of named rows or columns. If there are more, every second or third is
named.
"""


def heat_map(probes: ProbeMap, timesteps: Sequence[float], **options: Any) -> Plot:
    """Plots how well a label is read at every site and step.

    A second map shows the same with shuffled labels.

    Args:
        probes: The result of ``hcache.measures.decodability.stored_decodability``.
        timesteps: t of each step.
        options: Style and caption, as in ``u_figure``.
    """
    style, caption = style_of(**options)
    row = min(14 + style.size, 0.15 * style.points)
    with on_paper(style, row * len(probes.sites) + 7 * style.size) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        heads = ("labels as they are", "labels shuffled")
        for ax, quantity, head in zip(axes, ("score", "control"), heads, strict=True):
            draw_heat_map(probes, ax, quantity=quantity).set_title(head)
        axes[1].tick_params(labelleft=False)
        bar = figure.colorbar(axes[0].collections[0], ax=list(axes), pad=0.01, aspect=15)
        bar.outline.set_visible(False)
        bar.ax.set_title(probes.metric, loc="center")
        title = "Linear probes by site and step"
        return finished_plot(figure, axes, style, title, caption or _told(probes, timesteps))


def draw_heat_map(probes: ProbeMap, ax: Axes, quantity: str = "score") -> Axes:
    """Draws one quantity of probes.

    There is a row per site and a column per step.

    Args:
        probes: The probes. Unknown cells stay grey.
        ax: The axes to draw on.
        quantity: ``score``, ``control`` (shuffled labels) or ``selectivity``. Colours run from
            chance to 1.
    """
    rows = len(probes.sites)
    values = np.ma.masked_invalid(probes.values(quantity))
    scale = Normalize(probes.nothing, 1.0)
    edges = np.arange(probes.steps + 1), np.arange(rows + 1)
    ax.set_facecolor(LINE)
    ax.pcolormesh(*edges, values, cmap=COLOURS, norm=scale, edgecolors="face", linewidth=0.25)
    apart = max(1, -(-probes.steps // 8))
    shown = np.arange(0, probes.steps, apart)
    ax.set_xticks(shown + 0.5, [str(step) for step in shown])
    ax.set_yticks(np.arange(rows) + 0.5, list(probes.sites))
    ax.set_ylim(rows, 0)
    ax.set_xlabel("step (0: most noise)")
    return ax


def similarity_map(found: HeatMap, **options: Any) -> Plot:
    """Plots CKA of every row with every column.

    A dot marks cells where shuffled samples give a CKA as large.

    Args:
        found: The result of ``hcache.measures.declared.cka.map_of``.
        options: Style and caption, as in ``u_figure``.
    """
    n = max(each.n for row in found.estimates for each in row)
    told = f"Linear CKA without bias, {n} samples. A dot: no more than shuffled samples give."
    return _value_map(found, "CKA", "Linear CKA of two representations", told, options)


def swap_map(found: HeatMap, **options: Any) -> Plot:
    """Plots what a swap of every site carries over.

    There is a row per site. A dot marks values that are not significant.

    Args:
        found: The result of ``hcache.measures.declared.swaps.swap_map``.
        options: Style and caption, as in ``u_figure``.
    """
    n = max(each.n for row in found.estimates for each in row)
    told = f"What a swap carries over from the donor, beyond what another donor does; {n} pairs. "
    told += "A dot: no more than chance."
    return _value_map(found, "carried", "Swaps of every site", told, options)


def group_map(found: HeatMap, **options: Any) -> Plot:
    """Plots which site carries what.

    Quantities are grouped by structure, style, colour and identity. Every cell shows the value and
    its 95 % interval, and a star if the value is significant.

    Args:
        found: The result of ``hcache.measures.declared.swaps.group_map``.
        options: Style and caption, as in ``u_figure``.
    """
    options.setdefault("width", "double")
    n = max(each.n for row in found.estimates for each in row)
    told = f"What a swap carries over from the donor, beyond what another donor does; {n} pairs,"
    told += " 95 % intervals. A star: more than chance, with p times the number of sites."
    return _value_map(found, "carried", "Which group carries what", told, options, in_words=True)


def _value_map(
    found: HeatMap, scale: str, title: str, told: str, options: Any, in_words: bool = False
) -> Plot:
    """Plots a table of values in the size of a column, with its colour bar."""
    options.setdefault("width", "single")
    style, caption = style_of(**options)
    rows, columns = len(found.rows), len(found.columns)
    tall = 0.85 * style.points if rows == columns else rows * (style.small + 4) + 6 * style.size
    if in_words:
        tall = rows * 2.6 * style.small + 7 * style.size
    with on_paper(style, tall) as figure:
        ax = draw_value_map(found, figure.subplots(), in_words)
        bar = figure.colorbar(ax.collections[0], ax=ax, pad=0.02, aspect=20)
        bar.outline.set_visible(False)
        bar.ax.set_title(scale, loc="center")
        return finished_plot(figure, [ax], style, title, caption or told)


def draw_value_map(found: HeatMap, ax: Axes, in_words: bool = False) -> Axes:
    """Draws a table of values from 0 to 1 in colours.

    Undefined values are grey. A dot marks a value with p above 0.05.

    Args:
        found: Estimates by row and column, with their p if there is one.
        ax: The axes to draw on.
        in_words: Whether to write every value with its interval into its cell, instead of dots.
    """
    rows, columns = len(found.rows), len(found.columns)
    values = [[each.value if each.defined else math.nan for each in row] for row in found.estimates]
    edges = np.arange(columns + 1), np.arange(rows + 1)
    ax.set_facecolor(LINE)
    ax.pcolormesh(
        *edges,
        np.ma.masked_invalid(np.array(values, float)),
        cmap=COLOURS,
        norm=Normalize(0, 1),
        edgecolors="face",
        linewidth=0.25,
    )
    chance = [
        (j + 0.5, i + 0.5)
        for i, row in enumerate(found.p)
        for j, p in enumerate(row)
        if p is not None and p > 0.05
    ]
    if in_words:
        _write_values(found, ax)
    elif chance:
        ax.scatter(*zip(*chance, strict=True), 4, MUTED, linewidth=0)
    _name(ax.set_xticks, found.columns)
    _name(ax.set_yticks, found.rows, rows if in_words else MOST_NAMES)
    ax.set_ylim(rows, 0)
    ax.set_xlabel(found.x)
    ax.set_ylabel(found.y)
    return ax


def _write_values(found: HeatMap, ax: Axes) -> None:
    """Writes every value with its interval into its cell, and a star if it is significant."""
    for i, row in enumerate(found.estimates):
        for j, each in enumerate(row):
            p = found.p[i][j]
            proven = each.defined and each.low > 0 and p is not None and p <= 0.05
            star = "*" if proven else ""
            interval = f"{each.low:.2f} to {each.high:.2f}"
            words = f"{each.value:.2f}{star}\n{interval}" if each.defined else "undefined"
            dark = each.defined and each.value < 0.5  # these colours begin dark
            ax.text(
                j + 0.5,
                i + 0.5,
                words.replace("-", "−"),
                ha="center",
                va="center",
                fontsize="xx-small",
                color="white" if dark else "black",
            )


def _name(
    set_ticks: Callable[[Sequence[float], Sequence[str]], Any],
    names: Sequence[str],
    most: int = MOST_NAMES,
) -> None:
    """Puts as many names as there is room for at the middle of cells."""
    shown = range(0, len(names), max(1, -(-len(names) // most)))
    set_ticks([place + 0.5 for place in shown], [names[place] for place in shown])


def exhibit_plot(exhibit: Exhibit, **options: Any) -> Plot:
    """Plots the evidence of a measure that draws itself, for print.

    Args:
        exhibit: The exhibit. What it shows has a method ``draw``, which takes an Axes of
            matplotlib. options: Style and caption, as in ``u_figure``.

    Raises:
        UsageError: there is no such method.
    """
    draw = getattr(exhibit.shown, "draw", None)
    if draw is None:
        raise UsageError(
            f"the exhibit {exhibit.title!r} is of {type(exhibit.shown).__name__}, which has no"
            " method draw(ax); it is shown on pages and in reports only"
        )
    options.setdefault("width", "single")
    style, caption = style_of(**options)
    with on_paper(style, 0.75 * style.points) as figure:
        ax = figure.subplots()
        draw(ax)
        return finished_plot(figure, [ax], style, exhibit.title, caption or f"{exhibit.title}.")


def scatter(
    pca: PCA,
    first: int = 1,
    second: int = 2,
    values: np.ndarray | None = None,
    name: str = "",
    **options: Any,
) -> Plot:
    """Plots samples on two principal components, coloured by a label.

    Args:
        pca: The components.
        first: The number of the component along x, from 1.
        second: The number of the component along y.
        values: (n,) values of the label; NaN if unknown. None means one colour.
        name: The name of the label.
        options: Style and caption, as in ``u_figure``.
    """
    options.setdefault("width", "single")
    style, caption = style_of(**options)
    with on_paper(style, 0.85 * style.points) as figure:
        ax = draw_scatter(pca, figure.subplots(), first, second, values, name)
        told = f"{len(pca.scores)} samples on principal components {first} and {second}"
        told += f", coloured by {name}." if name else "."
        return finished_plot(figure, [ax], style, "Samples on two components", caption or told)


def draw_scatter(
    pca: PCA,
    ax: Axes,
    first: int = 1,
    second: int = 2,
    values: np.ndarray | None = None,
    name: str = "",
) -> Axes:
    """Draws samples on two components.

    There is a colour bar if they have values. The arguments are those of ``scatter``, and ``ax`` is
    the axes to draw on.
    """
    x, y = (pca.scores[:, number - 1].astype(float) for number in (first, second))
    area = float(np.clip(40 / math.sqrt(len(x)), 1.6, 4.0)) ** 2
    known = np.zeros(len(x), bool) if values is None else np.isfinite(values)
    plain = CATEGORIES[0 if values is None else 6]
    ax.scatter(x[~known], y[~known], area, plain, linewidth=0)
    if values is not None and known.any():
        scale = Normalize(float(values[known].min()), float(values[known].max()))
        ax.scatter(x[known], y[known], area, values[known], cmap=COLOURS, norm=scale, linewidth=0)
        bar = ax.figure.colorbar(ScalarMappable(scale, COLOURS), ax=ax, pad=0.02, aspect=30)
        bar.outline.set_visible(False)
        bar.locator = MaxNLocator(5)
        bar.set_label(name.replace("_", " "), parse_math=False)
    share = "component {} ({:.1%} of variance)"
    ax.set_xlabel(share.format(first, pca.explained[first - 1]))
    ax.set_ylabel(share.format(second, pca.explained[second - 1]))
    return ax


def response_curve(
    strengths: Sequence[float], readings: np.ndarray, name: str, **options: Any
) -> Plot:
    """Plots the effect of an edit on a reading over strengths.

    Args:
        strengths: (s,), ascending.
        readings: (n, s), of n samples at every strength.
        name: The name of the reading.
        options: Style and caption, as in ``u_figure``.
    """
    options.setdefault("width", "single")
    style, caption = style_of(**options)
    told = (
        f"{len(readings)} samples, read at each strength: all of them (grey), their mean, and its"
        " 95 % interval."
    )
    with on_paper(style, 0.85 * style.points) as figure:
        ax = draw_response_curve(strengths, readings, name, figure.subplots())
        return finished_plot(figure, [ax], style, f"Response of {name}", caption or told)


def draw_response_curve(
    strengths: Sequence[float], readings: np.ndarray, name: str, ax: Axes
) -> Axes:
    """Draws every sample's line, their mean, and its 95 % interval.

    The interval is a bootstrap over samples. The arguments are those of ``response_curve``, and
    ``ax`` is the axes to draw on.
    """
    x, y = np.asarray(strengths, float), np.asarray(readings, float)
    means = bootstrap_many(mean_of(y), len(y))
    colour = CATEGORIES[0]
    low, high = ([getattr(mean, end) for mean in means] for end in ("low", "high"))
    ax.fill_between(x, low, high, color=colour, alpha=0.3, linewidth=0)
    ax.plot(x, y.T, color=LINE, linewidth=0.3)
    middle = [mean.value for mean in means]
    ax.plot(x, middle, color=colour, linewidth=1.25, marker="o", markersize=3.5)
    ax.set_xlabel("strength γ")
    ax.set_ylabel(name.replace("_", " "), parse_math=False)
    return ax


def _told(probes: ProbeMap, timesteps: Sequence[float]) -> str:
    """Returns the caption of a heat map."""
    counts = sorted({row["score"]["n"] for row in probes.cells.values()})
    told = f"Cross-validated {probes.metric} of linear probes of {probes.label.replace('_', ' ')}"
    told += f", {' and '.join(map(str, counts))} samples; " if counts else "; "
    chance = probes.nothing
    return told + (
        f"steps from t = {timesteps[0]:g} to {timesteps[-1]:g}. Colours begin at chance"
        f" ({chance:g})."
    )
