r"""Principal components of h over samples, as directions: per step, or joint over all steps.

With X_t (n, d) the centred h of n samples at step t, and a (n,) the samples' coordinates of unit length along one
component, one standard deviation along it is

    Δh_t = X_tᵀ a / √(n-1)

Per step, a is an eigenvector of the Gram matrix X_t X_tᵀ, step by step, its sign that of the step before. Joint, a is
an eigenvector of Σ_t X_t X_tᵀ: one set of coordinates for the whole trajectory, and how long the direction is at each
step follows from the data.

References:
    Discovering Interpretable Directions in the Semantic Latent Space of Diffusion Models (Haas, Huberman-Spiegelglas,
    Mulayoff, Graßhof, Brandt, Michaeli, 2023), https://arxiv.org/abs/2303.11073
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..analysis.blocks import MEMORY
from ..cache.reading import Run
from ..errors import AnalysisError, UsageError
from .direction import Direction, in_units
from .fitting import Fit, Fitting, Method, Option

JOINT, PER_STEP = "joint", "per step"


def pca_directions(run: Run, count: int = 5, joint: bool = True) -> Generator[float, None, tuple[Direction, ...]]:
    """The first ``count`` components of a run that holds h in full, largest first.

    Raises:
        AnalysisError: fewer than 3 samples.
        UsageError: more components than the samples have.
    """
    n, steps = len(run), run.spec.steps
    if n < 3:
        raise AnalysisError(f"principal components need 3 samples or more; run {run.name} has {n}")
    if not 1 <= count < n:
        raise UsageError(f"the number of components must lie in 1 to {n - 1}, one less than samples; got {count}")
    total, each, sigma = 0.0, [], []
    for step in range(steps):
        h = _centred(run, step)
        sigma.append(h.std(0).reshape(run.anatomy.h))
        gram = _gram(h)
        if joint:  # one (n, n) at a time is held, never one a step
            total = total + gram
        else:
            each.append(_leading(gram, count))
        yield 0.5 * (step + 1) / steps
    coordinates = [_leading(total, count)] * steps if joint else _aligned(each)
    delta = np.empty((count, steps, *run.anatomy.h), np.float32)
    for step, a in enumerate(coordinates):
        moved = a.T.astype(np.float32) @ _centred(run, step) / np.sqrt(n - 1)
        delta[:, step] = moved.reshape(count, *run.anatomy.h)
        yield 0.5 + 0.5 * (step + 1) / steps
    options = {"count": count, "over": JOINT if joint else PER_STEP}
    fits = [Fit(method="pca", run=run.name, options=options, component=k).to_json() for k in range(count)]
    spread = np.stack(sigma)
    return tuple(in_units(d, spread, fit, run.spec.model, run.timesteps) for d, fit in zip(delta, fits, strict=True))


def _centred(run: Run, step: int) -> np.ndarray:
    h = run.matrix("h", step)
    return h - h.mean(0)


def _gram(h: np.ndarray) -> np.ndarray:
    """H Hᵀ (n, n) float64 of h (n, d), from as many columns at a time as are small beside h in float64."""
    n, d = h.shape
    width = max(1, MEMORY // (8 * n))
    gram = np.zeros((n, n))
    for start in range(0, d, width):
        part = h[:, start : start + width].astype(np.float64)
        gram += part @ part.T
    return gram


def _leading(gram: np.ndarray, count: int) -> np.ndarray:
    """Eigenvectors (n, count) of the largest eigenvalues; the sign makes the skewness of the coordinates positive."""
    _, vectors = np.linalg.eigh(gram)
    found = vectors[:, ::-1][:, :count]
    return found * np.where((found**3).sum(0) < 0, -1, 1)


def _aligned(coordinates: list[np.ndarray]) -> list[np.ndarray]:
    """Each step's components with the signs of the step before."""
    aligned = coordinates[:1]
    for found in coordinates[1:]:
        aligned.append(found * np.where((found * aligned[-1]).sum(0) < 0, -1, 1))
    return aligned


def _make(fit: Fit, options: Mapping[str, Any], run: Run, _: object) -> Fitting:
    found = yield from pca_directions(run, options["count"], options["over"] == JOINT)
    return tuple(replace(d, made_by=replace(fit, component=k).to_json()) for k, d in enumerate(found))


METHOD = Method(
    name="pca",
    title="PCA: principal components",
    text="The directions in which h varies most over the samples; nothing is chosen.",
    source="Haas et al. 2023, Discovering Interpretable Directions in the Semantic Latent Space of Diffusion Models",
    make=_make,
    options={
        "count": Option(default=5, text="how many components"),
        "over": Option(default=JOINT, text="all steps at once, or each by itself", choices=(JOINT, PER_STEP)),
    },
)
