"""Directions from a score: top k minus bottom k, alone or with other attributes projected out.

References:
    Discovering Interpretable Directions in the Semantic Latent Space of Diffusion Models (Haas,
    Huberman-Spiegelglas, Mulayoff, Graßhof, Brandt, Michaeli, 2023),
    https://arxiv.org/abs/2303.11073
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..cache.layout import H
from ..cache.reading import Run
from ..errors import AnalysisError
from .direction import (
    ROUNDING,
    Direction,
    at_site,
    check_full,
    in_sigmas,
    in_units,
    site_of,
    spread,
)
from .fitting import AT_ONCE, NEGATIVES, POSITIVES, Fit, Fitting, Method
from .naive import top_samples


def supervised_direction(run: Run, scores: np.ndarray, k: int, site: str = H) -> Direction:
    """Returns the mean h of the highest minus that of the lowest.

    These are the ``k`` samples with the highest scores and the ``k`` with the lowest.

    Args:
        run: A run that stores the site in full.
        scores: (n,), one per sample; NaN if there is none.
        k: 1 or more, and at most half of the samples that have a score.
        site: The tensor that is moved.

    Raises:
        AnalysisError: there are too few samples for ``k``.
    """
    check_full(run, site)
    known = int(np.isfinite(scores).sum())
    if not 1 <= k <= known // 2:
        raise AnalysisError(
            f"k must lie in 1 to {known // 2}, half of the {known} samples with a score; got {k}"
        )
    top, bottom = top_samples(run, scores, k), top_samples(run, scores, k, highest=False)
    return difference_direction(run, top, bottom, site)


def difference_direction(
    run: Run, positives: Sequence[int], negatives: Sequence[int], site: str = H
) -> Direction:
    """Returns the mean h of some samples minus that of others."""
    rows = [[run.position(int(sample)) for sample in chosen] for chosen in (positives, negatives)]
    sigma, delta, shape = spread(run, site), [], run.anatomy.shape(site)
    for step in range(run.spec.steps):
        h = run.matrix(site, step)
        delta.append((h[rows[0]].mean(0) - h[rows[1]].mean(0)).reshape(shape))
    fit = Fit(
        method="supervised",
        run=run.name,
        positives=tuple(positives),
        negatives=tuple(negatives),
        site=site,
    )
    return in_units(np.stack(delta), sigma, fit.to_json(), run.spec.model, run.timesteps, ROUNDING)


def both_ends(
    run: Run, values: np.ndarray, count: int, highest: bool = True
) -> tuple[list[int], list[int]]:
    """Returns samples from both ends of a label's values (n,).

    There are ``count`` samples from one end, and as many from the other.
    """
    return top_samples(run, values, count, highest), top_samples(run, values, count, not highest)


def conditional_direction(direction: Direction, others: Sequence[Direction]) -> Direction:
    """Removes from a direction its part in the span of others.

    The result is n - Nᵀ x with (N Nᵀ) x = N n, over (step, c, h, w) at once, in units of σ like the
    cosines. Its cosine with each of the others is therefore 0.

    Raises:
        AnalysisError: nothing is left of it.
    """
    sigma = direction.sigma
    n = in_sigmas(direction.delta, sigma).ravel().astype(np.float64)
    stack = np.stack([in_sigmas(other.delta, sigma).ravel() for other in others]).astype(np.float64)
    x, *_ = np.linalg.lstsq(stack @ stack.T, stack @ n, rcond=None)
    left = n - stack.T @ x
    if np.linalg.norm(left) < 1e-6 * np.linalg.norm(n):
        raise AnalysisError(
            "nothing is left of this direction without the others: it lies in their span"
        )
    made_by = {
        "method": "conditional",
        "of": dict(direction.made_by),
        "without": [dict(o.made_by) for o in others],
    }
    made_by = at_site(made_by, site_of(direction))
    delta = (left.reshape(direction.delta.shape) * sigma).astype(np.float32)
    return in_units(delta, sigma, made_by, direction.model, direction.timesteps)


def _make(fit: Fit, _: Mapping[str, Any], run: Run, __: object) -> Fitting:
    yield 0.0
    found = difference_direction(run, fit.positives, fit.negatives, fit.site)
    return (replace(found, made_by=fit.to_json()),)


METHOD = Method(
    name="supervised",
    title="supervised: top against bottom of a label",
    text="Mean h of the positives minus mean h of as many samples at the other end.",
    source=(
        "Haas et al. 2023, Discovering Interpretable Directions in the Semantic Latent Space of"
        " Diffusion Models"
    ),
    make=_make,
    needs=(POSITIVES, NEGATIVES),
    cost=AT_ONCE,
    sites=True,
)
