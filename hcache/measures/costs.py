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
from ..analysis.projected import SIZE
from ..analysis.streaming import EXACT
from ..analysis.threads import workers
from ..cache.layout import H
from ..cache.reading import Run
from ..recipes.window import Window

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

NESTED_CELL, NESTED_ROW, NESTED_CUBE = 1e-2, 1e-4, 5.5e-10
"""Seconds of nested cross-validation for the interval of R²: by itself, by n, and by n³."""

PROJECTED_STEP = 1e-2
"""Seconds of a projection by step, beside the Gram matrix, whose leading eigenvectors alone are
computed.
"""

PASSES, COLUMNS = 3, 80
"""Passes of a projection of very many samples, and the columns that a pass multiplies each number
with, for own and joint components, there and back.
"""

MAP_ONCE, MAP_PLACE = {"tsne": 0.5, "umap": 12.0}, {"tsne": 2e-3, "umap": 1.3e-3}
MAP_PAIR = 4e-7
"""Seconds of a map by itself (UMAP compiles first), by place, and by pair of places."""

SHUFFLED = 3e-9
"""Seconds to shuffle a number of a matrix of all pairs of samples."""

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
        if n > EXACT:
            kept = d if d <= 2 * SIZE else SIZE
            total += steps * (2 * n * d * READ + EIGEN * n * kept**2 + labels)
        else:
            total += steps * (n * d * READ + GRAM * n * n * d + EIGEN * n * min(n, d) ** 2 + labels)
    return total / workers()


def projection_seconds(run: Run, site: str) -> float:
    """Seconds to project the samples of a run.

    At all steps, on each step's components and on joint ones.
    """
    n, d = len(run), run.width(site)
    if n > EXACT:
        return run.spec.steps * (PROJECTED_STEP + PASSES * n * d * (READ + COLUMNS * GRAM))
    return run.spec.steps * (PROJECTED_STEP + n * d * READ + GRAM * n * n * d)


def similarity_seconds(run: Run, cells: Mapping[str, int], n: int, shuffles: int) -> float:
    """Estimates the seconds that a map of CKA takes.

    It is over so many steps of some sites, as ``cells`` says, and of ``n`` samples.
    """
    count = sum(cells.values())
    reading = sum(steps * n * run.width(site) * READ for site, steps in cells.items())
    products = sum(steps * GRAM * n * n * run.width(site) for site, steps in cells.items())
    return reading + products + shuffles * n * n * count * (SHUFFLED + GRAM * count)


def map_seconds(run: Run, site: str, way: str, steps: int) -> float:
    """Estimates the seconds that it takes to map a site.

    The map is of so many ``steps`` together. ``way``: ``tsne`` or ``umap``.
    """
    n, d = len(run) * steps, run.width(site)
    return MAP_ONCE[way] + n * MAP_PLACE[way] + n * d * READ + GRAM * n * n * d + n * n * MAP_PAIR


def render_seconds(
    run: Run, recipes: int, window: Window, step_seconds: float | None
) -> float | None:
    """Seconds to render pictures of a run.

    From the first step of a window on; None without a measured step.

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


def alignment_seconds(run: Run, steps: int) -> float:
    """Seconds that the alignment of a label takes at so many steps."""
    n = len(run)
    return steps * (ALIGNED_STEP + ALIGNED_ROW * n + n * run.width(H) * READ)


def codes_seconds(run: Run, factors: int, steps: int) -> float:
    """Seconds of DCI and SAP of one kind of codes."""
    return factors * steps * (CODES_CELL + CODES_ROW * len(run))


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


def _label_seconds(n: int, binary: bool) -> float:
    if binary:
        return CELL + ROW * n + LOGISTIC_CELL + LOGISTIC_ROW * n
    nested = NESTED_CELL + NESTED_ROW * n + NESTED_CUBE * n**3 if n <= EXACT else 0.0
    return CELL + ROW * n + nested
