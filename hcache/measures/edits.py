"""The effects of several directions, or of one in several windows of steps: controllability over
steps, leakage, additivity.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from ..analysis.controllability import controllability
from ..analysis.estimate import Contrast
from ..analysis.leakage import leakage
from ..analysis.linearity import additivity_contrast
from ..cache.layout import H
from ..directions.direction import Move, at_site, digest_of, site_of
from ..edits.declared import Moved
from ..errors import UsageError
from ..progress import part
from ..recipes.window import Window
from .driver import NOISE, Driver, TrialGrid
from .groups import groups_among, of_groups
from .kinds import ADDITIVITY, CONTROLLABILITY, LEAKAGE, LEAKAGE_AT
from .responses import tables_of
from .stored import Measuring, measured


def controllability_over(
    driver: Driver,
    move: Move,
    windows: Sequence[Window],
    samples: Sequence[int],
    *,
    name: str = "",
    strength: float = 2.0,
    nulls: int = 6,
    null: str = NOISE,
    asymmetric: bool = True,
    repeats: int = 2000,
    groups: np.ndarray | None = None,
) -> Measuring:
    """Computes controllability by window of steps.

    The result is ``[{"window", "readings": {name: Controllability}}]``. The change per unit of
    strength is half the difference between both signs, divided by the strength. ``groups``: numbers
    (n,) of the run's samples that belong together.
    """
    among = groups_among(driver.run, groups, samples)
    grids = [
        TrialGrid(
            samples=tuple(samples),
            window=window,
            strengths=(-strength, 0.0, strength),
            asymmetric=asymmetric,
        )
        for window in windows
    ]
    parameters = {
        **of_groups(among),
        "name": name,
        "move": digest_of(move),
        "grids": [grid.to_json() for grid in grids],
        "reader": driver.reader_name,
        "nulls": nulls,
        "null": null,
        "repeats": repeats,
    }

    def compute() -> Generator[float, None, list[dict[str, Any]]]:
        """Computes controllability in each window, for the direction and for random ones."""
        moves, rows = [move, *driver.randoms(nulls, null, move, samples)], []
        for done, grid in enumerate(grids):
            tables = yield from part(
                tables_of(driver, moves, grid, among), done / len(grids), 1 / len(grids)
            )
            found = {}
            for reading, values in tables.items():
                change = (values[:, :, 2] - values[:, :, 0]) / (2 * strength)
                found[reading] = controllability(
                    change[0], change[1:], driver.spreads[reading], repeats=repeats
                )
            rows.append({"window": asdict(grid.window), "readings": found})
        return rows

    return (yield from measured(driver.run, CONTROLLABILITY, parameters, compute))


def leakage_of(
    driver: Driver,
    moves: Mapping[str, Move],
    grid: TrialGrid,
    *,
    nulls: int = 0,
    null: str = NOISE,
    repeats: int = 2000,
    groups: np.ndarray | None = None,
) -> Measuring:
    """Computes the leakage matrix of directions, at the largest strength.

    Each direction is intended for the reading that it is named after. The result is ``{"leakage":
    Leakage, "leaks", "chance", "p"}``. ``p`` is the probability of such a share of intended change
    if edits were assigned to attributes at random. ``nulls``: the random directions that cells are
    compared with. ``groups``: numbers (n,) of the run's samples that belong together.
    """
    among, site = groups_among(driver.run, groups, grid.samples), _site_of_all(moves)
    parameters = {
        **of_groups(among),
        "moves": {name: digest_of(move) for name, move in moves.items()},
        "grid": grid.to_json(),
        "reader": driver.reader_name,
        "nulls": nulls,
        "null": null,
        "repeats": repeats,
    }
    parameters = at_site(parameters, site)

    def compute() -> Generator[float, None, Any]:
        """Computes the matrix of all readings' changes under all moves, and its null."""
        randoms = (
            driver.randoms(nulls, null, next(iter(moves.values())), grid.samples) if nulls else []
        )
        tables = yield from tables_of(driver, [*moves.values(), *randoms], grid, among)
        most, zero = int(np.argmax(grid.strengths)), grid.strengths.index(0)
        changes = np.stack(
            [values[:, :, most] - values[:, :, zero] for values in tables.values()], 2
        )
        spreads = [driver.spreads[name] for name in tables]
        edits, random = changes[: len(moves)], changes[len(moves) :]
        found = leakage(edits, spreads, list(moves), list(tables), random, repeats=repeats)
        return {
            "leakage": found,
            "leaks": found.leaks,
            "chance": found.chance,
            "p": found.p_of_share,
        }

    kind = LEAKAGE if site == H else LEAKAGE_AT
    return (yield from measured(driver.run, kind, parameters, compute))


def _site_of_all(moves: Mapping[str, Move]) -> str:
    """Returns the site that all directions share.

    Raises:
        UsageError: they are at different sites, so that one null cannot serve them.
    """
    sites = dict.fromkeys(map(site_of, moves.values()))
    if len(sites) > 1:
        raise UsageError(
            f"leakage is of directions at one site, got {', '.join(sites)}; measure each site by"
            " itself"
        )
    return next(iter(sites), H)


def additivity_of(
    driver: Driver,
    moves: Mapping[str, Move],
    grid: TrialGrid,
    *,
    nulls: int = 3,
    null: str = NOISE,
    repeats: int = 2000,
    groups: np.ndarray | None = None,
) -> Measuring:
    """Computes additivity of every pair of directions.

    It is measured at the largest strength and compared with pairs of random directions. The result
    is ``{"pairs": [[a, b], ...], "readings": [Contrast, ...], "pixels": [...], "all": {"readings",
    "pixels"}}``. For every pair, and for all pairs together, it has the additivity of all readings
    together, each in its spread, and of the picture. ``nulls``: the number of pairs of random
    directions. They count as one: their interactions and their changes are summed. ``groups``:
    numbers (n,) of the run's samples that belong together; intervals are over groups.
    """
    among = groups_among(driver.run, groups, grid.samples)
    if len(moves) < 2:
        raise UsageError(f"additivity is of 2 directions or more, got {len(moves)}")
    pairs = list(combinations(moves, 2))
    parameters = {
        **of_groups(among),
        "moves": {name: digest_of(move) for name, move in moves.items()},
        "grid": grid.to_json(),
        "reader": driver.reader_name,
        "nulls": nulls,
        "null": null,
        "repeats": repeats,
    }

    def compute() -> Generator[float, None, dict[str, Any]]:
        """Computes four pictures of every sample and pair, and the parts that do not add up."""
        randoms = driver.randoms(2 * nulls, null, next(iter(moves.values())), grid.samples)
        todo = [(moves[a], moves[b]) for a, b in pairs] + list(
            zip(randoms[::2], randoms[1::2], strict=True)
        )
        four = yield from _fours(driver, todo, grid)
        parts = {
            "readings": [_scaled(driver, images) for images in four],
            "pixels": [_flat(images) for images in four],
        }

        def contrast(name: str, chosen: slice) -> Contrast:
            return additivity_contrast(
                parts[name][chosen], parts[name][len(pairs) :], clusters=among, repeats=repeats
            )

        return {
            "pairs": pairs,
            **{
                name: [contrast(name, slice(i, i + 1)) for i in range(len(pairs))] for name in parts
            },
            "all": {name: contrast(name, slice(len(pairs))) for name in parts},
        }

    return (yield from measured(driver.run, ADDITIVITY, parameters, compute))


def _scaled(driver: Driver, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns all readings of some pictures, each in its spread: (n, readings)."""
    read = [driver.reader(each) for each in images]
    return [
        np.stack([part[name] / spread for name, spread in driver.spreads.items()], 1)
        for part in read
    ]


def _flat(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [each.reshape(len(each), -1).astype(np.float32) / 255 for each in images]


def _fours(
    driver: Driver, pairs: Sequence[tuple[Move, Move]], grid: TrialGrid
) -> Generator[float, None, list[list[np.ndarray]]]:
    """Yields the pictures of f(0), f(a), f(b) and f(a + b) for every pair. A direction of several
    pairs is rendered once.
    """
    alone = {id(move): move for pair in pairs for move in pair}
    todo = [(move,) for move in alone.values()] + list(pairs)
    made = yield from driver.all_of([_together(driver, moves, grid) for moves in todo])
    singles, both = dict(zip(alone, made, strict=False)), made[len(alone) :]
    before = driver.unedited(grid.samples)
    return [
        [before, singles[id(a)], singles[id(b)], sums]
        for (a, b), sums in zip(pairs, both, strict=True)
    ]


def _together(
    driver: Driver, moves: Sequence[Move], grid: TrialGrid
) -> Generator[float, None, np.ndarray]:
    """Returns samples moved along one or several directions, each at the largest strength."""
    strengths = (max(grid.strengths),) * len(grid.samples)
    change = Moved(moves=tuple(moves), strengths=strengths, window=grid.window)
    return (yield from driver.images(grid.samples, change, grid.window.first, grid.asymmetric))
