"""How much of a site's variance its first principal components make up, beside shuffled features.

It needs no labels, no reader and no model.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from ..analysis.bootstrap import bootstrap, ratio_of
from ..analysis.estimate import Estimate
from ..analysis.pca import PCA, principal_components
from ..cache.reading import Run
from ..errors import AnalysisError
from .alike import mapped_steps
from .groups import groups_of
from .kinds import COMPONENTS
from .noise import middle_step
from .stored import Measuring, measured

KEPT = 20
"""The largest number of components that are counted."""

USUAL = 3
"""The number of shuffles at the steps that are not tested."""


def make_components(run: Run, site: str, first: int, shuffles: int) -> Measuring:
    """Measures the variance that a site's first components explain.

    It does so at every step.

    The result has lists by step: ``share`` of the ``first`` components with interval, ``null``
    (the same of shuffled features), ``explained`` and ``baseline`` of each component, and
    ``above``: how many components explain more than their baseline, before the first that does not.
    ``p`` is the rank of the share among the shuffles at the step of equal signal and noise.

    Args:
        run: The run.
        site: A stored site.
        first: The number of components.
        shuffles: The number of shuffles at that step. Other steps take 3.

    Raises:
        AnalysisError: there are too few samples, or they do not vary at any step.
    """

    def compute() -> Generator[float, None, dict[str, Any]]:
        steps = mapped_steps(run)
        middle, found = middle_step(run, steps), []
        for step in steps:
            try:
                pca = _components(run, site, step, first, 0, USUAL)
            except AnalysisError:  # samples that start from one picture do not vary at first
                found.append(None)
            else:
                found.append(_at_step(run, site, step, first, pca))
            yield (len(found)) / (len(steps) + shuffles)
        if not any(found):
            raise AnalysisError(f"the samples of {run.name} do not vary at {site}")
        row = steps.index(middle)
        p = None
        if found[row] is not None:
            drawn = []
            for seed in range(1, shuffles + 1):
                null = _components(run, site, middle, first, seed, 1).baseline
                drawn.append(float(null[:first].sum()))
                yield (len(steps) + seed) / (len(steps) + shuffles)
            reached = sum(each >= found[row]["share"].value for each in drawn)
            found[row]["null"], p = float(np.mean(drawn)), (1 + reached) / (1 + shuffles)
        names = ("share", "null", "explained", "baseline", "above")
        lists = {name: [each and each[name] for each in found] for name in names}
        return {"steps": steps, "middle": middle, "p": p, **lists}

    given = {"site": site, "first": first, "shuffles": shuffles}
    return (yield from measured(run, COMPONENTS, given, compute))


def _components(run: Run, site: str, step: int, first: int, seed: int, repeats: int) -> PCA:
    k = max(first, KEPT)
    return principal_components(lambda: run.blocks(site, step), k, repeats, seed)


def _at_step(run: Run, site: str, step: int, first: int, pca: PCA) -> dict[str, Any]:
    within = np.square(pca.scores[:, :first], dtype=np.float64).sum(1)
    above = pca.explained > pca.baseline
    return {
        "share": _share(run, within, _lengths(run, site, step)),
        "null": float(pca.baseline[:first].sum()),
        "explained": pca.explained.tolist(),
        "baseline": pca.baseline.tolist(),
        "above": len(above) if above.all() else int(np.argmin(above)),
    }


def _share(run: Run, within: np.ndarray, whole: np.ndarray) -> Estimate:
    """Returns the share with its interval over samples, with the components as they are."""
    return bootstrap(ratio_of(within, whole), len(within), clusters=groups_of(run))


def _lengths(run: Run, site: str, step: int) -> np.ndarray:
    """Returns each sample's squared distance from the mean, (n,)."""
    total = np.zeros(run.width(site))
    for block in run.blocks(site, step):
        total += block.sum(0, dtype=np.float64)
    mean = total / len(run)
    parts = [np.square(block - mean).sum(1) for block in run.blocks(site, step)]
    return np.concatenate(parts)
