"""How long work on a run will take, estimated before it starts: pages start by themselves what is
cheap.

Two kinds of work are counted in two ways:

- Rendering is counted in steps of the U-Net. The seconds of one step are not known here; they are
  measured when a model is extracted, and handed in. Where none were measured there is no estimate.
- Linear algebra is counted by the sizes of the matrices. The factors below are processor seconds of
  one core (a virtual Intel Xeon), measured by ``python -m hcache.bench.costs``, which prints the
  measured seconds beside the estimate.

The estimates are meant to be right within a factor of 2 on such a machine. Importing torch and
diffusers, which takes a few seconds once for each process, is left out. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..analysis.probes import is_binary
from ..analysis.threads import workers
from ..cache.labels import find_label
from ..cache.layout import H, X
from ..cache.reading import Run
from ..readers.reading import readers_of
from ..recipes.window import Window
from .codes import KINDS
from .noise import COARSE_EDGES, EDGES, spread_steps, windows_of
from .suite import (
    ADDITIVITY,
    ALIGNMENT,
    CODES,
    DECODABILITY,
    DIRECTIONS,
    NEED_MODEL,
    STEPS,
    STRENGTHS,
    SWAPS,
    WINDOW_SAMPLES,
    WINDOWS,
    Sizes,
    factors_of,
)

CHEAP = 10.0
"""Seconds: what is estimated to take no longer may be started by a page itself."""

EDITED = 2.0
"""What a step of an edited trajectory costs, in steps of an extraction: the decoder runs twice
where an edit is asymmetric, and batches are smaller."""

READ = 8e-9
"""Seconds to read a number of an activation from a shard and convert it to float32."""

GRAM, EIGEN, CELL, ROW = 2.6e-11, 4.1e-10, 3e-3, 1e-5
"""Seconds of a ridge probe by n² d, by n min(n, d)², by itself, and by n, for n samples of d
numbers.
"""

LOGISTIC_CELL, LOGISTIC_ROW = 2e-2, 2.1e-4
"""Seconds that a logistic probe takes longer than a ridge probe: by itself, and by n."""

PROJECTED_STEP = 1e-2
"""Seconds of a projection by step, beside the Gram matrix, whose leading eigenvectors alone are
computed.
"""

ALIGNED_STEP, ALIGNED_ROW = 2e-2, 2e-4
CODES_CELL, CODES_ROW = 0.1, 5e-4
"""Seconds of an alignment by step, and of DCI and SAP by factor and step: by itself, and by n."""


def is_cheap(seconds: float | None) -> bool:
    """Whether a page may start this by itself. What has no estimate is not cheap."""
    return seconds is not None and seconds <= CHEAP


def probe_seconds(run: Run, cells: Mapping[str, int], values: Sequence[np.ndarray]) -> float:
    """Seconds that probes take.

    Args:
        run: The run.
        cells: Site -> how many steps are probed there.
        values: The labels, (n,) each; every one is probed in every cell.
    """
    n, total = len(run), 0.0
    labels = sum(_label_seconds(n, is_binary(column[np.isfinite(column)])) for column in values)
    for site, steps in cells.items():
        d = run.width(site)
        total += steps * (n * d * READ + GRAM * n * n * d + EIGEN * n * min(n, d) ** 2 + labels)
    return total / workers()


def projection_seconds(run: Run, site: str) -> float:
    """Seconds to project the samples of a run at all steps, on each step's components and on
    joint ones.
    """
    n, d = len(run), run.width(site)
    return run.spec.steps * (PROJECTED_STEP + n * d * READ + GRAM * n * n * d)


def render_seconds(
    run: Run, recipes: int, window: Window, step_seconds: float | None
) -> float | None:
    """Seconds to render pictures of a run from the first step of a window on; None without a
    measured step.

    Args:
        run: The run.
        recipes: How many pictures.
        window: The steps that are edited.
        step_seconds: That one sample takes for one step, as measured by an extraction of the model.
    """
    return (
        None
        if step_seconds is None
        else EDITED * recipes * (run.spec.steps - window.first) * step_seconds
    )


def suite_seconds(
    run: Run, what: Sequence[str], labels: Sequence[str], sizes: Sizes, step_seconds: float | None
) -> float | None:
    """Seconds that parts of the suite take; None if one of them renders and no step was measured.

    Args:
        run: The run.
        what: The parts.
        labels: Names of labels.
        sizes: Samples and random directions.
        step_seconds: As in :func:`render_seconds`.
    """
    total = sum(_algebra(run, name, labels) for name in what if name not in NEED_MODEL)
    rendered = sum(trajectories(run, name, labels, sizes) for name in what if name in NEED_MODEL)
    if rendered and step_seconds is None:
        return None
    return total + (EDITED * rendered * run.spec.steps * step_seconds if step_seconds else 0.0)


def trajectories(run: Run, name: str, labels: Sequence[str], sizes: Sizes) -> float:
    """How many times a part of the suite takes a sample through all steps."""
    samples, count = min(sizes.samples, len(run)), len(_readable(run, labels))
    if name == SWAPS:
        each = 1.5 * samples * len(run.anatomy.sites)
        return each * (4 + 3 * sum(_share(run, window) for window in windows_of(run, COARSE_EDGES)))
    if not count:
        return 0.0
    if name == DIRECTIONS:
        return samples * (len(STRENGTHS) - 1) * (count + sizes.nulls) + 1
    if name == WINDOWS:
        shares = sum(_share(run, window) for window in windows_of(run, EDGES))
        return 2 * min(WINDOW_SAMPLES, samples) * shares * (count + sizes.nulls)
    if name == ADDITIVITY and count > 1:
        return samples * (count + count * (count - 1) // 2 + 3 * max(1, sizes.nulls // 4))
    return 0.0


def about(seconds: float | None) -> str:
    """``about 40 s``, ``about 6 min``, ``about 2 h``; ``time unknown``."""
    if seconds is None or not math.isfinite(seconds):
        return "time unknown"
    if seconds < 55:
        return f"about {max(5, 5 * math.ceil(seconds / 5))} s"
    minutes = seconds / 60
    return (
        f"about {max(1, round(minutes))} min" if minutes < 90 else f"about {round(minutes / 60)} h"
    )


def _algebra(run: Run, name: str, labels: Sequence[str]) -> float:
    """Seconds of the parts that need no model."""
    n, steps = len(run), len(spread_steps(run, STEPS))
    if name == DECODABILITY:
        return probe_seconds(
            run, {site: steps for site in _held(run)}, [find_label(run, label) for label in labels]
        )
    if name == ALIGNMENT:
        return len(labels) * steps * (ALIGNED_STEP + ALIGNED_ROW * n + n * run.width(H) * READ)
    if name == CODES:
        return len(KINDS) * len(factors_of(run, labels)) * steps * (CODES_CELL + CODES_ROW * n)
    return 0.0


def _held(run: Run) -> tuple[str, ...]:
    return (H, X) if run.anatomy.h is not None and run.policy(H) != "none" else (X,)


def _label_seconds(n: int, binary: bool) -> float:
    return CELL + ROW * n + (LOGISTIC_CELL + LOGISTIC_ROW * n if binary else 0.0)


def _readable(run: Run, labels: Sequence[str]) -> list[str]:
    """The labels that the run's first reader reads: edits are measured by that one."""
    reader = next(iter(readers_of(run)), "")
    return [name for name in labels if name in run.labels.get(reader, {})] if reader else []


def _share(run: Run, window: Window) -> float:
    """The share of the steps that are left from a window's first step on."""
    return 1 - window.first / run.spec.steps
