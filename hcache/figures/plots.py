"""Plots for print of what was measured: heat map of probes, scatter of components, response
curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from plotly.colors import sample_colorscale

from ..analysis.bootstrap import bootstrap_many, mean_of
from ..analysis.pca import PCA
from ..analysis.probes import AUC
from ..measures.decodability import ProbeMap
from ..measures.exhibits import HeatMap
from .drawing import Figure, Style, finished
from .fonts import ASCENT, DESCENT, width_of
from .marks import Mark, Text, area, disc, line
from .notebook import style_of
from .palette import CATEGORIES, INK, LINE, MUTED, SEQUENTIAL, tinted

TICK = 2.5
"""The length of a tick, in points."""


@dataclass(frozen=True, kw_only=True)
class _Axes:
    """A rectangle of the sheet, and the numbers at its left, right, bottom and top."""

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    style: Style

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a pair of numbers lies on the sheet."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return self.left + across * self.width, self.top + (1 - up) * self.height

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def marks(
        self, x_title: str, y_title: str, x_ticks: dict[float, str], y_ticks: dict[float, str]
    ) -> list[Mark]:
        """Lines at the left and below, ticks with their texts, and what is on the axes."""
        small, size, right = self.style.small, self.style.size, self.left + self.width
        corner = (self.left, self.bottom)
        marks: list[Mark] = [
            line((self.left, self.top), corner, (right, self.bottom), stroke=INK, width=0.5)
        ]
        for value, text in x_ticks.items():
            x, _ = self.at(value, self.y[0])
            y = self.bottom + TICK + 1.5 + ASCENT * small
            marks.append(line((x, self.bottom), (x, self.bottom + TICK), stroke=INK, width=0.5))
            marks.append(Text(x=x, y=y, text=text, size=small, anchor="middle"))
        for value, text in y_ticks.items():
            _, y = self.at(self.x[0], value)
            marks.append(line((self.left - TICK, y), (self.left, y), stroke=INK, width=0.5))
            lower = y + (ASCENT - DESCENT) * small / 2
            marks.append(
                Text(x=self.left - TICK - 1.5, y=lower, text=text, size=small, anchor="end")
            )
        below = self.bottom + _below(self.style) - DESCENT * size
        marks.append(
            Text(x=self.left + self.width / 2, y=below, text=x_title, size=size, anchor="middle")
        )
        if y_title:
            middle = self.top + self.height / 2
            marks.append(
                Text(
                    x=ASCENT * size + 0.5,
                    y=middle,
                    text=y_title,
                    size=size,
                    anchor="middle",
                    upward=True,
                )
            )
        return marks


def heat_map(probes: ProbeMap, timesteps: Sequence[float], **options: Any) -> Figure:
    """How well a label is read off every site at every step, beside the same with shuffled labels.

    Args:
        probes: Of ``hcache.measures.decodability.stored_decodability``; cells that are not known
            stay grey.
        timesteps: t of each step.
        options: Style and caption, as in ``u_figure``.
    """
    style, caption = style_of(**options)
    steps, rows = probes.steps, len(probes.sites)
    left = max(width_of(site, style.small) for site in probes.sites) + TICK + 3
    gap, bar = 8.0, 0.02 * style.points + width_of("0.00", style.small) + 12
    width, top = (style.points - left - gap - bar) / 2, 1.5 * style.size
    tall = min(14 + style.size, 0.3 * width) * rows
    chance = 0.5 if probes.metric == AUC else 0.0
    marks: list[Mark] = []
    ticks = {float(step) + 0.5: str(step) for step in range(0, steps, max(1, -(-steps // 8)))}
    heads = ("labels as they are", "labels shuffled")
    for number, (quantity, head) in enumerate(zip(("score", "control"), heads, strict=True)):
        axes = _Axes(
            left=left + number * (width + gap),
            top=top,
            width=width,
            height=tall,
            x=(0, steps),
            y=(rows, 0),
            style=style,
        )
        for (row, step), score in np.ndenumerate(probes.values(quantity)):
            colour = _colour((score - chance) / (1 - chance)) if math.isfinite(score) else LINE
            marks.append(_tile(axes, step, row, colour))
        sites = {row + 0.5: site for row, site in enumerate(probes.sites)} if number == 0 else {}
        marks += axes.marks("step (0: most noise)", "", ticks, sites)
        marks.append(Text(x=axes.left, y=top - 0.4 * style.size, text=head, size=style.size))
    place = _Axes(
        left=style.points - bar + 8,
        top=top,
        width=0.02 * style.points,
        height=tall,
        x=(0, 1),
        y=(chance, 1),
        style=style,
    )
    marks += _colour_bar(place, f"{probes.metric}")
    counts = sorted({row["score"]["n"] for row in probes.cells.values()})
    told = f"Cross-validated {probes.metric} of linear probes of {probes.label.replace('_', ' ')}"
    told += f", {' and '.join(map(str, counts))} samples; " if counts else "; "
    told += (
        f"steps from t = {timesteps[0]:g} to {timesteps[-1]:g}. Colours begin at chance"
        f" ({chance:g})."
    )
    return finished(
        marks, top + tall + _below(style), style, "Linear probes by site and step", caption or told
    )


def similarity_map(found: HeatMap, **options: Any) -> Figure:
    """CKA of every row with every column; a dot is where shuffled samples give as much.

    Args:
        found: Of ``hcache.measures.declared.cka.map_of``.
        options: Style and caption, as in ``u_figure``.
    """
    n = max(each.n for row in found.estimates for each in row)
    told = f"Linear CKA without bias, {n} samples. A dot: no more than shuffled samples give."
    return _value_map(found, "CKA", "Linear CKA of two representations", told, options)


def swap_map(found: HeatMap, **options: Any) -> Figure:
    """What a swap of every site carries over, a row a site; a dot is where nothing is proven.

    Args:
        found: Of ``hcache.measures.declared.swaps.swap_map``.
        options: Style and caption, as in ``u_figure``.
    """
    n = max(each.n for row in found.estimates for each in row)
    told = f"What a swap carries over from the donor, beyond what another donor does; {n} pairs. "
    told += "A dot: no more than chance."
    return _value_map(found, "carried", "Swaps of every site", told, options)


def _value_map(found: HeatMap, scale: str, title: str, told: str, options: Any) -> Figure:
    """A table of values from 0 to 1 in colours; what is not defined is grey."""
    given: dict[str, Any] = {"width": "single", **options}
    style, caption = style_of(**given)
    rows, columns = len(found.rows), len(found.columns)
    left = max(width_of(name, style.small) for name in found.rows) + TICK + 3
    left += (ASCENT + DESCENT) * style.size + 3
    bar = 15 + width_of("0", style.small)
    width, top = style.points - left - bar, 1.6 * style.size
    tall = width if rows == columns else rows * (style.small + 4)
    axes = _Axes(
        left=left, top=top, width=width, height=tall, x=(0, columns), y=(rows, 0), style=style
    )
    marks: list[Mark] = []
    for i, j in np.ndindex(rows, columns):
        each, p = found.estimates[i][j], found.p[i][j]
        marks.append(_tile(axes, j, i, _colour(each.value) if each.defined else LINE))
        if p is not None and p > 0.05:
            radius = min(1.0, width / columns / 5, tall / rows / 5)
            marks.append(disc(*axes.at(j + 0.5, i + 0.5), radius, MUTED))
    across = _named(found.columns, width, max(width_of(n, style.small) for n in found.columns) + 4)
    down = _named(found.rows, tall, style.small + 1)
    marks += axes.marks(found.x, found.y, across, down)
    beside = replace(axes, left=left + width + 6, width=6, x=(0, 1), y=(0, 1))
    marks += _colour_bar(beside, scale)
    return finished(marks, top + tall + _below(style), style, title, caption or told)


def _named(names: Sequence[str], length: float, room: float) -> dict[float, str]:
    """Ticks in the middle of cells, as many as have ``room`` each on that length."""
    every = math.ceil(len(names) * room / length)
    return {k + 0.5: names[k] for k in range(0, len(names), every)}


def scatter(
    pca: PCA,
    first: int = 1,
    second: int = 2,
    values: np.ndarray | None = None,
    name: str = "",
    **options: Any,
) -> Figure:
    """Samples on two principal components, numbered from 1, coloured by a label's ``values``
    (n,) if they are given.
    """
    options.setdefault("width", "single")
    style, caption = style_of(**options)
    x, y = (pca.scores[:, number - 1].astype(float) for number in (first, second))
    share = "component {} ({:.1%} of variance)"
    low, high = (
        (0.0, 1.0) if values is None else (float(np.nanmin(values)), float(np.nanmax(values)))
    )
    right = (
        0.0
        if values is None
        else 15 + max(width_of(_end(value), style.small) for value in (low, high))
    )
    axes, x_ticks, y_ticks = _plot(style, x, y, right)
    radius = float(np.clip(20 / math.sqrt(len(x)), 0.8, 2.0))
    titles = (share.format(k, pca.explained[k - 1]) for k in (first, second))
    marks = axes.marks(*titles, x_ticks, y_ticks)
    for row, point in enumerate(zip(x, y, strict=True)):
        known = values is not None and math.isfinite(values[row])
        colour = (
            _colour((values[row] - low) / ((high - low) or 1))
            if known
            else CATEGORIES[0 if values is None else 7]
        )
        marks.append(disc(*axes.at(*point), radius, colour))
    if values is not None:
        place = _Axes(
            left=axes.left + axes.width + 6,
            top=axes.top + 1.6 * style.size,
            width=6,
            height=axes.height - 1.6 * style.size,
            x=(0, 1),
            y=(low, high),
            style=style,
        )
        marks += _colour_bar(place, name.replace("_", " "))
    told = f"{len(x)} samples on principal components {first} and {second}" + (
        f", coloured by {name}." if name else "."
    )
    return finished(
        marks, axes.bottom + _below(style), style, "Samples on two components", caption or told
    )


def response_curve(
    strengths: Sequence[float], readings: np.ndarray, name: str, **options: Any
) -> Figure:
    """What an edit does to a reading: every sample's line, the mean, and its 95 % interval over
    samples (bootstrap).

    Args:
        strengths: (s,), ascending.
        readings: (n, s), of n samples at every strength.
        name: Of what is read.
        options: Style and caption, as in ``u_figure``.
    """
    options.setdefault("width", "single")
    style, caption = style_of(**options)
    x = np.asarray(strengths, float)
    means = bootstrap_many(mean_of(np.asarray(readings, float)), len(readings))
    axes, x_ticks, y_ticks = _plot(style, x, readings)
    marks: list[Mark] = []
    band = [axes.at(s, m.low) for s, m in zip(x, means, strict=True)]
    band += [axes.at(s, m.high) for s, m in zip(x[::-1], means[::-1], strict=True)]
    marks.append(area(*band, fill=tinted(CATEGORIES[0], 0.3)))
    for row in readings:
        marks.append(
            line(*(axes.at(*point) for point in zip(x, row, strict=True)), stroke=LINE, width=0.3)
        )
    middle = [axes.at(s, m.value) for s, m in zip(x, means, strict=True)]
    marks.append(line(*middle, stroke=CATEGORIES[0], width=1.25))
    marks += [disc(*point, 1.75, CATEGORIES[0]) for point in middle]
    marks += axes.marks("strength γ", name.replace("_", " "), x_ticks, y_ticks)
    told = (
        f"{len(readings)} samples, read at each strength: all of them (grey), their mean, and its"
        " 95 % "
    )
    return finished(
        marks,
        axes.bottom + _below(style),
        style,
        f"Response of {name}",
        caption or told + "interval.",
    )


def _end(value: float) -> str:
    """A number at an end of a colour bar."""
    return f"{value:.3g}".replace("-", "−")


def _below(style: Style) -> float:
    """What ticks and title below a plot take."""
    return TICK + 3 + (ASCENT + DESCENT) * (style.small + style.size)


def _plot(
    style: Style, x: np.ndarray, y: np.ndarray, right: float = 0.0
) -> tuple[_Axes, dict[float, str], dict[float, str]]:
    """Axes around some numbers, and their ticks."""
    (x_span, x_ticks), (y_span, y_ticks) = _span(x), _span(y)
    left = (
        (ASCENT + DESCENT) * style.size
        + 3
        + max(width_of(t, style.small) for t in y_ticks.values())
        + TICK
        + 1.5
    )
    spare = max(width_of(t, style.small) for t in x_ticks.values()) / 2
    width = style.points - left - max(right, spare)
    axes = _Axes(
        left=left,
        top=style.small,
        width=width,
        height=0.75 * width,
        x=x_span,
        y=y_span,
        style=style,
    )
    return axes, x_ticks, y_ticks


def _span(values: np.ndarray) -> tuple[tuple[float, float], dict[float, str]]:
    """A range with some room around finite values, and ticks in it at round numbers."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = 0.04 * (high - low) or 0.5
    low, high = low - room, high + room
    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    ticks = [round(k * step, 10) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return (low, high), {tick: f"{tick:g}".replace("-", "−") for tick in ticks}


def _colour(share: float) -> str:
    """Of the sequential scale, at a share from 0 to 1."""
    return _scale()[round(255 * float(np.clip(np.nan_to_num(share), 0, 1)))]


@cache
def _scale() -> list[str]:
    """The sequential scale in 256 steps."""
    found = sample_colorscale(SEQUENTIAL, [level / 255 for level in range(256)], colortype="tuple")
    return ["#" + "".join(f"{round(255 * part):02X}" for part in colour) for colour in found]


def _tile(axes: _Axes, column: int, row: int, colour: str) -> Mark:
    """A cell of a heat map; an edge of its own colour closes the gaps that viewers leave between
    neighbours.
    """
    corner: Callable[[int, int], tuple[float, float]] = axes.at
    points = (
        corner(column, row),
        corner(column + 1, row),
        corner(column + 1, row + 1),
        corner(column, row + 1),
    )
    return area(*points, fill=colour, stroke=colour, width=0.25)


def _colour_bar(axes: _Axes, title: str) -> list[Mark]:
    """A scale from low to high with its two ends, and its title above."""
    parts, (low, high), small = 32, axes.y, axes.style.small
    marks: list[Mark] = []
    for part in range(parts):
        bottom, top = (low + (high - low) * (part + k) / parts for k in (0, 1))
        points = (axes.at(0, bottom), axes.at(1, bottom), axes.at(1, top), axes.at(0, top))
        colour = _colour((part + 0.5) / parts)
        marks.append(area(*points, fill=colour, stroke=colour, width=0.25))
    for value, down in ((low, 0.0), (high, ASCENT * small)):
        x, y = axes.at(1, value)
        text = _end(value)
        marks.append(Text(x=x + 2, y=y + down, text=text, size=small, colour=MUTED))
    x = axes.style.points
    marks.append(
        Text(x=x, y=axes.top - 0.4 * axes.style.size, text=title, size=small, anchor="end")
    )
    return marks
