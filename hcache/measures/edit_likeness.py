"""Measures how far pictures move along a direction, in all distances, compared with random
directions.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from ..analysis.groups import group_means
from ..analysis.likeness import likeness
from ..directions.direction import Move
from .driver import NOISE, Driver, TrialGrid
from .groups import groups_among, of_groups
from .kinds import LIKENESS
from .responses import responses_to, trial_of
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
    structure and colour, and those that the driver has beside them. The pictures are those of
    :func:`~hcache.measures.responses.responses`: pictures that another measure has rendered are not
    rendered again. ``groups``: numbers (n,) of the run's samples that belong together; intervals
    are over groups.
    """
    among = groups_among(driver.run, groups, grid.samples)
    trial = trial_of(driver, move, grid, name=name, nulls=nulls, null=null, repeats=repeats)
    parameters = {**of_groups(among), **trial, **driver.of_edits}
    most = int(np.argmax(grid.strengths))

    def compute() -> Generator[float, None, dict[str, Any]]:
        """Computes the distances at the largest strength, for the direction and for random ones."""
        randoms = driver.randoms(nulls, null, move, grid.samples) if nulls else []
        results = yield from responses_to(driver, [move, *randoms], grid)
        tables = [each.get("distances", {"pixels": each["pixels"]}) for each in results]
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
