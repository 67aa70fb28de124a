"""The evidence of a measure: plain data that is drawn elsewhere, or a drawing of its own.

``Curves``, ``Bars``, ``HeatMaps`` and ``PictureSheet`` serve any measure. Each of the other kinds
of data is for one measure. ``figures/evidence.py`` draws them, and a measure that returns them
knows no chart. A measure that none of these fits, of another package for example, returns an object
of its own with a method ``chart()``, as :class:`OwnChart` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..analysis.estimate import Estimate
from ..analysis.swaps import Carriers

LEVEL = "log SNR (left: mostly noise)"


@dataclass(frozen=True, kw_only=True)
class Point:
    """A value at a position on the axis.

    The position is a log SNR, or what the title of the axis says. It has a null and p if there are
    any.
    """

    at: float
    estimate: Estimate
    null: float | None = None
    p: float | None = None


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Curves with bands.

    They are by run, and then by the compared thing on one run. ``axis`` and ``x`` are the titles of
    the axes. ``null`` describes the thin grey lines. ``chance`` is the value by chance.
    """

    runs: Mapping[str, Mapping[str, Sequence[Point]]]
    axis: str
    null: str
    chance: float | None = None
    x: str = LEVEL


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A value with its interval, and its null if there is one."""

    measured: Estimate
    null: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Values with intervals, by run and then by name.

    ``null`` describes the grey marks.
    """

    runs: Mapping[str, Mapping[str, Bar]]
    axis: str
    null: str


@dataclass(frozen=True, kw_only=True)
class PictureSheet:
    """Pictures (rows, columns, height, width, 3) uint8 with titles of columns."""

    title: str
    columns: tuple[str, ...]
    pictures: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ReadAndMove:
    """Decodability and control of a label over noise.

    ``read`` is as in ``Curves``. ``move`` has one point per window of steps.
    """

    read: Mapping[str, Mapping[str, Sequence[Point]]]
    move: Mapping[str, Sequence[Point]]
    metric: str


@dataclass(frozen=True, kw_only=True)
class ResponseCurves:
    """The responses of a reading to moving along a direction.

    They are by run, for the reading ``label``, with the strengths.
    """

    runs: Mapping[str, Mapping[str, Any]]
    label: str


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """A table of values with intervals, drawn in colours.

    ``rows`` and ``columns`` are their names, and ``x`` and ``y`` those of the axes. ``estimates``
    is (rows, columns), and so is ``null``, the values by chance. ``p`` is adjusted for all cells.
    Missing entries are None.
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
    chance are dotted, and ``chance`` describes chance.
    """

    panels: Mapping[str, HeatMap]
    scale: str
    chance: str
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, kw_only=True)
class LeakageMaps:
    """Leakage matrices by run.

    Each has the stored form of :class:`~hcache.analysis.leakage.Leakage`.
    """

    runs: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class CosineCurves:
    """The cosines between directions, by run.

    Each step has a mapping with ``step``, ``at``, ``pairs``.
    """

    runs: Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class CarriersTable:
    """A table of what each site carries, with a row per quantity.

    ``aspects`` has the heading of each quantity. Rows of one heading follow each other.
    """

    rows: tuple[Carriers, ...]
    aspects: Mapping[str, str] = field(default_factory=dict)


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
    """A piece of evidence.

    ``title`` describes it. ``run`` is the run of its pictures.
    """

    title: str
    shown: Shown
    run: str = ""
