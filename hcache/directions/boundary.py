"""The normal of the hyperplane that separates positives from negatives in h.

A linear support vector machine is fitted at every step, or at one, to h in units of σ; the
direction is the unit normal n of its boundary, converted back: Δh = σ n. The paper moves at one
step, near t = 500. With ``step``, the direction is zero at all other steps.

References:
    Boundary Guided Learning-Free Semantic Control with Diffusion Models (Zhu, Wu, Deng,
    Russakovsky, Yan, 2023), https://arxiv.org/abs/2302.08357
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..analysis.blocks import inner_products
from ..cache.layout import H
from ..cache.reading import Run
from ..errors import AnalysisError, UsageError
from ..options import Option
from .direction import Direction, in_sigmas, in_units
from .fitting import NEGATIVES, POSITIVES, Fit, Fitting, Method

ALL_STEPS = -1


def boundary_direction(
    run: Run,
    positives: Sequence[int],
    negatives: Sequence[int],
    step: int = ALL_STEPS,
    c: float = 1.0,
    site: str = H,
) -> Generator[float, None, Direction]:
    """Returns the unit normals from negatives towards positives.

    Args:
        run: A run that stores the site in full.
        positives: Sample numbers, 2 or more.
        negatives: Sample numbers, 2 or more.
        step: The only step to move at. Default: all steps.
        c: C of the support vector machine: the weight of a sample on the wrong side. h in units of
            σ is divided by √d first.
        site: The tensor that is moved.

    Raises:
        UsageError: the step does not exist, or C is not above 0.
        AnalysisError: positives and negatives have the same h, or there are too many of them. The
            inner products of all pairs are held in memory.
    """
    from sklearn.svm import SVC

    if not ALL_STEPS <= step < run.spec.steps:
        raise UsageError(
            f"step must lie in 0 to {run.spec.steps - 1}, or be -1 for all; got {step}"
        )
    if not c > 0:
        raise UsageError(f"C must be greater than 0, got {c:g}")
    rows = [run.position(int(sample)) for sample in (*positives, *negatives)]
    y, shape = np.array([1] * len(positives) + [-1] * len(negatives)), run.anatomy.shape(site)
    delta, sigma = np.zeros((2, run.spec.steps, *shape), np.float32)
    for t in range(run.spec.steps):
        h = run.matrix(site, t)
        spread = h.std(0)
        sigma[t] = spread.reshape(shape)
        if step in (ALL_STEPS, t):
            z = in_sigmas(
                h[rows] - h.mean(0), np.broadcast_to(spread, (len(rows), len(spread)))
            ) / np.sqrt(h.shape[1])
            machine = SVC(kernel="precomputed", C=c).fit(inner_products(z), y)
            normal = machine.dual_coef_[0] @ z[machine.support_]
            if (length := np.linalg.norm(normal)) == 0:
                raise AnalysisError(
                    f"positives and negatives have the same h at step {t}; there is no boundary"
                )
            delta[t] = (spread * normal / length).reshape(shape)
        yield (t + 1) / run.spec.steps
    fit = Fit(
        method="boundary",
        run=run.name,
        positives=tuple(positives),
        negatives=tuple(negatives),
        options={"step": step, "c": c},
        site=site,
    )
    return in_units(delta, sigma, fit.to_json(), run.spec.model, run.timesteps)


def _make(fit: Fit, options: Mapping[str, Any], run: Run, _: object) -> Fitting:
    found = yield from boundary_direction(
        run, fit.positives, fit.negatives, options["step"], options["c"], fit.site
    )
    return (replace(found, made_by=fit.to_json()),)


METHOD = Method(
    name="boundary",
    title="boundary: the normal of a linear SVM",
    text=(
        "A linear support vector machine separates positives from negatives at each step; h moves"
        " along its normal."
    ),
    source="Zhu et al. 2023, Boundary Guided Learning-Free Semantic Control with Diffusion Models",
    make=_make,
    needs=(POSITIVES, NEGATIVES),
    least=2,
    sites=True,
    options={
        "step": Option(
            default=ALL_STEPS,
            text="the only step to move at; -1: all steps, each with its own boundary",
        ),
        "c": Option(default=1.0, text="the machine's C"),
    },
)
