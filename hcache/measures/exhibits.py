"""What a measure shows as evidence, as plain data: ``figures/evidence.py`` draws each kind.

A measure says which of these it has, and knows no chart. ``Curves``, ``Bars``, ``HeatMaps`` and
``PictureSheet`` serve any measure; the others are of one measure each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    """Which site carries what of a donor: a row a quantity.

    ``aspects``: what of a picture a quantity sees, by quantity. Rows of one aspect follow each
    other.
    """

    rows: tuple[Carriers, ...]
    aspects: Mapping[str, str] = field(default_factory=dict)


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
)


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """A piece of evidence; ``title`` says what it shows. ``run``: whose pictures they are."""

    title: str
    shown: Shown
    run: str = ""
