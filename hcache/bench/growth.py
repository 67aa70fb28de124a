"""How time and memory grow with the samples: reading, components, probes and what pages need.

Each task runs in a process of its own for every number of samples, on planted data. The exponent is
the slope of the logarithm of processor time over that of samples, by least squares.

    python -m hcache bench --only growth
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import asdict
from typing import Any

import numpy as np

from ..analysis.decoding import Probing
from ..analysis.pca import principal_components
from ..analysis.probes import Space
from ..analysis.projections import project_steps
from ..analysis.threads import one_thread
from ..cache.layout import H
from ..cache.reading import Run, open_run
from ..progress import drive
from .planted import planted_run
from .setting import BenchRow, BenchSetting
from .timing import Clock, Ratio, in_child

SAMPLES, FEW_SAMPLES = (1000, 4000, 16000), (20, 40, 80)
SHAPE, STEPS, BATCH = (40, 8, 8), 2, 50

AIMS = {"reading": 1.1, "pca": 1.1, "projections": 1.1, "probes": 1.2, "pages": None}
"""The largest acceptable exponents."""

WHAT = {
    "reading": "all samples at every step, from the shards",
    "pca": "10 components of one step and their shuffled baseline",
    "projections": "10 components of every step and 10 joint ones",
    "probes": "one ridge probe of one step, with its null and interval",
    "pages": "opening the run, its facts and labels, and h of 48 samples",
}


def growth(setting: BenchSetting) -> Generator[float, None, list[BenchRow]]:
    """Measures time and memory by the number of samples."""
    counts = FEW_SAMPLES if setting.quick else SAMPLES
    shape = (8, 2, 2) if setting.quick else SHAPE
    folders = [
        str(planted_run(setting.at(f"{n}").work, n, STEPS, shape, BATCH).folder) for n in counts
    ]
    yield 0.1
    rows, reading = [], 0.0
    for number, (name, aim) in enumerate(AIMS.items()):
        found = [in_child("grown", what=name, folder=folder) for folder in folders]
        reading = reading or found[-1]["spent"]["processor"]  # the first task reads everything once
        rows.append(growth_row(name, aim, counts, found, reading))
        yield 0.1 + 0.9 * (number + 1) / len(AIMS)
    return rows


def exponent(counts: tuple[int, ...], values: list[float]) -> float:
    """Computes the slope of log(values) over log(counts)."""
    return float(np.polyfit(np.log(counts), np.log(np.maximum(values, 1e-6)), 1)[0])


def growth_row(
    name: str,
    aim: float | None,
    counts: tuple[int, ...],
    found: list[dict[str, Any]],
    reading: float,
) -> BenchRow:
    """Returns the row of a kind of work.

    ``found``: what was measured at each number of samples. ``reading``: the processor seconds of
    one reading of the most samples.
    """
    seconds = [each["spent"]["processor"] for each in found]
    slope = exponent(counts, seconds)
    told = ", ".join(
        f"n = {n}: {s:.2f} s and {each['peak']:.0f} MB"
        for n, s, each in zip(counts, seconds, found, strict=True)
    )
    at_most = "" if aim is None else f", at most {aim:g} wanted"
    return BenchRow(
        name=f"growth, {name}",
        what=f"{WHAT[name]}, exponent of processor time in samples",
        against="1, in proportion",
        aim=aim,
        ratio=Ratio.of_numbers([slope], [1.0]),
        unit="",
        note=f"exponent {slope:.2f}{at_most}; {told}; {seconds[-1] / reading:.1f} times one reading"
        " of all steps of the most samples",
    )


def grown(what: str, folder: str) -> dict[str, Any]:
    """Measures one task in this process. The clock starts before the run opens."""
    work = _WORK[what]
    with one_thread():
        clock = Clock()
        work(open_run(folder))
        spent = clock.read()
    return {"spent": asdict(spent)}


def _reading(run: Run) -> None:
    for step in range(run.spec.steps):
        for block in run.blocks(H, step):
            block.sum()


def _pca(run: Run) -> None:
    principal_components(lambda: run.blocks(H, 0))


def _projections(run: Run) -> None:
    drive(
        project_steps(
            lambda step: run.matrix(H, step),
            run.spec.steps,
            rows=lambda: run.step_blocks(H),
            samples=len(run),
        )
    )


def _probes(run: Run) -> None:
    space = Space.of(lambda: run.blocks(H, 0))
    label = np.concatenate([block[:, 0] for block in run.blocks(H, run.spec.steps - 1)])
    Probing.of(label.astype(np.float64), controls=19, repeats=200).decode(space)


def _pages(run: Run) -> None:
    run.complete, run.bytes, run.sample_ids, run.labels  # noqa: B018 - read for what it costs
    first = run.sample_ids[:48]
    for sample in first:
        run.row(H, int(sample), 0)


_WORK: dict[str, Callable[[Run], None]] = {
    "reading": _reading,
    "pca": _pca,
    "projections": _projections,
    "probes": _probes,
    "pages": _pages,
}
