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
from ..sparse.plan import DictionaryPlan, token_shape
from .alike import MOST_STEPS

CHEAP = 10.0
"""A page may start work by itself if its estimate is at most this many seconds."""

EDITED = 2.0
"""The cost of a step of an edited trajectory, in steps of an extraction. The decoder runs twice if
an edit is asymmetric, and batches are smaller.
"""

READ = 8e-9
"""The seconds to read a number of an activation from a shard and convert it to float32."""

GRAM, EIGEN, CELL, ROW = 2.6e-11, 4.1e-10, 3e-3, 1e-5
"""The seconds of a ridge probe: per n² d, per n min(n, d)², fixed, and per n, for n samples of d
numbers.
"""

LOGISTIC_CELL, LOGISTIC_ROW = 2e-2, 2.1e-4
"""The additional seconds of a logistic probe: fixed, and per n."""

NESTED_CELL, NESTED_ROW, NESTED_CUBE = 1e-2, 1e-4, 5.5e-10
"""Seconds of nested cross-validation for the interval of R²: by itself, by n, and by n³."""

PROJECTED_STEP = 1e-2
"""The seconds of a projection per step, without the Gram matrix. Only leading eigenvectors are
computed.
"""

PASSES, COLUMNS = 3, 80
"""The passes of a projection of very many samples, and the columns that a pass multiplies each
number with, for own and joint components, there and back.
"""

MAP_ONCE, MAP_PLACE = {"tsne": 0.5, "umap": 12.0}, {"tsne": 2e-3, "umap": 1.3e-3}
MAP_PAIR = 4e-7
"""The seconds of a map: fixed (UMAP compiles first), per place, and per pair of places."""

SHUFFLED = 3e-9
"""The seconds to shuffle a number of a matrix of all pairs of samples."""

FEATURE = 2e-8
"""The seconds to shuffle a number of a matrix of features over its samples."""

SPARSE_TOKEN, SPARSE_TRAINED, SPARSE_ENCODED = 4e-6, 9e-11, 3e-11
"""Seconds of a token of sparse features by itself, and by channels and features: in training, and
in finding what fires.
"""

ALIGNED_STEP, ALIGNED_ROW = 2e-2, 2e-4
CODES_CELL, CODES_ROW = 0.1, 5e-4
"""The seconds of an alignment per step, and of DCI and SAP per factor and step: fixed, and
per n.
"""


def is_cheap(seconds: float | None) -> bool:
    """Returns whether a page may start this by itself. Work without an estimate is not cheap."""
    return seconds is not None and seconds <= CHEAP


def probe_seconds(run: Run, cells: Mapping[str, int], values: Sequence[np.ndarray]) -> float:
    """Estimates the seconds that probes take.

    Args:
        run: The run.
        cells: Site -> the number of probed steps.
        values: The labels, (n,) each. Every label is probed in every cell.
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
    """Estimates the seconds to project the samples of a run.

    The projection is at all steps, on each step's own components and on joint ones.
    """
    n, d = len(run), run.width(site)
    if n > EXACT:
        return run.spec.steps * (PROJECTED_STEP + PASSES * n * d * (READ + COLUMNS * GRAM))
    return run.spec.steps * (PROJECTED_STEP + n * d * READ + GRAM * n * n * d)


def similarity_seconds(run: Run, cells: Mapping[str, int], n: int, shuffles: int) -> float:
    """Estimates the seconds that a map of CKA takes.

    ``cells`` is the number of steps of all its sites, and ``n`` the number of samples.
    """
    count = sum(cells.values())
    reading = sum(steps * n * run.width(site) * READ for site, steps in cells.items())
    products = sum(steps * GRAM * n * n * run.width(site) for site, steps in cells.items())
    return reading + products + shuffles * n * n * count * (SHUFFLED + GRAM * count)


def components_seconds(run: Run, site: str, shuffles: int) -> float:
    """Estimates the seconds that a site's components take at all steps.

    Every step has 3 shuffles, and one step has ``shuffles`` more with its own components each time.
    """
    n, d = len(run), run.width(site)
    steps, again = min(run.spec.steps, MOST_STEPS), 2 * shuffles
    products = (4 * steps + again) * (GRAM * n * n * d + EIGEN * min(n, d) ** 3)
    return products + n * d * (READ * (3 * steps + shuffles) + FEATURE * (3 * steps + shuffles))


def map_seconds(run: Run, site: str, way: str, steps: int) -> float:
    """Estimates the seconds that it takes to map a site.

    The map is of ``steps`` steps together. ``way`` is ``tsne`` or ``umap``.
    """
    n, d = len(run) * steps, run.width(site)
    return MAP_ONCE[way] + n * MAP_PLACE[way] + n * d * READ + GRAM * n * n * d + n * n * MAP_PAIR


def sparse_seconds(run: Run, plan: DictionaryPlan) -> float:
    """Estimates the seconds that sparse features take.

    These are two trainings and a pass over all samples.
    """
    channels, places = token_shape(run, plan.site)
    pairs, every = channels * plan.features, len(run) * run.spec.steps * places
    trained = 2 * plan.tokens * (SPARSE_TOKEN + SPARSE_TRAINED * pairs)
    return trained + every * (SPARSE_TOKEN + SPARSE_ENCODED * pairs + channels * READ)


def render_seconds(
    run: Run, recipes: int, window: Window, step_seconds: float | None
) -> float | None:
    """Estimates the seconds to render pictures of a run.

    The steps are those from the first step of a window on. The result is None without a measured
    step.

    Args:
        run: The run.
        recipes: The number of pictures.
        window: The steps that are edited.
        step_seconds: The seconds that one sample takes for one step, as measured by an extraction
            of the model.
    """
    return (
        None
        if step_seconds is None
        else EDITED * recipes * (run.spec.steps - window.first) * step_seconds
    )


def alignment_seconds(run: Run, steps: int) -> float:
    """Estimates the seconds of the alignment of a label at some steps."""
    n = len(run)
    return steps * (ALIGNED_STEP + ALIGNED_ROW * n + n * run.width(H) * READ)


def codes_seconds(run: Run, factors: int, steps: int) -> float:
    """Estimates the seconds of DCI and SAP for one kind of codes."""
    return factors * steps * (CODES_CELL + CODES_ROW * len(run))


def about(seconds: float | None) -> str:
    """Formats a time. Examples are ``about 40 s``, ``about 6 min``, ``about 2 h`` and ``time
    unknown``.
    """
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
