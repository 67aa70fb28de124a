"""Cosines between directions that are differences of means, at one step, with intervals and a null.

A direction of a label is w' z: samples' activations z, standardised, weighted by w, which is 1 / p
for its p positives and -1 / q for its q negatives. All that cosines need is the Gram matrix of the
samples,

    cos(a, b) = w_a' G w_b / √(w_a' G w_a · w_b' G w_b).

The directions as they were fitted hold, besides what sets positives apart, the chance of their few
samples: it lengthens them, and so draws cosines towards 0, and where both took the same samples it
is shared, and draws them away from it. The estimate takes products of different samples only, which
hold none of that; its interval covers the cosine between the differences of the populations' means.
Where less than half of a direction's squared length is more than chance, there is no estimate: it
would be a ratio of two numbers near 0.

Two directions of thousands of coordinates have a small cosine if the coordinates are independent;
but h varies in few ways, and any two differences of means lie in those. So the null is of the same
kind: the direction of b's label with its values dealt out to samples anew. p is how often that has
a cosine, as fitted, to a as far from 0.

What two labels have in common in the samples (hair that is long when it is dark) their directions
have in common too: the labels' own correlation stands beside.

References:
    Discovering Interpretable Directions in the Semantic Latent Space of Diffusion Models (Haas,
    Huberman-Spiegelglas, Mulayoff, Graßhof, Brandt, Michaeli, 2023),
    https://arxiv.org/abs/2303.11073, for directions without others
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import AnalysisError
from .alignment import RELIABLE
from .bootstrap import REPEATS, bootstrap
from .estimate import LEVEL, Estimate
from .groups import same_group, shuffled_by_group
from .permutation import p_value

PERMUTATIONS = 499


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """The cosine of two directions.

    ``cosine`` is None if more than half of either direction is chance. ``fitted``: the cosine of
    the directions as they are. ``null``: how far from 0 it is by chance, in 95 % of cases. ``p``:
    the probability of such a distance by chance. ``labels``: the correlation of the two memberships
    over samples at an end of both labels; 0 if there are none.
    """

    first: str
    second: str
    cosine: Estimate | None
    fitted: float
    null: float
    p: float
    labels: float


def cosines(
    gram: np.ndarray,
    ends: dict[str, np.ndarray],
    *,
    repeats: int = REPEATS,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> tuple[Cosine, ...]:
    """Computes the cosines of all pairs of directions.

    Args:
        gram: (n, n) Gram matrix of the samples' standardised activations
            (:func:`~hcache.analysis.probes.gram_matrix`).
        ends: Name -> (n,): 1 for a positive, -1 for a negative, 0 for neither.
        repeats: The number of bootstrap draws over samples.
        seed: The seed of these and of the permutations.
        groups: (n,) the number of each sample's group of samples that belong together. Products are
            then of different groups, and draws and permutations use whole groups.

    Raises:
        AnalysisError: there are fewer than 2 directions, or one has no positives or no negatives.
    """
    if len(ends) < 2:
        raise AnalysisError(f"cosines need 2 or more directions, got {len(ends)}")
    for name, end in ends.items():
        if end.shape != (len(gram),) or min((end > 0).sum(), (end < 0).sum()) < 2:
            raise AnalysisError(
                f"the direction {name} takes 2 positives and 2 negatives or more among the samples"
            )
    names = list(ends)
    return tuple(
        _cosine(gram, (a, ends[a]), (b, ends[b]), repeats, seed, groups)
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    )


def _cosine(
    gram: np.ndarray,
    first: tuple[str, np.ndarray],
    second: tuple[str, np.ndarray],
    repeats: int,
    seed: int,
    groups: np.ndarray | None,
) -> Cosine:
    (a_name, a), (b_name, b) = first, second

    own = np.where(same_group(groups, len(gram)), gram, 0)

    def statistic(counts: np.ndarray) -> np.ndarray:
        return np.clip(_cosine_of(_weights(counts, a), _weights(counts, b), gram, own), -1, 1)

    found = None
    if min(_reliability(end, gram, own) for end in (a, b)) >= RELIABLE:
        with np.errstate(invalid="ignore", divide="ignore"):  # a draw without positives
            found = bootstrap(statistic, len(gram), repeats=repeats, seed=seed, clusters=groups)
    rng = np.random.default_rng(seed)
    if groups is None:
        dealt = rng.permuted(np.tile(b, (PERMUTATIONS, 1)), axis=1)
    else:
        dealt = np.stack([shuffled_by_group(b, groups, rng) for _ in range(PERMUTATIONS)])
    once = np.ones((PERMUTATIONS, len(gram)))
    fitted = float(_cosine_of(_weights(once[:1], a), _weights(once[:1], b), gram)[0])
    null = np.abs(_cosine_of(_weights(once[:1], a), _weights(once, dealt), gram))
    both = (a != 0) & (b != 0)
    varied = both.sum() > 2 and np.ptp(a[both]) > 0 and np.ptp(b[both]) > 0
    return Cosine(
        first=a_name,
        second=b_name,
        cosine=found,
        fitted=fitted,
        null=float(np.quantile(null, LEVEL)),
        p=p_value(abs(fitted), null),
        labels=float(np.corrcoef(a[both], b[both])[0, 1]) if varied else 0.0,
    )


def _reliability(end: np.ndarray, gram: np.ndarray, own: np.ndarray) -> float:
    """Returns the share of a direction's squared length that is not due to the chance of its
    samples.
    """
    (w,) = _weights(np.ones((1, len(gram))), end)
    length = w @ gram @ w
    return float((length - w @ own @ w) / length)


def _weights(counts: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Returns samples' weights (r, n) in the difference of means, for draws counts (r, n)."""
    ins, outs = counts * (end > 0), counts * (end < 0)
    return ins / ins.sum(1, keepdims=True) - outs / outs.sum(1, keepdims=True)


def _cosine_of(
    a: np.ndarray, b: np.ndarray, gram: np.ndarray, own: np.ndarray | None = None
) -> np.ndarray:
    """Returns (r,) cosines of weights (r, n), or (1, n) for all. ``own`` (n, n) marks products of
    samples that belong together, which are left out.
    """
    between = gram if own is None else gram - own
    ga, gb = a @ between, b @ between
    lengths = (ga * a).sum(1) * (gb * b).sum(1)
    return (ga * b).sum(1) / np.sqrt(np.where(lengths > 0, lengths, np.nan))
