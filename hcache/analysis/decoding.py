"""Decodability: how well a linear probe reads a label from activations.

The score comes with an interval, a null and a p value. All numbers are for held-out samples: every
sample is predicted by a probe whose fit and penalty do not use its fold. The score is R² for
continuous labels. For classes it is the AUC, with balanced accuracy as a second number.

**Control and selectivity.** The same is done with shuffled labels, ``controls`` times. This gives
the score of a probe of this size if there is nothing to read. Selectivity is the score minus the
mean of the controls. Labels are shuffled within folds, so every fold keeps its classes. If labels
and data are unrelated, the true order is one of these orders like any other. The rank of its score
is therefore an exact p value, at least 1 / (1 + controls).

**Interval.** The interval of R² is by nested cross-validation (:mod:`.nested`). It says how far the
score may be from what probes of this training size reach on average, with other samples for fitting
and testing. Beyond :data:`~hcache.analysis.streaming.EXACT` samples, and for classes, it is a
bootstrap over held-out predictions. The bootstrap leaves out the variation from the training
samples. For classes the interval is the wider of two: the bootstrap's, and one that does not shrink
to zero width if all predictions are right (:mod:`.proportions`).

**Groups.** Samples that belong together (:mod:`.groups`) are in one fold. Their labels are shuffled
together, and they are drawn together. If no groups are given, bit-identical rows of the data belong
together.

**Time.** Most of the time goes to one eigendecomposition of the data per fold. Labels, shuffled
labels and penalties share it. Folds, shuffled orders and draws are the same for all data, and are
made once (:class:`Probing`). The scores of the shuffled orders are kept, so that all sites and
steps can be one family (:func:`~hcache.analysis.permutation.family_p`).

References:
    Understanding intermediate layers using linear classifier probes (Alain, Bengio, 2016),
        https://arxiv.org/abs/1610.01644
    Designing and Interpreting Probes with Control Tasks (Hewitt, Liang, 2019),
        https://arxiv.org/abs/1909.03368
    Permutation Tests for Studying Classifier Performance (Ojala, Garriga, 2010),
        https://www.jmlr.org/papers/v11/ojala10a.html
    Cross-validation: what does it estimate and how well does it do it? (Bates, Hastie, Tibshirani,
        2021), https://arxiv.org/abs/2104.00673
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from ..errors import AnalysisError
from .bootstrap import REPEATS, bootstrap, bootstrap_many, draw_counts
from .estimate import Estimate
from .groups import as_groups, duplicates, group_folds, shuffled_by_group
from .linear_probes import logistic, ridge
from .nested import r2_interval
from .permutation import p_value
from .probes import AUC, R2, Space, check_labels
from .proportions import auc_interval, balanced_interval, wider
from .scoring import accuracy, score_statistic
from .streaming import EXACT
from .threads import one_thread

CONTROLS = {R2: 99, AUC: 19}
"""The number of shuffled labels by metric. Ridge reuses its factorisation for them. 19 are the
fewest with which p can reach 0.05.
"""

MOST_TRIES = 100
"""The number of random orders of groups that are tried to find one with both classes in all
training sets.
"""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """The result of a probe.

    ``score`` is of ``metric`` (R² or AUC). ``accuracy`` is balanced accuracy, for classes only.
    ``control``: the mean score of shuffled labels. ``selectivity``: the score minus the control.
    ``predicted`` (n,): every sample's held-out prediction (log odds for classes) of ``target``
    (n,). ``fold`` (n,): the fold of the sample. ``drawn`` (controls,): the score of each shuffled
    order. ``groups`` (n,): the samples that belong together, if any do. ``projected``: the number
    of random projections of the features that the probe was fitted on; 0 means all features.
    ``nested``: whether the interval of the score is by nested cross-validation.
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
    drawn: np.ndarray = field(repr=False)
    groups: np.ndarray | None = field(default=None, repr=False)
    projected: int = 0
    nested: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Probing:
    """A label that can be read from any data.

    It contains everything that does not depend on the data. ``targets`` (n, 1 + controls): the
    label in the form for a probe, then its shuffled orders. ``drawn`` (repeats, n): the bootstrap
    draws. ``groups`` (n,): the samples that belong together; None if every sample is its own group.
    """

    metric: str
    fold: np.ndarray
    targets: np.ndarray
    drawn: np.ndarray
    groups: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        labels: np.ndarray,
        *,
        kind: str | None = None,
        folds: int = 5,
        controls: int | None = None,
        repeats: int = REPEATS,
        seed: int = 0,
        groups: np.ndarray | None = None,
    ) -> Probing:
        """Prepares a label (n,) for probes.

        Args:
            labels: Continuous values, or two classes near 0 and 1.
            kind: ``ridge`` or ``logistic``; None chooses by the labels. See
                :func:`~hcache.analysis.probes.check_labels`.
            folds: The number of folds of the cross-validation.
            controls: The number of shuffled orders. None means ``CONTROLS`` of the metric.
            repeats: The number of bootstrap draws.
            seed: The seed of folds, shuffling and draws.
            groups: (n,) any values that distinguish the groups of samples.

        Raises:
            AnalysisError: labels are missing, constant, too few, or of one class, or there are too
                few groups.
        """
        target, metric = check_labels(labels, folds, kind)
        controls = CONTROLS[metric] if controls is None else controls
        groups = as_groups(groups, len(target))
        fold = fold_of(target, metric, folds, seed, groups)
        rng = np.random.default_rng(seed)
        shuffled = (_shuffled(target, metric, fold, groups, rng) for _ in range(controls))
        targets = np.stack([target, *shuffled], 1)
        return cls(
            metric=metric,
            fold=fold,
            targets=targets,
            drawn=draws_of(target, metric, groups, repeats, seed),
            groups=groups,
        )

    def decode(self, space: Space, nested: bool = True) -> Decoding:
        """Reads the label from data.

        ``nested``: whether the interval of R² is by nested cross-validation instead of a bootstrap.
        """
        n, controls = len(self.targets), self.targets.shape[1] - 1
        if len(space) != n:
            raise AnalysisError(
                f"{len(space)} samples of data came with {n} labels; give the same number of both"
            )
        predicted, target = (
            held_out(space, self.targets, self.fold, self.metric),
            self.targets[:, 0],
        )
        statistic = score_statistic(self.targets, predicted, self.fold, self.metric)
        scores = statistic(np.ones((1, n)))[0]

        def both(counts: np.ndarray) -> np.ndarray:
            found = statistic(counts)
            return np.stack(
                [found[:, 0], found[:, 0] - (_mean_of_known(found[:, 1:]) if controls else 0)], 1
            )

        score, selectivity = bootstrap_many(both, n, drawn=self.drawn, clusters=self.groups)
        enough = len(np.unique(self.fold)) > 2  # nested folds leave two out, and fit on the rest
        by_folds = nested and self.metric == R2 and n <= EXACT and enough
        right, control = (
            None,
            float(_mean_of_known(scores[None, 1:])[0]) if controls else float("nan"),
        )
        if self.metric == AUC:
            (right,) = bootstrap_many(
                accuracy(target, predicted[:, 0]), n, drawn=self.drawn, clusters=self.groups
            )
            score, right = self._of_classes(score, right, predicted[:, 0] > 0)
        elif by_folds:
            score = self._of_values(score, space, predicted[:, 0])
        if controls:
            selectivity = wider(selectivity, (score.low - control, score.high - control))
        return Decoding(
            metric=self.metric,
            score=score,
            accuracy=right,
            control=control,
            selectivity=selectivity,
            p=p_value(float(scores[0]), scores[1:]),
            controls=controls,
            target=target,
            predicted=predicted[:, 0],
            fold=self.fold,
            drawn=scores[1:],
            groups=self.groups,
            projected=space.projected,
            nested=by_folds,
        )

    def _of_values(self, score: Estimate, space: Space, predicted: np.ndarray) -> Estimate:
        """Computes R² with the interval of nested cross-validation."""
        folds = len(np.unique(self.fold))
        low, high = r2_interval(
            space, self.targets[:, 0], predicted, folds=folds, groups=self.groups, level=score.level
        )
        return replace(score, low=low, high=high)

    def _of_classes(
        self, score: Estimate, right: Estimate, positive: np.ndarray
    ) -> tuple[Estimate, Estimate]:
        """Computes AUC and balanced accuracy with intervals that do not shrink to zero width if all
        predictions are right.
        """
        ones = self.targets[:, 0] == 1
        shares = float(positive[ones].mean()), float((~positive[~ones]).mean())
        counts = [
            len(np.unique(self.groups[each])) if self.groups is not None else int(each.sum())
            for each in (ones, ~ones)
        ]
        return wider(score, auc_interval(score.value, *counts)), wider(
            right, balanced_interval(*shares, *counts)
        )


def decode(
    data: np.ndarray, labels: np.ndarray, *, groups: np.ndarray | None = None, **options: Any
) -> Decoding:
    """Probes data (n, d) for labels (n,).

    ``options`` are those of :meth:`Probing.of`. Without ``groups``, bit-identical rows of the data
    belong together.

    Raises:
        AnalysisError: labels are missing, constant, too few, or of one class, or data are not
            finite or the same for all samples. This is raised before anything is computed.
    """
    if groups is None and len(data) == len(labels):
        groups = duplicates(data)
    probing = Probing.of(labels, groups=groups, **options)
    with one_thread():
        return probing.decode(Space.of(data))


def difference(a: Decoding, b: Decoding, repeats: int = REPEATS, seed: int = 0) -> Estimate:
    """Computes how much better ``a`` reads a label than ``b``.

    For example, ``a`` is h and ``b`` is x_t. Both are of the same samples, and paired.

    Raises:
        AnalysisError: they have different labels or folds.
    """
    if a.metric != b.metric or not (
        np.array_equal(a.target, b.target) and np.array_equal(a.fold, b.fold)
    ):
        raise AnalysisError(
            "two probes can be compared only with the same labels, folds and seed; decode both"
            " with the same"
        )
    statistic = score_statistic(
        np.stack([a.target] * 2, 1), np.stack([a.predicted, b.predicted], 1), a.fold, a.metric
    )

    def paired(counts: np.ndarray) -> np.ndarray:
        return statistic(counts) @ np.array([1.0, -1.0])

    strata = a.target if a.metric == AUC and a.groups is None else None
    return bootstrap(
        paired, len(a.target), repeats=repeats, seed=seed, strata=strata, clusters=a.groups
    )


def fold_of(
    target: np.ndarray, metric: str, folds: int, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Returns the fold of every sample (n,).

    Every fold has equally many of each class. With groups, the labels are ignored.

    Raises:
        AnalysisError: there are fewer groups than folds, or a training set would lack a class.
    """
    if groups is not None:
        fold = group_folds(groups, folds, seed)
        if metric == AUC and not _trainable(target, fold):
            raise AnalysisError(
                "one of the two classes occurs in too few groups of samples that belong together:"
                " in some fold no training sample has it, so a probe cannot be fitted"
            )
        return fold
    splitter = (StratifiedKFold if metric == AUC else KFold)(folds, shuffle=True, random_state=seed)
    fold = np.empty(len(target), int)
    for number, (_, test) in enumerate(splitter.split(np.zeros((len(target), 1)), target)):
        fold[test] = number
    return fold


def shuffled_within(target: np.ndarray, fold: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the labels (n,) shuffled within each fold."""
    result = target.copy()
    for number in np.unique(fold):
        inside = np.flatnonzero(fold == number)
        result[inside] = rng.permutation(target[inside])
    return result


def _shuffled(
    target: np.ndarray,
    metric: str,
    fold: np.ndarray,
    groups: np.ndarray | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Returns the labels shuffled within folds, or as groups."""
    if groups is None:
        return shuffled_within(target, fold, rng)
    for _ in range(MOST_TRIES):
        order = shuffled_by_group(target, groups, rng)
        if metric != AUC or _trainable(order, fold):
            return order
    raise AnalysisError(
        "the classes are in too few groups of samples that belong together to be shuffled among"
        " them"
    )


def _mean_of_known(scores: np.ndarray) -> np.ndarray:
    """Returns the mean of each row (r, k) over its defined values, or NaN if there are none."""
    known = np.isfinite(scores)
    count = known.sum(1)
    return np.divide(
        np.where(known, scores, 0).sum(1), count, out=np.full(len(scores), np.nan), where=count > 0
    )


def _trainable(target: np.ndarray, fold: np.ndarray) -> bool:
    """Returns whether the training samples of every fold contain both classes."""
    return all(0 < target[fold != number].mean() < 1 for number in np.unique(fold))


def draws_of(
    target: np.ndarray, metric: str, groups: np.ndarray | None, repeats: int, seed: int
) -> np.ndarray:
    """Returns the bootstrap draws (repeats, n).

    Groups or samples are drawn, with equally many of each class.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        return draw_counts(len(target), repeats, rng, target if metric == AUC else None).astype(
            np.uint8
        )
    return draw_counts(int(groups.max()) + 1, repeats, rng)[:, groups].astype(np.uint8)


def held_out(space: Space, targets: np.ndarray, fold: np.ndarray, metric: str) -> np.ndarray:
    """Returns every sample's prediction by probes fitted without its fold.

    Predictions are (n, k), of ``targets`` (n, k).
    """
    fit = logistic if metric == AUC else ridge
    predicted = np.empty(targets.shape)
    for train, test, (inner, outer) in space.folds(fold):
        predicted[test] = fit(inner, outer, targets[train])
    return predicted
