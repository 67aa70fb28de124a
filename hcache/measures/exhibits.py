"""What a measure shows as evidence: plain data that is drawn elsewhere, or an own drawing.

``Curves``, ``Bars``, ``HeatMaps`` and ``PictureSheet`` serve any measure; the other kinds of data
are of one measure each. ``figures/evidence.py`` draws them, and a measure that shows them knows no
chart. A measure that none of these serves, of another package for example, shows an object of its
own: one with a method ``chart()``, as :class:`OwnChart` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..analysis.estimate import Estimate
from ..analysis.swaps import Carriers

LEVEL = "log SNR (left: mostly noise)"


@dataclass(frozen=True, kw_only=True)
class Point:
    """A value at a place on the axis.

    The place is a log SNR, or what the axis says.

    With its null there and p, if there are any.
    """

    at: float
    estimate: Estimate
    null: float | None = None
    p: float | None = None


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Curves with bands.

    By run, then by what is compared on one run.

    ``axis`` and ``x`` are the titles of the axes. ``null`` says what the thin grey lines are.
    ``chance`` is the value where nothing is found.
    """

    runs: Mapping[str, Mapping[str, Sequence[Point]]]
    axis: str
    null: str
    chance: float | None = None
    x: str = LEVEL


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A value with its interval.

    And the null beside it, if there is one.
    """

    measured: Estimate
    null: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Values with intervals: by run, then by name. ``null`` says what the grey marks are."""

    runs: Mapping[str, Mapping[str, Bar]]
    axis: str
    null: str


@dataclass(frozen=True, kw_only=True)
class PictureSheet:
    """Pictures (rows, columns, height, width, 3) uint8 with what their columns are."""

    title: str
    columns: tuple[str, ...]
    pictures: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ReadAndMove:
    """Where a label can be read, and where moving h moves it.

    ``read`` is as in ``Curves``; ``move`` has a point a window of steps.
    """

    read: Mapping[str, Mapping[str, Sequence[Point]]]
    move: Mapping[str, Sequence[Point]]
    metric: str


@dataclass(frozen=True, kw_only=True)
class ResponseCurves:
    """What moving along a direction did to a reading.

    By run: to the reading ``label``, with the strengths.
    """

    runs: Mapping[str, Mapping[str, Any]]
    label: str


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """A table of values with intervals, drawn in colours.

    ``rows`` and ``columns`` name them, ``x`` and ``y`` the axes. ``estimates`` (rows, columns).
    ``null`` likewise: what chance alone gives. ``p``: adjusted for all cells. None where there is
    none.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    estimates: Sequence[Sequence[Estimate]]
    null: Sequence[Sequence[float | None]]
    p: Sequence[Sequence[float | None]]
    x: str
    y: str


@dataclass(frozen=True, kw_only=True)
class HeatMaps:
    """Heat maps on one scale, one named panel each.

    The scale goes from ``low`` to ``high``, and its title is ``scale``. Cells that are not above
    chance are dotted; ``chance`` says what that is.
    """

    panels: Mapping[str, HeatMap]
    scale: str
    chance: str
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, kw_only=True)
class LeakageMaps:
    """By run: a leakage matrix, as :class:`~hcache.analysis.leakage.Leakage` was written."""

    runs: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class CosineCurves:
    """The cosines between directions, by run.

    A mapping with ``step``, ``at``, ``pairs`` a step.
    """

    runs: Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class CarriersTable:
    """Which site carries what of a donor: a row a quantity."""

    rows: tuple[Carriers, ...]


@runtime_checkable
class OwnChart(Protocol):
    """An exhibit that knows its own drawing.

    Pages and reports show what ``chart`` returns: a plotly figure, or the JSON of one as a mapping.
    A method ``draw(ax)``, if there is one too, draws the same on an Axes of matplotlib, for
    ``hcache.figures.exhibit_plot``. Libraries for drawing are imported within these methods, since
    listing measures imports none.
    """

    def chart(self) -> Any:
        """The figure."""
        ...


Shown = (
    Curves
    | Bars
    | PictureSheet
    | ReadAndMove
    | ResponseCurves
    | HeatMaps
    | LeakageMaps
    | CosineCurves
    | CarriersTable
    | OwnChart
)


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """A piece of evidence; ``title`` says what it shows. ``run``: whose pictures they are."""

    title: str
    shown: Shown
    run: str = ""
