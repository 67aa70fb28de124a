"""Decodability: how much of a label a linear probe reads off activations, with an interval, a null and a p value.

All numbers are of held-out samples: every sample is predicted by a probe that was fitted, and whose penalty was chosen,
without its fold. Scores are R² for continuous labels; for classes the AUC, of pairs within a fold only, since the
log odds of different folds are on different scales, and balanced accuracy beside it.

**Control and selectivity.** The same is done with labels shuffled, ``controls`` times: what a probe of this size
makes of nothing. Selectivity is the score less the control's mean. Labels are shuffled within folds, which leaves
every fold its classes; where labels have nothing to do with the data, the true order is one of these like any other, so
that the rank of its score is an exact p value, 1 / (1 + controls) at best.

**Interval.** Bootstrap over held-out predictions. It says how far the score of probes of this training size would vary
with the samples that they are tested on, not with those that they are trained on.

References:
    Understanding intermediate layers using linear classifier probes (Alain, Bengio, 2016),
    https://arxiv.org/abs/1610.01644
    Designing and Interpreting Probes with Control Tasks (Hewitt, Liang, 2019), https://arxiv.org/abs/1909.03368
    Permutation Tests for Studying Classifier Performance (Ojala, Garriga, 2010),
    https://www.jmlr.org/papers/v11/ojala10a.html
    Cross-validation: what does it estimate and how well does it do it? (Bates, Hastie, Tibshirani, 2021),
    https://arxiv.org/abs/2104.00673
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold
from threadpoolctl import threadpool_limits

from ..errors import AnalysisError
from .bootstrap import REPEATS, Statistic, bootstrap, bootstrap_many
from .estimate import Estimate
from .linear_probes import logistic, ridge
from .permutation import p_value
from .probes import AUC, SMALL, check_labels, gram_matrix

CONTROLS = 19
"""Shuffled labels: as few as let p reach 0.05."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """What a probe reads off: ``score`` of ``metric`` (R² or AUC), ``accuracy`` balanced, of classes only.

    ``control``: the mean score of shuffled labels, ``selectivity``: the score less that. ``predicted`` (n,): every
    sample's held-out prediction (log odds for classes) of ``target`` (n,) and ``fold`` (n,) the fold it was in.
    """

    metric: str
    score: Estimate
    accuracy: Estimate | None
    control: float
    selectivity: Estimate
    p: float
    controls: int
    target: np.ndarray = field(repr=False)
    predicted: np.ndarray = field(repr=False)
    fold: np.ndarray = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """``scores[i]``: the held-out score of probes fitted on ``sizes[i]`` samples."""

    metric: str
    sizes: tuple[int, ...]
    scores: tuple[Estimate, ...]

    @property
    def enough(self) -> int | None:
        """The fewest samples whose score cannot be told from that of the most; None if each size told on."""
        last = self.scores[-1]
        told = [size for size, score in zip(self.sizes, self.scores, strict=True) if score.high >= last.value]
        return told[0] if told and told[0] < self.sizes[-1] else None


def decode(
    data: np.ndarray,
    labels: np.ndarray,
    *,
    folds: int = 5,
    controls: int = CONTROLS,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Decoding:
    """Probes data (n, d) for labels (n,), continuous or of two classes near 0 and 1.

    Raises:
        AnalysisError: before anything is computed: labels that are missing, constant, too few, or of one class; data
            that are not finite, or the same for all samples.
    """
    check_labels(labels, folds)
    return decode_gram(gram_matrix(data), labels, folds=folds, controls=controls, repeats=repeats, seed=seed)


def decode_gram(
    gram: np.ndarray,
    labels: np.ndarray,
    *,
    folds: int = 5,
    controls: int = CONTROLS,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Decoding:
    """As :func:`decode`, from the Gram matrix (n, n) of standardised data: the same serves any number of labels."""
    target, metric = check_labels(labels, folds)
    if len(gram) != len(target):
        raise AnalysisError(f"{len(gram)} samples of data came with {len(target)} labels; give as many of both")
    fold = fold_of(target, metric, folds, seed)
    rng = np.random.default_rng(seed)
    targets = np.stack([target, *(shuffled_within(target, fold, rng) for _ in range(controls))], 1)
    with threadpool_limits(1 if len(target) <= SMALL else None):
        predicted = held_out(gram, targets, fold, metric)
        statistic = score_statistic(targets, predicted, fold, metric)
        scores = statistic(np.ones((1, len(target))))[0]
        control = float(scores[1:].mean()) if controls else float("nan")

        def both(counts: np.ndarray) -> np.ndarray:
            found = statistic(counts)
            return np.stack([found[:, 0], found[:, 0] - (found[:, 1:].mean(1) if controls else 0)], 1)

        strata = target if metric == AUC else None
        score, selectivity = bootstrap_many(both, len(target), repeats=repeats, seed=seed, strata=strata)
        accuracy = balanced_accuracy(target, predicted[:, 0], repeats, seed) if metric == AUC else None
    return Decoding(
        metric=metric,
        score=score,
        accuracy=accuracy,
        control=control,
        selectivity=selectivity,
        p=p_value(float(scores[0]), scores[1:]),
        controls=controls,
        target=target,
        predicted=predicted[:, 0],
        fold=fold,
    )


def decode_map(
    matrix: Callable[[str, int], np.ndarray],
    sites: Sequence[str],
    steps: Sequence[int],
    labels: np.ndarray,
    **options: int,
) -> Generator[float, None, dict[tuple[str, int], Decoding]]:
    """:func:`decode` of ``matrix(site, step)`` (n, d) at every site and step; yields the share done after each."""
    check_labels(labels, options.get("folds", 5))
    found: dict[tuple[str, int], Decoding] = {}
    for site in sites:
        for step in steps:
            found[site, step] = decode(matrix(site, step), labels, **options)
            yield len(found) / (len(sites) * len(steps))
    return found


def difference(a: Decoding, b: Decoding, repeats: int = REPEATS, seed: int = 0) -> Estimate:
    """How much better ``a`` reads the same label of the same samples than ``b``: h than x_t, say. Paired.

    Raises:
        AnalysisError: they are not of the same labels and folds.
    """
    if a.metric != b.metric or not (np.array_equal(a.target, b.target) and np.array_equal(a.fold, b.fold)):
        raise AnalysisError("two probes compare on the same labels, folds and seed; decode both with the same")
    statistic = score_statistic(np.stack([a.target] * 2, 1), np.stack([a.predicted, b.predicted], 1), a.fold, a.metric)

    def paired(counts: np.ndarray) -> np.ndarray:
        return statistic(counts) @ np.array([1.0, -1.0])

    strata = a.target if a.metric == AUC else None
    return bootstrap(paired, len(a.target), repeats=repeats, seed=seed, strata=strata)


def learning_curve(
    data: np.ndarray,
    labels: np.ndarray,
    sizes: Sequence[int],
    *,
    folds: int = 5,
    draws: int = 5,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Generator[float, None, LearningCurve]:
    """How the score grows with the samples a probe is fitted on; yields the share done after each size.

    At each size, ``draws`` subsets of every fold's training samples are fitted and their scores averaged; all sizes are
    tested on the same samples. Of classes, a subset has both as the labels have them, 3 of each at least.

    Raises:
        AnalysisError: as :func:`decode`; a size that the folds do not have, or too small for a probe.
    """
    target, metric = check_labels(labels, folds)
    sizes = tuple(sorted({int(size) for size in sizes}))
    most = len(target) - -(-len(target) // folds)
    if not sizes or sizes[0] < 6 or sizes[-1] > most:
        raise AnalysisError(f"learning curves take sizes from 6 to {most}, the training samples of a fold; got {sizes}")
    gram = gram_matrix(data)
    fold = fold_of(target, metric, folds, seed)
    scores = []
    for done, size in enumerate(sizes, 1):
        rng = np.random.default_rng([seed, size])
        with threadpool_limits(1 if len(target) <= SMALL else None):
            predicted = [held_out(gram, target[:, None], fold, metric, (size, rng))[:, 0] for _ in range(draws)]
        statistic = score_statistic(np.stack([target] * draws, 1), np.stack(predicted, 1), fold, metric)
        strata = target if metric == AUC else None
        scores.append(
            bootstrap(
                lambda counts, statistic=statistic: statistic(counts).mean(1),
                len(target),
                repeats=repeats,
                seed=seed,
                strata=strata,
            )
        )
        yield done / len(sizes)
    return LearningCurve(metric=metric, sizes=sizes, scores=tuple(scores))


def fold_of(target: np.ndarray, metric: str, folds: int, seed: int) -> np.ndarray:
    """The fold of every sample (n,), of classes with as many of each in every fold."""
    splitter = (StratifiedKFold if metric == AUC else KFold)(folds, shuffle=True, random_state=seed)
    fold = np.empty(len(target), int)
    for number, (_, test) in enumerate(splitter.split(np.zeros((len(target), 1)), target)):
        fold[test] = number
    return fold


def shuffled_within(target: np.ndarray, fold: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The labels (n,) in another order, each in its own fold."""
    result = target.copy()
    for number in np.unique(fold):
        inside = np.flatnonzero(fold == number)
        result[inside] = rng.permutation(target[inside])
    return result


def held_out(
    gram: np.ndarray,
    targets: np.ndarray,
    fold: np.ndarray,
    metric: str,
    subset: tuple[int, np.random.Generator] | None = None,
) -> np.ndarray:
    """Every sample's prediction (n, k) of ``targets`` (n, k) by probes fitted without its fold.

    ``subset``: fit on so many of the training samples only, drawn by that generator.
    """
    fit = logistic if metric == AUC else ridge
    predicted = np.empty(targets.shape)
    for number in np.unique(fold):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if subset is not None:
            train = _some(train, targets[:, 0], metric, *subset)
        predicted[test] = fit(gram, targets, train, test)
    return predicted


def _some(train: np.ndarray, target: np.ndarray, metric: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """So many of the training samples; of classes, in their proportion and 3 of each at least."""
    if metric != AUC:
        return rng.choice(train, size, replace=False)
    ones, zeros = train[target[train] == 1], train[target[train] == 0]
    least = min(3, len(ones), len(zeros))
    count = int(np.clip(round(size * len(ones) / len(train)), least, size - least))
    count = int(np.clip(count, size - len(zeros), len(ones)))
    return np.concatenate([rng.choice(ones, count, replace=False), rng.choice(zeros, size - count, replace=False)])


def score_statistic(targets: np.ndarray, predicted: np.ndarray, fold: np.ndarray, metric: str) -> Statistic:
    """R² or AUC of predictions (n, k) of ``targets`` (n, k), as a statistic of the samples: counts (r, n) -> (r, k)."""
    if metric == AUC:
        return lambda counts: np.stack(
            [within_fold_auc(targets[:, k], predicted[:, k], fold, counts) for k in range(targets.shape[1])], 1
        )
    centred = targets - targets.mean(0)
    squares, errors = np.square(centred), np.square(targets - predicted)

    def r2(counts: np.ndarray) -> np.ndarray:
        n = counts.sum(1, keepdims=True)
        total = counts @ squares - np.square(counts @ centred) / n
        return 1 - np.divide(counts @ errors, total, out=np.full(total.shape, np.nan), where=total > 0)

    return r2


def within_fold_auc(target: np.ndarray, predicted: np.ndarray, fold: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The share (r,) of pairs of the two classes, of one fold, that stand in the right order; ties count half."""
    right, pairs = np.zeros(len(counts)), np.zeros(len(counts))
    for number in np.unique(fold):
        inside = np.flatnonzero(fold == number)
        inside = inside[np.argsort(predicted[inside], kind="stable")]
        ones = counts[:, inside] * (target[inside] == 1)
        zeros = counts[:, inside] - ones
        starts = np.flatnonzero(np.r_[True, np.diff(predicted[inside]) > 0])
        if len(starts) < len(inside):
            ones, zeros = np.add.reduceat(ones, starts, axis=1), np.add.reduceat(zeros, starts, axis=1)
        below = np.cumsum(zeros, 1) - 0.5 * zeros
        right += (ones * below).sum(1)
        pairs += ones.sum(1) * zeros.sum(1)
    return np.divide(right, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)


def balanced_accuracy(target: np.ndarray, log_odds: np.ndarray, repeats: int = REPEATS, seed: int = 0) -> Estimate:
    """The mean over the two classes of the share told right, with its interval."""
    right = ((log_odds > 0) == (target == 1)).astype(float)
    ones = (target == 1).astype(float)

    def statistic(counts: np.ndarray) -> np.ndarray:
        return 0.5 * (
            (counts @ (right * ones)) / (counts @ ones) + counts @ (right * (1 - ones)) / (counts @ (1 - ones))
        )

    return bootstrap(statistic, len(target), repeats=repeats, seed=seed, strata=target)
