"""What moving along a direction does: responses over a grid of strengths, and how straight and how
strong they are.

Every picture that a measure needs is rendered once: the readings of a direction's responses are
themselves a stored result, and linearity, controllability and leakage are made of the same ones.
Random directions of the same norm go through the same loop as the direction that they are the null
of.
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
from ..directions.direction import Direction, Move, digest_of, in_sigmas
from ..progress import part
from .driver import NOISE, Change, Driver, TrialGrid
from .groups import groups_among, of_groups
from .kinds import DIRECTION, RESPONSES
from .stored import Measuring, Pictured, measured

FEWEST_COMPARED, MOST_COMPARED = 6, 12
"""Random directions whose cosines say in how many dimensions they lie."""

SHOWN = 4
"""Samples whose pictures are kept, to be looked at."""


def responses(driver: Driver, move: Move, grid: TrialGrid) -> Measuring:
    """Measures how readings and pictures respond to a direction.

    The result is ``{"readings": {name: (n, strengths)}, "pixels": (n, strengths), "distances":
    {name: (n, strengths)}}``. ``pixels``: the distance from the same sample at strength 0, as a
    share of the range. ``distances``: all distances from that picture, in structure and colour too.
    Strength 0 is not rendered again: it is the run's own picture. The pictures of the first samples
    are kept, a row each, over strengths.
    """
    n, zero = len(grid.samples), grid.strengths.index(0)
    moving = [strength for strength in grid.strengths if strength]

    def compute() -> Generator[float, None, Pictured]:
        """The pictures at every strength but 0, read and held against the run's own."""
        samples, strengths = np.repeat(grid.samples, len(moving)).tolist(), moving * n

        def change(rows: slice) -> Change:
            return driver.moved(move, strengths[rows], grid.window)

        moved = yield from driver.images(samples, change, grid.window.first, grid.asymmetric)
        before = driver.unedited(grid.samples)
        unmoved = np.repeat(before, len(moving), axis=0)
        distances = {
            name: np.insert(distance(moved, unmoved).reshape(n, -1), zero, 0, axis=1)
            for name, distance in driver.distances.items()
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
    """The parameters of the responses to a move of that digest."""
    return {
        "move": move,
        "grid": grid.to_json(),
        "reader": driver.reader_name,
        **driver.beyond_pictures,
    }


def responses_to(
    driver: Driver, moves: Sequence[Move], grid: TrialGrid
) -> Generator[float, None, list[Mapping[str, Any]]]:
    """Measures the responses to some directions, one after the other."""
    results = []
    for done, move in enumerate(moves):
        record = yield from part(responses(driver, move, grid), done / len(moves), 1 / len(moves))
        results.append(record.result)
    return results


def trial_of(
    driver: Driver, move: Move, grid: TrialGrid, *, name: str, nulls: int, null: str, repeats: int
) -> dict[str, Any]:
    """The parameters of a direction that is tried beside random ones."""
    return {
        "name": name,
        "move": digest_of(move),
        "grid": grid.to_json(),
        "reader": driver.reader_name,
        "nulls": nulls,
        "null": null,
        "repeats": repeats,
    }


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
    """Linearity and controllability of a direction, for every reading.

    ``{"readings": {reading: {"linearity", "verdict", "controllability", "natural", "curve",
    "null_curves"}}, "null_moves", "null_dimensions", "lengths"}``. Controllability is of the slope:
    the change per unit of strength. ``natural``: the same with every direction as long as it was
    fitted, by the slope: a difference of two means at random is short, and is stretched by the
    unit. ``lengths``: of the direction and the random ones. ``null_dimensions``: in about how many
    dimensions the random directions lie. ``curve``: the mean change at every strength, in spreads;
    ``null_curves``: that of every random direction; ``null_moves``: their digests. ``groups``:
    numbers (n,) of the run's samples that belong together; intervals and tests are over groups.
    """
    among = groups_among(driver.run, groups, grid.samples)
    trial = trial_of(driver, move, grid, name=name, nulls=nulls, null=null, repeats=repeats)
    parameters = {**of_groups(among), **trial}

    def compute() -> Generator[float, None, dict[str, Any]]:
        """Every reading's response to the direction, against those to random ones as long."""
        randoms = driver.randoms(nulls, null, move, grid.samples)
        lengths = np.array([getattr(each, "length", np.nan) for each in (move, *randoms)])
        tables = yield from tables_of(driver, [move, *randoms], grid, among)
        return {
            "readings": {
                reading: _response(values, grid, lengths, driver.spreads[reading], repeats)
                for reading, values in tables.items()
            },
            "null_moves": [digest_of(each) for each in randoms],
            "lengths": lengths,
            "null_dimensions": null_dimensions(randoms),
        }

    return (yield from measured(driver.run, DIRECTION, parameters, compute))


def _response(
    values: np.ndarray, grid: TrialGrid, lengths: np.ndarray, spread: float, repeats: int
) -> dict[str, Any]:
    """A reading's response (1 + m, n, s) to a direction and to m random ones."""
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
    """In about how many dimensions random directions lie.

    By their cosines: one over the mean square; None of others.

    A direction among them moves a readout at most √dimensions times as far as they do in the root
    mean square.
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
    """Controllability of directions (1 + m) as long as they were fitted; None where they do not
    say.
    """
    if not (np.isfinite(lengths).all() and len(lengths) > 2):
        return None
    slopes = slopes * lengths[:, None]
    return controllability(slopes[0], slopes[1:], spread, repeats=repeats)


def tables_of(
    driver: Driver, moves: Sequence[Move], grid: TrialGrid, groups: np.ndarray | None = None
) -> Generator[float, None, dict[str, np.ndarray]]:
    """Every reading's responses under some directions: (moves, n, strengths).

    ``groups``: of the grid's samples; in place of samples there are then the means of groups.
    """
    results = yield from responses_to(driver, moves, grid)
    readings = [result["readings"] for result in results]
    return {
        name: group_means(np.array([each[name] for each in readings], np.float64), groups, 1)
        for name in readings[0]
        if name in driver.spreads
    }


def _means(changes: np.ndarray, zero: int, repeats: int) -> list[Estimate]:
    """The mean over samples at every strength (n, strengths); at strength 0 nothing has changed,
    and that is exact.
    """
    moving = np.delete(changes, zero, 1)
    found = list(bootstrap_many(mean_of(moving), len(changes), repeats=repeats))
    found.insert(zero, Estimate(value=0.0, low=0.0, high=0.0, n=len(changes)))
    return found
