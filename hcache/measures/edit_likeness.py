"""How far pictures are moved along a direction, in all distances, against random directions."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from ..analysis.groups import group_means
from ..analysis.likeness import likeness
from ..directions.direction import Move, digest_of
from ..progress import part
from .driver import NOISE, Driver, TrialGrid
from .groups import groups_among, of_groups
from .kinds import LIKENESS
from .responses import responses
from .stored import Measuring, measured


def likeness_of(
    driver: Driver,
    move: Move,
    grid: TrialGrid,
    *,
    name: str = "",
    nulls: int = 19,
    null: str = NOISE,
    repeats: int = 2000,
    groups: np.ndarray | None = None,
) -> Measuring:
    """Measures how far a direction moves pictures at its largest strength.

    The result is ``{"changed": {distance: Contrast}, "strength"}``. The distances are pixels,
    structure and colour, and those of the driver's encoder. The pictures are those of
    :func:`~hcache.measures.responses.responses`: what was rendered for another measure is not
    rendered again. ``groups``: numbers (n,) of the run's samples that belong together; intervals
    are over groups.
    """
    among = groups_among(driver.run, groups, grid.samples)
    parameters = {
        **of_groups(among),
        "name": name,
        "move": digest_of(move),
        "grid": grid.to_json(),
        "reader": driver.reader_name,
        "nulls": nulls,
        "null": null,
        "repeats": repeats,
        **driver.beyond_pictures,
    }
    most = int(np.argmax(grid.strengths))

    def compute() -> Generator[float, None, dict[str, Any]]:
        """The distances at the largest strength, of the direction and of random ones."""
        randoms = driver.randoms(nulls, null, move, grid.samples) if nulls else []
        tables = []
        for done, each in enumerate([move, *randoms]):
            work = responses(driver, each, grid)
            record = yield from part(work, done / (nulls + 1), 1 / (nulls + 1))
            result = record.result
            tables.append(result.get("distances", {"pixels": result["pixels"]}))
        known = [quantity for quantity in tables[0] if all(quantity in each for each in tables)]
        at_most = {
            quantity: group_means(
                np.array([np.array(each[quantity])[:, most] for each in tables]), among, 1
            )
            for quantity in known
        }
        changed = likeness(
            {quantity: values[0] for quantity, values in at_most.items()},
            {quantity: values[1:] for quantity, values in at_most.items()},
            repeats=repeats,
        )
        return {"changed": changed, "strength": grid.strengths[most]}

    return (yield from measured(driver.run, LIKENESS, parameters, compute))
