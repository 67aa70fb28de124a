"""A direction in h-space, in a unit that means the same on every model.

The unit: a direction is scaled so that the root mean square of Δh/σ over all steps, channels and places is 1, with
σ the standard deviation of h over samples at that step, channel and place. A strength multiplies that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..cache.reading import Run
from ..errors import AnalysisError, NotStoredError
from ..specs import FULL


@dataclass(frozen=True, kw_only=True)
class Direction:
    """``delta``: Δh of strength 1; ``sigma``: σ. Both (step, c, h, w) float32. ``made_by``: method and selection."""

    delta: np.ndarray
    sigma: np.ndarray
    made_by: Mapping[str, Any] = field(default_factory=dict)

    @property
    def profile(self) -> np.ndarray:
        """The root mean square of Δh/σ at each step (step,): when in denoising the direction is long."""
        return np.sqrt(np.square(_in_sigmas(self.delta, self.sigma)).mean((1, 2, 3)))

    def cosine(self, other: Direction) -> float:
        """The cosine between two directions, in units of σ over all steps."""
        a, b = _in_sigmas(self.delta, self.sigma).ravel(), _in_sigmas(other.delta, self.sigma).ravel()
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def in_units(delta: np.ndarray, sigma: np.ndarray, made_by: Mapping[str, Any]) -> Direction:
    """Any Δh (step, c, h, w) as a direction of unit length.

    Raises:
        AnalysisError: it is zero everywhere, or not finite.
    """
    length = float(np.sqrt(np.square(_in_sigmas(delta, sigma).astype(np.float64)).mean()))
    if not np.isfinite(length) or length == 0:
        raise AnalysisError("this direction has no length: the two groups have the same mean h; choose other samples")
    return Direction(delta=(delta / length).astype(np.float32), sigma=sigma.astype(np.float32), made_by=dict(made_by))


def spread(run: Run) -> np.ndarray:
    """σ of h over the samples of a run: (step, c, h, w) float32."""
    if len(run) < 2:
        raise AnalysisError(f"the spread of h needs 2 samples or more; run {run.name} has {len(run)}")
    check_full(run)
    return np.stack([run.matrix("h", step).std(0).reshape(run.anatomy.h) for step in range(run.spec.steps)])


def check_full(run: Run) -> None:
    """Makes sure that a run holds h in full; a direction has a Δh at every place."""
    if run.policy("h") != FULL:
        raise NotStoredError(f"run {run.name} does not store h in full; extract again with --store h=full")


def random_direction(sigma: np.ndarray, seed: int) -> Direction:
    """The null: normal noise in units of σ, independent at every step, channel and place, of unit length."""
    noise = np.random.default_rng(seed).standard_normal(sigma.shape).astype(np.float32)
    return in_units(noise * sigma, sigma, {"method": "random", "seed": seed})


def _in_sigmas(delta: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Δh/σ; zero where h does not vary."""
    return np.divide(delta, sigma, out=np.zeros_like(delta, np.float32), where=sigma > 0)
