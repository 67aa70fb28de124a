"""Disentanglement of a run step by step: DCI and SAP of h and of x_t, and cosines between
directions.

It needs no model. There are three kinds of codes: the leading principal components of h, those of
x_t for comparison, and the channels of h, each averaged over space. Factors are the run's labels,
which are read from the pictures or known.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np

from ..analysis.direction_cosines import cosines
from ..analysis.disentanglement import dci, sap
from ..analysis.probes import check_labels, gram_matrix
from ..analysis.projections import leading
from ..analysis.standard_scores import standard_scores
from ..analysis.streaming import EXACT
from ..cache.labels import find_label
from ..cache.layout import H, X
from ..cache.reading import Run
from ..errors import AnalysisError, UsageError
from .groups import of_groups
from .kinds import CODES, COSINES
from .label_values import values_of
from .stored import Measuring, measured

COMPONENTS, CHANNELS = "components", "channels"
KINDS = ((COMPONENTS, H), (COMPONENTS, X), (CHANNELS, H))
COUNT = 32
"""The number of principal components that serve as codes."""


def codes_of(run: Run, kind: str, site: str, step: int, count: int = COUNT) -> np.ndarray:
    """Returns codes (n, d) of all samples.

    They are principal scores of standardised activations, or channels averaged over space. Beyond
    :data:`~hcache.analysis.streaming.EXACT` samples the scores come from a few passes
    (:func:`~hcache.analysis.standard_scores.standard_scores`).
    """
    if kind == CHANNELS:
        return run.pooled(site, step)
    if len(run) > EXACT:
        return standard_scores(lambda: run.blocks(site, step), (len(run), run.width(site)), count)
    values, vectors = leading(gram_matrix(run.matrix(site, step)), min(count, len(run) - 1))
    return vectors * np.sqrt(values)


def codes(
    run: Run,
    factors: Sequence[str],
    kind: str,
    site: str,
    steps: Sequence[int],
    *,
    repeats: int = 100,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> Measuring:
    """Computes DCI and SAP at some steps.

    The result is ``{"codes": number of codes, "steps": [{"step", "disentanglement", "completeness",
    "sap", "informativeness": {factor: Estimate}, "rotated": {"disentanglement", "sap"}, "p":
    {"disentanglement", "sap"}}]}``. ``rotated`` is the mean over random rotations of the codes.
    """
    if len(factors) < 2:
        raise UsageError(f"disentanglement is among 2 factors or more, got {len(factors)}")
    known = np.stack([_factor(run, name) for name in factors], 1)
    steps = list(steps)

    def compute() -> Generator[float, None, dict[str, Any]]:
        """Computes DCI and SAP of the codes at each step."""
        rows, width = [], 0
        for step in steps:
            found = codes_of(run, kind, site, step)
            width = found.shape[1]
            d = dci(found, known, repeats=repeats, seed=seed, groups=groups)
            yield (len(rows) + 0.7) / len(steps)
            s = sap(found, known, repeats=repeats, seed=seed, groups=groups)
            rows.append(
                {
                    "step": step,
                    "disentanglement": d.disentanglement,
                    "completeness": d.completeness,
                    "sap": s.score,
                    "informativeness": dict(zip(factors, d.informativeness, strict=True)),
                    "rotated": {"disentanglement": d.rotated[:, 0].mean(), "sap": s.rotated.mean()},
                    "p": {"disentanglement": d.p, "sap": s.p},
                }
            )
            yield len(rows) / len(steps)
        return {"codes": width, "steps": rows}

    parameters = {
        "factors": list(factors),
        "codes": kind,
        "site": site,
        "steps": steps,
        "repeats": repeats,
        "count": COUNT,
        "seed": seed,
        "values": values_of(run, factors),
        **of_groups(groups),
    }
    return (yield from measured(run, CODES, parameters, compute))


def _factor(run: Run, name: str) -> np.ndarray:
    values = find_label(run, name)
    try:
        check_labels(values, 5)
    except AnalysisError as error:
        raise AnalysisError(f"{name}: {error}") from error
    return values


def direction_cosines(
    run: Run,
    ends: Mapping[str, tuple[Sequence[int], Sequence[int]]],
    steps: Sequence[int],
    *,
    repeats: int = 500,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> Measuring:
    """Computes cosines between the directions of some labels, by step.

    The labels are given as ``name -> (positives, negatives)``. The result is ``[{"step", "pairs":
    [Cosine, ...]}]``.
    """
    marks = {name: np.zeros(len(run)) for name in ends}
    for name, (positives, negatives) in ends.items():
        marks[name][[run.position(int(sample)) for sample in positives]] = 1
        marks[name][[run.position(int(sample)) for sample in negatives]] = -1
    steps = list(steps)

    def compute() -> Generator[float, None, list[dict[str, Any]]]:
        """Computes the cosines of all pairs at each step."""
        rows = []
        for step in steps:
            rows.append(
                {
                    "step": step,
                    "pairs": cosines(
                        gram_matrix(run.matrix(H, step)),
                        marks,
                        repeats=repeats,
                        seed=seed,
                        groups=groups,
                    ),
                }
            )
            yield len(rows) / len(steps)
        return rows

    of = {
        name: [sorted(map(int, positives)), sorted(map(int, negatives))]
        for name, (positives, negatives) in ends.items()
    }
    parameters = {
        "ends": of,
        "steps": steps,
        "repeats": repeats,
        "seed": seed,
        "values": values_of(run, ends),
        **of_groups(groups),
    }
    return (yield from measured(run, COSINES, parameters, compute))
