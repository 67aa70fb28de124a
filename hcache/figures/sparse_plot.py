"""Sparse features for print: the samples where each is strongest, and when it fires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..measures.exhibits import LEVEL, Point
from .notebook import style_of
from .plot import Plot, finished_plot, on_paper

TICKS = 3
"""The number of marks on the axis of how often a feature fires."""


def sparse_plot(
    firing: Mapping[str, Sequence[Point]],
    pictures: np.ndarray | None,
    told: str,
    **options: Any,
) -> Plot:
    """Plots features of a dictionary, one per row.

    On the left are the samples where a feature is strongest, on the right the share of samples and
    places where it fires, by noise level. All rows have the same axes.

    Args:
        firing: The share by noise level, by feature.
        pictures: (features, samples, height, width, 3) uint8, or None for no pictures.
        told: The usual caption.
        options: Style and caption, as in ``u_figure``.
    """
    style, caption = style_of(**options)
    shown = 0 if pictures is None else pictures.shape[1]
    columns = max(shown, 4)
    side = 0.55 * style.points / columns
    with on_paper(style, len(firing) * (side + 0.5 * style.size) + 5 * style.size) as figure:
        ratios = (columns, 0.6 * columns)
        places = figure.subplots(len(firing), 2, squeeze=False, width_ratios=ratios)
        most = max(point.estimate.value for points in firing.values() for point in points) or 1.0
        for (name, points), (left, right) in zip(firing.items(), places, strict=True):
            draw_firing(points, right, most)
            left.set(xticks=[], yticks=[])
            left.spines[:].set_visible(False)
            left.set_ylabel(name, fontsize=style.small)
        for (left, _), row in zip(places, [] if pictures is None else pictures, strict=False):
            left.imshow(np.concatenate(list(row), axis=1), interpolation="nearest", aspect="auto")
            left.set_box_aspect(row.shape[1] / (row.shape[2] * len(row)))
        curves = list(places[:, 1])
        for ax in curves[:-1]:
            ax.tick_params(labelbottom=False)
        curves[0].set_title("share of samples and places")
        curves[-1].set_xlabel(LEVEL)
        return finished_plot(figure, curves, style, "Sparse features", caption or told)


def draw_firing(points: Sequence[Point], ax: Axes, most: float) -> Axes:
    """Draws how often a feature fires, by noise level.

    Args:
        points: The share of samples and places by noise level.
        ax: The axes to draw on.
        most: The end of the vertical axis.
    """
    ax.plot([each.at for each in points], [each.estimate.value for each in points], marker=".")
    ax.set_ylim(0, 1.05 * most)
    ax.locator_params(axis="y", nbins=TICKS)
    return ax
