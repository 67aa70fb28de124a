"""Maps of a run's samples by t-SNE and UMAP, stored with how well they keep neighbours. They need
no model.

A map is of one step, or of all steps together. In a map of all steps, every sample has a position
at each step, so that its path over the steps can be drawn. Each step is centred at its own mean,
because a change that all samples share does not make them neighbours.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np

from ..analysis.blocks import Rows
from ..analysis.maps import components, distances, faithfulness, inner_products, place
from ..cache.reading import Run
from ..cache.records import Record, load_record
from ..errors import AnalysisError
from .kinds import MAP
from .stored import Measuring, measured

MOST_SAMPLES = 4096
"""The largest number of samples in a map of one step."""

MOST_PLACES = 6000
"""The limits of a map of all steps together. For longer or larger runs, fewer steps are used,
evenly spread.
"""


def map_parameters(
    run: Run, site: str, way: str, step: int | None, neighbours: int
) -> dict[str, Any]:
    """Returns the parameters of a map. ``step`` is None for all steps together."""
    steps = together(run) if step is None else [step]
    return {
        "site": site,
        "way": way,
        "together": step is None,
        "steps": steps,
        "neighbours": neighbours,
    }


def together(run: Run) -> list[int]:
    """Returns the steps of a map of all steps together."""
    count = max(2, min(run.spec.steps, MOST_PLACES // max(1, len(run))))
    return np.unique(np.linspace(0, run.spec.steps - 1, count).round().astype(int)).tolist()


def made_map(run: Run, site: str, way: str, step: int | None, neighbours: int) -> Record | None:
    """Loads a map that was made of these very samples.

    It is None if there is none.
    """
    return load_record(run, MAP, map_parameters(run, site, way, step, neighbours))


def make_map(run: Run, site: str, way: str, step: int | None, neighbours: int) -> Measuring:
    """Makes a map, and measures how well it keeps neighbours.

    The first two principal components are stored with it.

    Raises:
        AnalysisError: there are too few or too many samples.
    """
    parameters = map_parameters(run, site, way, step, neighbours)
    steps = parameters["steps"]
    if why := too_many(run, len(steps)):
        raise AnalysisError(why)

    def compute() -> Generator[float, None, dict[str, Any]]:
        yield 0.0
        gram = inner_products(_data(run, site, steps))
        yield 0.2
        points = components(gram)
        yield 0.3
        places = place(points, way, neighbours)
        yield 0.8
        own, samples = distances(gram), np.tile(np.arange(len(run)), len(steps))
        found = {
            name: faithfulness(own, where, neighbours, samples=samples)
            for name, where in (("map", places), ("pca", points[:, :2]))
        }
        shape = (len(steps), len(run), 2)
        return {"places": np.round(places.astype(np.float64), 4).reshape(shape), **found}

    return (yield from measured(run, MAP, parameters, compute))


def too_many(run: Run, steps: int) -> str:
    """Says why a run is too large for a map.

    The map is of ``steps`` steps. The text is empty if it can be made.
    """
    most = MOST_SAMPLES if steps == 1 else MOST_PLACES // 2
    if len(run) <= most:
        return ""
    return f"a map takes {most} samples at most, and {run.name} has {len(run)}; PCA takes more"


def nearest(run: Run, site: str, step: int, row: int, count: int) -> list[int]:
    """Finds the rows whose activations are nearest to a row's.

    The activations are those of one step. The row itself is among those found.
    """
    start, apart = 0, np.empty(len(run))
    own = _row(run, site, step, row)
    for block in run.blocks(site, step):
        apart[start : start + len(block)] = np.square(block - own, dtype=np.float64).sum(1)
        start += len(block)
    return np.argsort(apart, kind="stable")[: count + 1].tolist()


def _row(run: Run, site: str, step: int, row: int) -> np.ndarray:
    start = 0
    for block in run.blocks(site, step):
        if row < start + len(block):
            return block[row - start]
        start += len(block)
    raise IndexError(row)


def _data(run: Run, site: str, steps: Sequence[int]) -> Rows:
    """Yields blocks of rows of some steps one after the other, each step centred at its own
    mean.
    """
    if len(steps) == 1:
        return lambda: run.blocks(site, steps[0])

    def blocks() -> Iterator[np.ndarray]:
        for step in steps:
            whole = run.matrix(site, step)
            yield whole - whole.mean(0)

    return blocks
