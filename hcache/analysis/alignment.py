"""Alignment of positives: how much of the average over selected samples is common to them.

A naive direction is the mean of h over positives minus the mean over random samples. It exists for
any positives. With g_i = h_i - μ_random, in units of σ, it is meaningful to the extent that the g_i
point in the same direction:

    alignment    a = mean over i ≠ j of ⟨g_i, g_j⟩ / mean over i of ‖g_i‖²
                   = between / (between + within)
    reliability  p a / (1 + (p - 1) a)    of the average over p positives

Alignment is the share of one positive's squared distance from the random samples' mean that all
positives have in common. Each sample differs on its own in thousands of coordinates of h, so
alignment is small even if the average is good. Reliability is the share of the average's own
squared length that other positives of the same kind would reproduce (Spearman, Brown). It grows
with p. Positives of two opposite kinds cancel: alignment is near 0 in the average and large in each
kind. All products are of different samples, so noise does not count as agreement.

The null is the same number of samples, drawn at random. p is the share of such draws that are at
least as far from the others as the positives. This is the kernel two-sample test with a linear
kernel.

**Scatter** of known classes (breeds, poses): the share of all variance that lies between their
means. It is 0 on average if classes are meaningless.

References:
    Intraclass correlations: Uses in assessing rater reliability (Shrout, Fleiss, 1979),
        https://doi.org/10.1037/0033-2909.86.2.420
    A Kernel Two-Sample Test (Gretton, Borgwardt, Rasch, Schölkopf, Smola, 2012),
        https://jmlr.org/papers/v13/gretton12a.html
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import AnalysisError
from .bootstrap import REPEATS, Statistic, bootstrap, bootstrap_many
from .estimate import LEVEL, Estimate
from .groups import same_group, shuffled_by_group
from .permutation import p_value
from .probes import gram_matrix

RELIABLE = 0.5
"""The reliability below which an average gets a warning, because most of it is the chance of its
own samples.
"""

PERMUTATIONS = 999

SAME = 1e-6
"""The distance from 1 that rounding leaves. An alignment nearer to 1 in all draws is of copies."""


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """The alignment of positives.

    ``null`` (m,): the alignment of equally many random samples. ``warning`` is empty if the average
    is reliable.
    """

    alignment: Estimate
    reliability: Estimate
    p: float
    null: np.ndarray
    positives: int
    warning: str


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """The scatter of classes.

    ``between``: the share of variance between the classes. ``null`` (m,): that of shuffled classes.
    ``p``: the probability that these give as much.
    """

    between: Estimate
    null: np.ndarray
    p: float
    classes: int


def alignment(
    data: np.ndarray,
    positive: np.ndarray,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> Alignment:
    """Measures how much of their difference a label's positives share.

    The difference is that from the other samples.

    Args:
        data: (n, d) activations of all samples, in any unit. Every coordinate is scaled to units of
            σ.
        positive: (n,) bool: the positives. The others serve as random samples.
        repeats: The number of bootstrap draws, over positives and over others.
        seed: The seed of these and of the permutations.
        groups: (n,) the number of each sample's group of samples that belong together. Products are
            then of different groups, and draws and permutations use whole groups.

    Raises:
        AnalysisError: there are fewer than 3 of either, or data are not finite or do not vary.
    """
    positive = np.asarray(positive)
    if positive.dtype != bool or positive.shape != (len(data),):
        raise AnalysisError(
            f"positives must be an array ({len(data)},) of bool, got {positive.shape}"
        )
    count = int(positive.sum())
    if min(count, len(data) - count) < 3:
        raise AnalysisError(
            f"alignment takes 3 positives or more and 3 others or more, got {count} and"
            f" {len(data) - count}"
        )
    return alignment_of_gram(gram_matrix(data), positive, repeats=repeats, seed=seed, groups=groups)


def alignment_of_gram(
    gram: np.ndarray,
    positive: np.ndarray,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> Alignment:
    """Computes :func:`alignment` from the Gram matrix (n, n).

    The matrix is that of standardised data.
    """
    n, count = len(gram), int(positive.sum())
    statistic = _alignment_statistic(gram, positive.astype(float), groups)
    strata = positive if groups is None else None

    def both(counts: np.ndarray) -> np.ndarray:
        a = statistic(counts)
        return np.stack([a, _reliability(a, count)], 1)

    with np.errstate(invalid="ignore", divide="ignore"):  # a draw with one positive only
        found = bootstrap_many(both, n, repeats=repeats, seed=seed, strata=strata, clusters=groups)
    rng, marks = np.random.default_rng(seed), positive.astype(float)
    if groups is None:
        drawn = rng.permuted(np.tile(marks, (PERMUTATIONS, 1)), axis=1)
    else:
        drawn = np.stack([shuffled_by_group(marks, groups, rng) for _ in range(PERMUTATIONS)])
    once = np.ones((1, n))
    null = np.concatenate([_alignment_statistic(gram, row, groups)(once) for row in drawn])
    p = p_value(found[0].value, null)
    agreed, reliable = _within_bounds(found[0], found[1], null, count)
    return Alignment(
        alignment=agreed,
        reliability=reliable,
        p=p,
        null=null,
        positives=count,
        warning=_warning(count, p, reliable),
    )


def _within_bounds(
    agreed: Estimate, reliable: Estimate, null: np.ndarray, count: int
) -> tuple[Estimate, Estimate]:
    """Returns alignment and reliability with intervals that hold at the ends of their range.

    Positives that are copies of one another agree in every draw, so the agreement of others is
    unknown. No true alignment is below 0. If nearly all draws are, the upper ends are those of as
    many random samples.
    """
    if agreed.value >= 1 - SAME and agreed.high - agreed.low <= SAME:
        why = f"these {count} positives are copies of one another: too few to say"
        return Estimate.undefined(why, agreed.n), Estimate.undefined(why, agreed.n)
    known = null[np.isfinite(null)]
    if agreed.value > 0 or not len(known):
        return agreed, reliable
    chance = float(np.quantile(known, (1 + LEVEL) / 2))
    above = float(_reliability(np.array([max(agreed.high, chance)]), count)[0])
    return (
        replace(agreed, high=max(agreed.high, chance)),
        replace(reliable, high=max(reliable.high, above)),
    )


def scatter(
    data: np.ndarray, classes: np.ndarray, *, repeats: int = REPEATS, seed: int = 0
) -> Scatter:
    """Computes the share of variance that lies between classes.

    Its inputs are data (n, d) and classes (n,). Every coordinate is scaled to units of σ.

    Raises:
        AnalysisError: there are fewer than 2 classes, or a class has fewer than 2 samples.
    """
    names, index = np.unique(classes, return_inverse=True)
    sizes = np.bincount(index)
    if len(index) != len(data) or len(names) < 2 or sizes.min() < 2:
        raise AnalysisError(
            f"scatter needs 2 or more classes with 2 or more samples in each, got {len(names)}"
            f" classes of {', '.join(map(str, sizes))} samples for {len(data)} samples of data"
        )
    gram = gram_matrix(data)
    member = np.eye(len(names))[index]
    between = bootstrap(
        _scatter_statistic(gram, member), len(gram), repeats=repeats, seed=seed, strata=index
    )
    rng, once = np.random.default_rng(seed), np.ones((1, len(gram)))
    null = np.concatenate(
        [
            _scatter_statistic(gram, member[rng.permutation(len(gram))])(once)
            for _ in range(PERMUTATIONS)
        ]
    )
    return Scatter(between=between, null=null, p=p_value(between.value, null), classes=len(names))


def _alignment_statistic(
    gram: np.ndarray, positive: np.ndarray, groups: np.ndarray | None = None
) -> Statistic:
    """Returns a of counts (r, n). Products are of different samples only, or of different groups if
    they are given.
    """
    own = np.diag(gram).copy()
    if groups is None:
        member = inside = None
    else:
        member = np.eye(int(groups.max()) + 1)[groups]
        inside = np.where(same_group(groups, len(gram)), gram, 0)

    def within(weights: np.ndarray, products: np.ndarray) -> np.ndarray:
        """Returns the mean product of different samples, or groups, for weights (r, n)."""
        if inside is None or member is None:
            left, squares = np.square(weights) @ own, np.square(weights).sum(1)
        else:
            left = ((weights @ inside) * weights).sum(1)
            squares = np.square(weights @ member).sum(1)
        return ((products * weights).sum(1) - left) / (weights.sum(1) ** 2 - squares)

    def statistic(counts: np.ndarray) -> np.ndarray:
        """Returns a of each draw: counts (r, n) -> (r,). It is not finite if a draw has one
        positive only.
        """
        ins, outs = counts * positive, counts * (1 - positive)
        into, out_of = ins @ gram, outs @ gram
        a, b = ins.sum(1), outs.sum(1)
        agreeing, others = within(ins, into), within(outs, out_of)
        crossed = (into * outs).sum(1) / (a * b)
        if inside is not None and member is not None:
            shared = ((ins @ member) * (outs @ member)).sum(1)
            kept = ((ins @ inside) * outs).sum(1)
            crossed = ((into * outs).sum(1) - kept) / (a * b - shared)
        return (agreeing + others - 2 * crossed) / (ins @ own / a + others - 2 * crossed)

    return statistic


def _reliability(a: np.ndarray, count: int) -> np.ndarray:
    a = np.clip(a, 0, 1)
    return count * a / (1 + (count - 1) * a)


def _scatter_statistic(gram: np.ndarray, member: np.ndarray) -> Statistic:
    """Returns between over total variance of counts (r, n), for member (n, classes). Products are
    of different samples only.
    """
    own = np.diag(gram).copy()

    def statistic(counts: np.ndarray) -> np.ndarray:
        """Returns the share of the variance between classes in each draw: counts (r, n) -> (r,)."""
        inside = counts[:, None, :] * member.T
        squares = np.square(inside)
        sizes, twice = inside.sum(2), squares.sum(2)
        products = inside @ gram @ inside.transpose(0, 2, 1)
        means = products / (sizes[:, :, None] * sizes[:, None, :])
        classes = np.arange(member.shape[1])
        means[:, classes, classes] = (products[:, classes, classes] - squares @ own) / (
            np.square(sizes) - twice
        )
        share = sizes / sizes.sum(1, keepdims=True)
        overall = np.einsum("rc,rcd,rd->r", share, means, share)
        between = (share * means[:, classes, classes]).sum(1) - overall
        return between / (counts @ own / counts.sum(1) - overall)

    return statistic


def _warning(count: int, p: float, reliability: Estimate) -> str:
    if p > 1 - LEVEL:
        return (
            f"the average over these {count} positives is no further from the others than the"
            f" average over as many random samples (p = {p:.2f}); a direction from it means little:"
            " choose positives that share more"
        )
    if reliability.value < RELIABLE:
        return (
            f"only {reliability.value:.0%} of the average over these {count} positives would be"
            " found again with others of the kind; take more positives, or such as are alike in"
            " the rest (one pose, one breed)"
        )
    return ""
