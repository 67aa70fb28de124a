"""Learning curves: the held-out score of a probe by the number of training samples."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import AnalysisError
from .bootstrap import REPEATS, Statistic, bootstrap_many
from .decoding import draws_of, fold_of
from .estimate import Estimate
from .groups import as_groups
from .linear_probes import logistic, ridge
from .probes import AUC, Space, check_labels
from .proportions import auc_interval, wider
from .scoring import score_statistic
from .threads import one_thread

FEWEST = 6
"""The smallest number of training samples. For classes there are 3 of each."""


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """A learning curve.

    ``scores[i]``: the held-out score of probes fitted on ``sizes[i]`` samples. ``controls[i]``: the
    mean score with shuffled labels.
    """

    metric: str
    sizes: tuple[int, ...]
    scores: tuple[Estimate, ...]
    controls: tuple[float, ...]

    @property
    def enough(self) -> int | None:
        """The smallest number of samples that is enough.

        Its score cannot be distinguished from that of the largest number. It is None if each size
        made a difference.
        """
        last = self.scores[-1]
        told = [
            size
            for size, score in zip(self.sizes, self.scores, strict=True)
            if score.high >= last.value
        ]
        return told[0] if told and told[0] < self.sizes[-1] else None


def most_samples(samples: int, folds: int) -> int:
    """Returns the number of training samples of the smallest fold."""
    return samples - -(-samples // folds)


def default_sizes(samples: int, folds: int = 5, count: int = 6) -> tuple[int, ...]:
    """Returns the sizes of a learning curve, each twice the last.

    There are at most a given number, up to the training samples of a fold.
    """
    most = most_samples(samples, folds)
    return tuple(sorted({max(FEWEST, round(most / 2**i)) for i in range(count) if most >= FEWEST}))


def learning_curve(
    space: Space,
    labels: np.ndarray,
    sizes: Sequence[int],
    *,
    kind: str | None = None,
    folds: int = 5,
    draws: int = 5,
    controls: int = 5,
    repeats: int = REPEATS,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> Generator[float, None, LearningCurve]:
    """Measures how the score grows with the number of training samples.

    It yields the share that is done after each size. At each size, ``draws`` subsets of every
    fold's training samples are fitted, and their scores are averaged. All sizes are tested on the
    same samples. For classes, a subset has both in the labels' proportion, with at least 3 of each.

    Args:
        space: The data.
        labels: (n,).
        sizes: The sizes in samples.
        kind: The kind, as in :func:`~hcache.analysis.probes.check_labels`.
        folds: The number of folds of the cross-validation.
        draws: The number of subsets at each size; one if all samples are used.
        controls: The number of fits of each subset with shuffled labels.
        repeats: The number of bootstrap draws.
        seed: The seed of folds, subsets, shuffling and draws.
        groups: (n,) the groups of samples that belong together, and stay in one fold.

    Raises:
        AnalysisError: no probe is defined for the labels, or a size is too large for the folds or
            too small for a probe.
    """
    target, metric = check_labels(labels, folds, kind)
    groups = as_groups(groups, len(target))
    fold = fold_of(target, metric, folds, seed, groups)
    most = (
        most_samples(len(target), folds)
        if groups is None
        else len(target) - int(np.bincount(fold).max())
    )
    sizes = tuple(sorted({int(size) if groups is None else min(int(size), most) for size in sizes}))
    if not sizes or sizes[0] < FEWEST or sizes[-1] > most:
        raise AnalysisError(
            f"learning curves take sizes from {FEWEST} to {most}, the training samples of a fold;"
            f" got {sizes}"
        )
    drawn = draws_of(target, metric, groups, repeats, seed)
    scores, nulls = [], []
    for done, size in enumerate(sizes, 1):
        rng, times = np.random.default_rng([seed, size]), draws if size < most else 1
        predicted, shuffled = _drawn(space, target, fold, metric, size, controls, rng, times)
        score, null = _scored(target, predicted, shuffled, fold, metric, drawn, groups)
        scores.append(score)
        nulls.append(null)
        yield done / len(sizes)
    return LearningCurve(metric=metric, sizes=sizes, scores=tuple(scores), controls=tuple(nulls))


def _drawn(
    space: Space,
    target: np.ndarray,
    fold: np.ndarray,
    metric: str,
    size: int,
    controls: int,
    rng: np.random.Generator,
    times: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns predictions (n, times) from a number of subsets, and (n, times * controls) for
    shuffled labels.
    """
    with one_thread():
        parts = [
            _predictions(space, target, fold, metric, size, controls, rng) for _ in range(times)
        ]
    return (
        np.concatenate([part[:, :1] for part in parts], 1),
        np.concatenate([part[:, 1:] for part in parts], 1),
    )


def _predictions(
    space: Space,
    target: np.ndarray,
    fold: np.ndarray,
    metric: str,
    size: int,
    controls: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Returns held-out predictions (n, 1 + controls) by probes fitted on a number of samples: for
    the labels, and for shuffled labels.
    """
    fit = logistic if metric == AUC else ridge
    predicted = np.empty((len(target), 1 + controls))
    for number in np.unique(fold):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if size < len(train):
            train = _some(train, target, metric, size, rng)
        shuffled = [rng.permutation(target[train]) for _ in range(controls)]
        predicted[test] = fit(*space.scores(train, test), np.stack([target[train], *shuffled], 1))
    return predicted


def _scored(
    target: np.ndarray,
    predicted: np.ndarray,
    shuffled: np.ndarray,
    fold: np.ndarray,
    metric: str,
    drawn: np.ndarray,
    groups: np.ndarray | None,
) -> tuple[Estimate, float]:
    """Returns the mean score of predictions (n, draws) with its interval, and the score for
    shuffled labels.
    """

    def statistic_of(guesses: np.ndarray) -> Statistic:
        return score_statistic(
            np.repeat(target[:, None], guesses.shape[1], 1), guesses, fold, metric
        )

    scores = statistic_of(predicted)
    (score,) = bootstrap_many(
        lambda counts: scores(counts).mean(1, keepdims=True),
        len(target),
        drawn=drawn,
        clusters=groups,
    )
    if metric == AUC:
        classes = [target == 1, target != 1]
        counts = [
            len(np.unique(groups[each])) if groups is not None else int(each.sum())
            for each in classes
        ]
        score = wider(score, auc_interval(score.value, *counts))
    null = (
        statistic_of(shuffled)(np.ones((1, len(target)))).mean()
        if shuffled.shape[1]
        else float("nan")
    )
    return score, float(null)


def _some(
    train: np.ndarray, target: np.ndarray, metric: str, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws some of the training samples. For classes they keep their proportion, with at least 3
    of each.
    """
    if metric != AUC:
        return rng.choice(train, size, replace=False)
    ones, zeros = train[target[train] == 1], train[target[train] == 0]
    least = min(3, len(ones), len(zeros))
    count = int(np.clip(round(size * len(ones) / len(train)), least, size - least))
    count = int(np.clip(count, size - len(zeros), len(ones)))
    return np.concatenate(
        [rng.choice(ones, count, replace=False), rng.choice(zeros, size - count, replace=False)]
    )
