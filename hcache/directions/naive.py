"""The naive direction: the mean h of positives minus the mean h of random samples.

Only positives have to be selected. Every sample of the run counts as random, including the
positives. This does not change the direction. It shortens it by the share of positives, and the
unit removes this effect.

References:
    Discovering Interpretable Directions in the Semantic Latent Space of Diffusion Models (Haas,
    Huberman-Spiegelglas, Mulayoff, Graßhof, Brandt, Michaeli, 2023),
    https://arxiv.org/abs/2303.11073, for directions as differences of means
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..cache.layout import H
from ..cache.reading import Run
from ..errors import AnalysisError
from .direction import ROUNDING, Direction, at_site, check_full, in_units
from .fitting import AT_ONCE, POSITIVES, Fit, Fitting, Method


def naive_direction(run: Run, positives: Sequence[int], site: str = H) -> Direction:
    """Returns the naive direction of a run towards some of its samples.

    Args:
        run: A run that stores the site in full.
        positives: Sample numbers, 2 or more, but not all samples.
        site: The tensor that is moved.

    Raises:
        AnalysisError: there are too few positives, or no other samples to compare them with.
    """
    check_full(run, site)
    shape = run.anatomy.shape(site)
    rows = np.array(sorted({run.position(int(sample)) for sample in positives}), np.int64)
    if not 2 <= len(rows) < len(run):
        raise AnalysisError(
            f"a naive direction needs 2 to {len(run) - 1} positives of {len(run)}; got {len(rows)}"
        )
    delta, sigma = [], []
    for step in range(run.spec.steps):
        h = run.matrix(site, step)
        delta.append((h[rows].mean(0) - h.mean(0)).reshape(shape))
        sigma.append(h.std(0).reshape(shape))
    made_by = {
        "method": "naive",
        "run": run.name,
        "positives": [int(run.sample_ids[row]) for row in rows],
    }
    made_by = at_site(made_by, site)
    return in_units(
        np.stack(delta), np.stack(sigma), made_by, run.spec.model, run.timesteps, ROUNDING
    )


def top_samples(run: Run, values: np.ndarray, count: int, highest: bool = True) -> list[int]:
    """Returns the sample numbers with the highest (or lowest) values.

    It selects ``count`` samples by values (n,). Samples without a value are left out.
    """
    order = np.argsort(values, kind="stable")
    order = order[np.isfinite(values[order])]
    chosen = order[::-1][:count] if highest else order[:count]
    return [int(run.sample_ids[row]) for row in chosen]


def _make(fit: Fit, _: Mapping[str, Any], run: Run, __: object) -> Fitting:
    yield 0.0
    return (replace(naive_direction(run, fit.positives, fit.site), made_by=fit.to_json()),)


METHOD = Method(
    name="naive",
    title="naive: positives against random samples",
    text="Mean h of the positives minus mean h of all samples. You choose only positives.",
    source=(
        "Haas et al. 2023, Discovering Interpretable Directions in the Semantic Latent Space of"
        " Diffusion Models"
    ),
    make=_make,
    proposed=True,
    needs=(POSITIVES,),
    least=2,
    cost=AT_ONCE,
    sites=True,
)
