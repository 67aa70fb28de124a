"""Many differences of means at once, at three lengths, where random positives are the null.

A direction to positives is a difference of two means of h. What such a difference does by chance is
what it does for two sets of samples chosen at random. With z = h / σ, every difference is a row of
weights times z, so that one pass over h makes them all.

Each difference is measured at three lengths:

- **equal**: of unit length, as any direction is;
- **own**: as long as the difference of the two means is;
- **rest**: without its part along the first principal components of z at each step, and then of
  unit length. Random differences lie mostly along these components, since h varies most there.

References:
    Discovering Interpretable Directions in the Semantic Latent Space of Diffusion Models (Haas,
    Huberman-Spiegelglas, Mulayoff, Graßhof, Brandt, Michaeli, 2023),
    https://arxiv.org/abs/2303.11073, for differences of means and components of h
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from ..analysis.projections import leading
from ..cache.reading import Run
from ..errors import AnalysisError
from .direction import ROUNDING, check_full, in_sigmas

EQUAL, OWN, REST = "equal", "own", "rest"
LENGTHS = (EQUAL, OWN, REST)

Sets = tuple[Sequence[int], Sequence[int]]
"""Two sets of sample numbers."""


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Differences between the means of pairs of sample sets.

    ``delta``: Δh (m, c, h, w) float32 at one step, at strength 1, by length. ``lengths`` (m,): the
    own length of each difference, as a root mean square in σ over all steps. ``share`` (m,): the
    share of the squared length along the first components.
    """

    delta: dict[str, np.ndarray]
    lengths: np.ndarray
    share: np.ndarray


def differences(
    run: Run, sets: Sequence[Sets], step: int, components: int
) -> Generator[float, None, Differences]:
    """Computes differences of means of pairs of sets, at one step.

    It yields the share of steps that are done.

    Args:
        run: A run that stores h in full.
        sets: Pairs of sample numbers; the second mean is subtracted from the first.
        step: The step of the returned Δh. The unit is over all steps.
        components: The number of principal components that are projected out at each step.

    Raises:
        AnalysisError: two sets have the same mean, or nothing is left without the components.
    """
    check_full(run)
    weights = _weights(run, sets)
    squares, left, kept = np.zeros(len(sets)), np.zeros(len(sets)), {}
    for t in range(run.spec.steps):
        h = run.matrix("h", t)
        sigma = h.std(0)
        z = in_sigmas(h - h.mean(0), np.broadcast_to(sigma, h.shape))
        whole = weights @ z
        rest = _without_components(whole, z, components)
        squares += np.square(whole, dtype=np.float64).mean(1) / run.spec.steps
        left += np.square(rest, dtype=np.float64).mean(1) / run.spec.steps
        if t == step:
            kept = {OWN: whole * sigma, REST: rest * sigma}
        yield (t + 1) / run.spec.steps
    lengths, short = np.sqrt(squares), np.sqrt(left)
    if not (lengths > ROUNDING).all():
        raise AnalysisError("two sets have the same mean h: there is no direction between them")
    if not (short > ROUNDING).all():
        raise AnalysisError(
            f"without the first {components} principal components nothing is left of a direction;"
            " use fewer"
        )
    kept[EQUAL] = kept[OWN] / lengths[:, None]
    kept[REST] = kept[REST] / short[:, None]
    return Differences(
        delta={
            name: each.reshape(-1, *run.anatomy.shape("h")).astype(np.float32)
            for name, each in kept.items()
        },
        lengths=lengths,
        share=1 - left / squares,
    )


def _weights(run: Run, sets: Sequence[Sets]) -> np.ndarray:
    """Returns the weight of each sample in each difference: (m, n) float32."""
    weights = np.zeros((len(sets), len(run)), np.float32)
    for row, pair in zip(weights, sets, strict=True):
        for chosen, sign in zip(pair, (1, -1), strict=True):
            if not len(chosen):
                raise AnalysisError("a mean is of 1 sample or more, got none")
            row[[run.position(int(sample)) for sample in chosen]] += sign / len(chosen)
    return weights


def _without_components(delta: np.ndarray, z: np.ndarray, count: int) -> np.ndarray:
    """Removes from rows (m, d) their part along the first principal components of z (n, d)."""
    if not count:
        return delta
    values, vectors = leading((z @ z.T).astype(np.float64), min(count, len(z) - 1))
    axes = vectors.T[values > 1e-9 * values[0]] @ z
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return delta - (delta @ axes.T) @ axes
