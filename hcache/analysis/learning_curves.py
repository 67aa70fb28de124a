"""How many labelled samples are enough: the held-out score of a probe by how many samples it was
fitted on.
"""

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
"""Samples that a probe can be fitted on: of classes, 3 of each."""


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """``scores[i]``: the held-out score of probes fitted on ``sizes[i]`` samples.

    ``controls[i]``: on their labels shuffled, in the mean.
    """

    metric: str
    sizes: tuple[int, ...]
    scores: tuple[Estimate, ...]
    controls: tuple[float, ...]

    @property
    def enough(self) -> int | None:
        """The fewest samples that score as well as the most.

        Their scores cannot be told apart. None if each size made a difference.
        """
        last = self.scores[-1]
        told = [
            size
            for size, score in zip(self.sizes, self.scores, strict=True)
            if score.high >= last.value
        ]
        return told[0] if told and told[0] < self.sizes[-1] else None


def most_samples(samples: int, folds: int) -> int:
    """The training samples of a fold, of the smallest if they differ."""
    return samples - -(-samples // folds)


def default_sizes(samples: int, folds: int = 5, count: int = 6) -> tuple[int, ...]:
    """The sizes of a learning curve, each twice the last.

    There are at most so many, up to the training samples of a fold.
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
    """How the score grows with the samples a probe is fitted on.

    Yields the share done after each size. At each size, ``draws`` subsets of every fold's training
    samples are fitted and their scores averaged; all sizes are tested on the same samples. Of
    classes, a subset has both as the labels have them, 3 of each at least.

    Args:
        space: The data.
        labels: (n,).
        sizes: In samples.
        kind: As :func:`~hcache.analysis.probes.check_labels` takes it.
        folds: Of the cross-validation.
        draws: Subsets at each size; one where all samples are taken.
        controls: Fits of each subset with its labels shuffled.
        repeats: Draws of the bootstrap.
        seed: Of folds, subsets, shuffling and draws.
        groups: (n,) which samples belong together, and so in one fold.

    Raises:
        AnalysisError: labels that no probe is defined on; a size that the folds do not have, or too
            small for a probe.
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
    """Predictions (n, times) from that many subsets, and (n, times * controls) of shuffled
    labels.
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
    """Held-out predictions (n, 1 + controls) by probes of so many samples: of the labels, and of
    these shuffled.
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
    """The mean score of predictions (n, draws) with its interval, and that of what shuffled
    labels predict.
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
    """So many of the training samples; of classes, in their proportion and 3 of each at least."""
    if metric != AUC:
        return rng.choice(train, size, replace=False)
    ones, zeros = train[target[train] == 1], train[target[train] == 0]
    least = min(3, len(ones), len(zeros))
    count = int(np.clip(round(size * len(ones) / len(train)), least, size - least))
    count = int(np.clip(count, size - len(zeros), len(ones)))
    return np.concatenate(
        [rng.choice(ones, count, replace=False), rng.choice(zeros, size - count, replace=False)]
    )
