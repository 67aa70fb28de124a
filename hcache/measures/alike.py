"""CKA over a run: between all steps of a site, all sites of a step, and two runs. It needs no
model.

A record contains a whole map. Rows and columns are steps or sites. Two runs are compared on samples
that belong together: those of the same seed, or inversions of the same real picture.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..analysis.blocks import Rows
from ..analysis.cka import CONSTANT, FEWEST, Alike, alike, gram
from ..analysis.estimate import Estimate
from ..cache.layout import X, run_folder
from ..cache.reading import Run, open_run
from ..cache.records import state_of
from ..errors import AnalysisError, HcacheError, UsageError
from ..progress import part
from .kinds import CKA
from .noise import spread_steps
from .stored import Measuring, measured

STEPS, SITES, RUNS = "steps", "sites", "runs"
"""The kinds of maps."""

ENDS = ("value", "low", "high")
MOST_STEPS = 50
"""The largest number of steps of a map. For longer runs, this many steps are evenly spread."""

READING = 0.7
"""The share of the work for reading, for the progress bar."""


def mapped_steps(run: Run) -> list[int]:
    """Lists the steps that maps show.

    These are all steps, or as many as fit, evenly spread.
    """
    return spread_steps(run, MOST_STEPS)


def steps_alike(run: Run, site: str, samples: int, shuffles: int) -> Measuring:
    """Compares a site at all steps with itself at all steps.

    Every step is a row and a column.
    """
    steps = mapped_steps(run)
    rows = np.arange(min(samples, len(run)))
    parameters = {"of": STEPS, "site": site, "compared": len(rows), "shuffles": shuffles}

    def compute() -> Generator[float, None, dict[str, Any]]:
        grams = yield from _grams([(run, site, step) for step in steps], rows, READING)
        found = yield from part(alike(grams, None, shuffles), READING, 1 - READING)
        return _result(found, steps, steps)

    return (yield from measured(run, CKA, parameters, compute))


def sites_alike(run: Run, step: int, samples: int, shuffles: int) -> Measuring:
    """Compares all stored sites, and x_t, with one another at a step."""
    sites = [X, *run.stored_sites]
    rows = np.arange(min(samples, len(run)))
    parameters = {"of": SITES, "step": step, "compared": len(rows), "shuffles": shuffles}

    def compute() -> Generator[float, None, dict[str, Any]]:
        grams = yield from _grams([(run, site, step) for site in sites], rows, READING)
        found = yield from part(alike(grams, None, shuffles), READING, 1 - READING)
        return _result(found, sites, sites)

    return (yield from measured(run, CKA, parameters, compute))


def runs_alike(run: Run, other: Run, site: str, samples: int, shuffles: int) -> Measuring:
    """Compares a site of two runs, all steps with all steps.

    Rows are the steps of ``run``, and columns those of ``other``.

    Raises:
        UsageError: too few of their samples belong together, or one run does not store the site.
    """
    own, theirs = (each[:samples] for each in shared_samples(run, other))
    _check_site(other, site)
    parameters = {
        "of": RUNS,
        "other": other.name,
        "other_state": state_of(other),
        "site": site,
        "compared": len(own),
        "shuffles": shuffles,
    }

    def compute() -> Generator[float, None, dict[str, Any]]:
        steps, others = mapped_steps(run), mapped_steps(other)
        half = READING / 2
        a = yield from _grams([(run, site, step) for step in steps], own, half)
        there = [(other, site, step) for step in others]
        b = yield from part(_grams(there, theirs, 1.0), half, half)
        found = yield from part(alike(a, b, shuffles), READING, 1 - READING)
        return _result(found, steps, others)

    return (yield from measured(run, CKA, parameters, compute))


def other_run(run: Run, name: str) -> Run:
    """Returns another run of the same home, for comparison.

    Raises:
        UsageError: it is the run itself, or no run of that name can be read.
    """
    if name == run.name:
        raise UsageError(f"{name} is the run itself; name another to compare it with")
    try:
        return open_run(run_folder(run.home, name))
    except HcacheError as error:
        raise UsageError(f"no run {name[:60]!r} to compare with: {error}") from error


def shared_samples(run: Run, other: Run) -> tuple[np.ndarray, np.ndarray]:
    """Matches the samples of two runs.

    Returns the rows (m,) in each run that belong to the same noise or real picture.

    Raises:
        UsageError: fewer than 5 do, or equal seeds do not give equal noise because x has different
            shapes.
    """
    if run.real != other.real:
        raise UsageError(
            f"one of {run.name} and {other.name} has real pictures and the other has none, so"
            " their samples do not correspond"
        )
    if not run.real and run.anatomy.x != other.anatomy.x:
        raise UsageError(
            f"x is {run.anatomy.x} in {run.name} and {other.anatomy.x} in {other.name}, so equal"
            " seeds are not equal noise; invert the same real pictures with both"
        )
    rows = {_origin(other, sample): row for row, sample in enumerate(other.sample_ids.tolist())}
    pairs = [
        (row, rows[origin])
        for row, sample in enumerate(run.sample_ids.tolist())
        if (origin := _origin(run, sample)) in rows
    ]
    if len(pairs) < FEWEST:
        what = "real pictures" if run.real else "seeds"
        raise UsageError(
            f"{run.name} and {other.name} have {len(pairs)} {what} in common; CKA takes {FEWEST}"
            " or more"
        )
    own, theirs = np.array(pairs).T
    return own, theirs


def _origin(run: Run, sample: int) -> str | int:
    """Returns the origin of a sample: its picture's digest, or its seed."""
    return run.spec.images[sample] if run.real else run.seed(sample)


def _check_site(run: Run, site: str) -> None:
    if site not in run.stored_sites:
        raise UsageError(f"{run.name} does not store {site}; it has {', '.join(run.stored_sites)}")


def _grams(
    places: Sequence[tuple[Run, str, int]], rows: np.ndarray, weight: float
) -> Generator[float, None, np.ndarray]:
    """Returns the inner products of some sites and steps (places, n, n) for CKA, for the samples in
    these rows.
    """
    order = np.argsort(np.argsort(rows))
    found = np.empty((len(places), len(rows), len(rows)), np.float32)
    for number, (run, site, step) in enumerate(places):
        try:
            found[number] = gram(_rows_of(run, site, step, np.sort(rows)))[np.ix_(order, order)]
        except AnalysisError as error:
            raise AnalysisError(f"{site} of {run.name} at step {step}: {error}") from error
        yield weight * (number + 1) / len(places)
    return found


def _rows_of(run: Run, site: str, step: int, rows: np.ndarray) -> Rows:
    """Yields blocks of some rows, ascending. Shards beyond the last row are not read."""

    def blocks() -> Iterator[np.ndarray]:
        start = 0
        for block in run.blocks(site, step):
            inside = rows[(rows >= start) & (rows < start + len(block))] - start
            start += len(block)
            yield block[inside]
            if start > rows[-1]:
                return

    return blocks


def estimates_of(result: Mapping[str, Any], n: int) -> list[list[Estimate]]:
    """Returns the estimates (rows, columns) of a stored map of ``n`` samples."""
    value, low, high = (result[name] for name in ENDS)
    return [
        [
            Estimate.undefined(CONSTANT, n) if v is None else Estimate(value=v, low=a, high=b, n=n)
            for v, a, b in zip(*row, strict=True)
        ]
        for row in zip(value, low, high, strict=True)
    ]


def _result(found: Alike, rows: Sequence[Any], columns: Sequence[Any]) -> dict[str, Any]:
    """Returns plain tables of numbers, with only the significant digits, because maps are large."""
    ends = {
        name: [[getattr(each, name) for each in row] for row in found.estimates] for name in ENDS
    }
    tables = {**ends, "null": found.null, "p": found.p, "family_p": found.family_p}
    rounded = {name: np.round(np.array(table, np.float64), 5) for name, table in tables.items()}
    return {"rows": list(rows), "columns": list(columns), **rounded}
