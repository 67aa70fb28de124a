"""The effects of moving along a direction: responses over a grid of strengths, and their linearity
and size.

Every picture is rendered once. The readings of a direction's responses are a stored result, and
linearity, controllability and leakage are computed from the same readings. Random directions of the
same norm go through the same loop as the direction.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np

from ..analysis.bootstrap import bootstrap_many, mean_of
from ..analysis.controllability import Controllability, controllability
from ..analysis.estimate import Estimate
from ..analysis.groups import group_means
from ..analysis.linearity import linearity
from ..analysis.similarity import WINDOW
from ..analysis.swaps import PIXELS, STRUCTURE
from ..cache.layout import H
from ..directions.direction import Direction, Move, at_site, digest_of, in_sigmas, site_of
from ..edits.declared import Moved
from .driver import NOISE, Driver, TrialGrid
from .groups import groups_among, of_groups
from .kinds import DIRECTION, DIRECTION_AT, RESPONSES
from .stored import Measuring, Pictured, measured

FEWEST_COMPARED, MOST_COMPARED = 6, 12
"""The number of random directions whose cosines estimate how many dimensions they span."""

SHOWN = 4
"""The number of samples whose pictures are stored for viewing."""


def responses(driver: Driver, move: Move, grid: TrialGrid) -> Measuring:
    """Measures how readings and pictures respond to a direction.

    The result is ``{"readings": {name: (n, strengths)}, "pixels": (n, strengths), "distances":
    {name: (n, strengths)}}``. ``pixels``: the distance from the same sample at strength 0, as a
    share of the range. ``distances``: all distances from that picture, including structure and
    colour. Strength 0 is not rendered again: it is the run's own picture. The pictures of the first
    samples are stored, one row each, over strengths.
    """
    n, zero = len(grid.samples), grid.strengths.index(0)
    moving = [strength for strength in grid.strengths if strength]

    def compute() -> Generator[float, None, Pictured]:
        """Renders the pictures at every strength except 0, reads them, and compares them with the
        run's own.
        """
        samples = np.repeat(grid.samples, len(moving)).tolist()
        change = Moved(moves=(move,), strengths=tuple(moving * n), window=grid.window)
        moved = yield from driver.images(samples, change, grid.window.first, grid.asymmetric)
        before = driver.unedited(grid.samples)
        unmoved = np.repeat(before, len(moving), axis=0)
        distances = {
            name: np.insert(distance(moved, unmoved).reshape(n, -1), zero, 0, axis=1)
            for name, distance in {**driver.distances, **driver.directed}.items()
            if name != STRUCTURE or min(before.shape[1:3]) >= WINDOW
        }
        own, after = driver.reader(before), driver.reader(moved)
        readings = {
            name: np.insert(after[name].reshape(n, -1), zero, own[name], axis=1) for name in own
        }
        sheet = np.insert(
            moved.reshape(n, len(moving), *moved.shape[1:])[:SHOWN], zero, before[:SHOWN], axis=1
        )
        return Pictured(
            result={
                "readings": readings,
                "pixels": distances[PIXELS],
                "distances": distances,
            },
            pictures=sheet,
        )

    return (
        yield from measured(
            driver.run, RESPONSES, responses_of(digest_of(move), grid, driver), compute
        )
    )


def responses_of(move: str, grid: TrialGrid, driver: Driver) -> dict[str, Any]:
    """Returns the parameters of the responses to the move with a digest."""
    return {
        "move": move,
        "grid": grid.to_json(),
        "reader": driver.reader_name,
        **driver.of_edits,
    }


def responses_to(
    driver: Driver, moves: Sequence[Move], grid: TrialGrid
) -> Generator[float, None, list[Mapping[str, Any]]]:
    """Measures the responses to some directions."""
    records = yield from driver.all_of([responses(driver, move, grid) for move in moves])
    return [record.result for record in records]


def trial_of(
    driver: Driver, move: Move, grid: TrialGrid, *, name: str, nulls: int, null: str, repeats: int
) -> dict[str, Any]:
    """Returns the parameters of a direction that is compared with random ones.

    They name its site, unless it is h.
    """
    found = {
        "name": name,
        "move": digest_of(move),
        "grid": grid.to_json(),
        "reader": driver.reader_name,
        "nulls": nulls,
        "null": null,
        "repeats": repeats,
    }
    return at_site(found, site_of(move))


def direction(
    driver: Driver,
    move: Move,
    grid: TrialGrid,
    *,
    name: str = "",
    nulls: int = 6,
    null: str = NOISE,
    repeats: int = 2000,
    groups: np.ndarray | None = None,
) -> Measuring:
    """Measures linearity and controllability of a direction, for every reading.

    The result is ``{"readings": {reading: {"linearity", "verdict", "controllability", "natural",
    "curve", "null_curves"}}, "null_moves", "null_dimensions", "lengths"}``. Controllability is the
    slope: the change per unit of strength. ``natural``: the slope with every direction at its own
    fitted length, because a random difference of two means is short and the unit stretches it.
    ``lengths``: those of the direction and the random ones. ``null_dimensions``: about how many
    dimensions the random directions span. ``curve``: the mean change at every strength, in spreads.
    ``null_curves``: that of every random direction. ``null_moves``: their digests. ``groups``:
    numbers (n,) of the run's samples that belong together; intervals and tests are over groups.
    """
    among = groups_among(driver.run, groups, grid.samples)
    trial = trial_of(driver, move, grid, name=name, nulls=nulls, null=null, repeats=repeats)
    parameters = {**of_groups(among), **trial}

    def compute() -> Generator[float, None, dict[str, Any]]:
        """Compares every reading's response to the direction with those to random directions of the
        same length.
        """
        randoms = driver.randoms(nulls, null, move, grid.samples)
        lengths = np.array([getattr(each, "length", np.nan) for each in (move, *randoms)])
        tables = yield from tables_of(driver, [move, *randoms], grid, among)
        return {
            "readings": {
                reading: response_of(values, grid, lengths, driver.spreads[reading], repeats)
                for reading, values in tables.items()
            },
            "null_moves": [digest_of(each) for each in randoms],
            "lengths": lengths,
            "null_dimensions": null_dimensions(randoms),
        }

    kind = DIRECTION if site_of(move) == H else DIRECTION_AT
    return (yield from measured(driver.run, kind, parameters, compute))


def response_of(
    values: np.ndarray, grid: TrialGrid, lengths: np.ndarray, spread: float, repeats: int
) -> dict[str, Any]:
    """Measures a reading's response to a direction and to m random ones.

    Args:
        values: Readings (1 + m, n, s). Those of the direction come first.
    """
    gamma, zero = np.array(grid.strengths), grid.strengths.index(0)
    straight = linearity(values[0], grid.strengths, values[1:], repeats=repeats)
    change = values - values[:, :, [zero]]
    slopes = change @ gamma / np.square(gamma).sum()
    return {
        "linearity": straight,
        "verdict": straight.verdict,
        "controllability": controllability(slopes[0], slopes[1:], spread, repeats=repeats),
        "natural": _at_natural_length(slopes, lengths, spread, repeats),
        "curve": _means(change[0] / spread, zero, repeats),
        "null_curves": change[1:].mean(1) / spread,
    }


def null_dimensions(randoms: Sequence[Move]) -> float | None:
    """Estimates how many dimensions random directions span.

    The estimate is 1 over the mean square of their cosines, and None for other moves. A direction
    among them changes a readout at most √dimensions times as much as their root mean square.
    """
    alike = [each for each in randoms if isinstance(each, Direction)]
    if len(randoms) < FEWEST_COMPARED or len(alike) < len(randoms):
        return None
    rows = np.stack([in_sigmas(each.delta, each.sigma).ravel() for each in alike[:MOST_COMPARED]])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    return float(1 / max(np.square(cosines.astype(np.float64)).mean(), 1e-12))


def _at_natural_length(
    slopes: np.ndarray, lengths: np.ndarray, spread: float, repeats: int
) -> Controllability | None:
    """Computes controllability of directions (1 + m) at their own fitted lengths, or None if these
    are unknown.
    """
    if not (np.isfinite(lengths).all() and len(lengths) > 2):
        return None
    slopes = slopes * lengths[:, None]
    return controllability(slopes[0], slopes[1:], spread, repeats=repeats)


def tables_of(
    driver: Driver, moves: Sequence[Move], grid: TrialGrid, groups: np.ndarray | None = None
) -> Generator[float, None, dict[str, np.ndarray]]:
    """Returns every reading's responses under some directions: (moves, n, strengths).

    ``groups``: those of the grid's samples. If they are given, means of groups replace samples.
    """
    results = yield from responses_to(driver, moves, grid)
    readings = [result["readings"] for result in results]
    return {
        name: group_means(np.array([each[name] for each in readings], np.float64), groups, 1)
        for name in readings[0]
        if name in driver.spreads
    }


def _means(changes: np.ndarray, zero: int, repeats: int) -> list[Estimate]:
    """Returns the mean over samples at every strength (n, strengths). At strength 0 the change is
    exactly 0.
    """
    moving = np.delete(changes, zero, 1)
    found = list(bootstrap_many(mean_of(moving), len(changes), repeats=repeats))
    found.insert(zero, Estimate(value=0.0, low=0.0, high=0.0, n=len(changes)))
    return found
