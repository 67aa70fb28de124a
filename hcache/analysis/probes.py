"""Linear probes: how much of a label can be read off the activations at a site and step.

A number here is out of sample, and stands beside the same number for the same labels shuffled: a probe with
thousands of features and few samples can look good for no reason.

Features are standardised over all samples, without regard to labels. Where there are more of them than samples,
all is done in the span of the samples: from the n x n Gram matrix come each fold's principal scores, on which a
ridge or logistic probe is the probe on the features themselves (both penalties are blind to rotation). The Gram matrix
is a sum over blocks of features, so they need not fit into memory together. Where there are fewer features than samples
the same scores come from their d x d covariance.

References:
    Understanding intermediate layers using linear classifier probes (Alain, Bengio, 2016),
    https://arxiv.org/abs/1610.01644
    Designing and Interpreting Probes with Control Tasks (Hewitt, Liang, 2019), https://arxiv.org/abs/1909.03368
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold
from threadpoolctl import threadpool_limits

from ..errors import AnalysisError
from .blocks import MEMORY, Blocks, Rows

R2, AUC = "R²", "AUC"
PENALTIES = np.logspace(-3, 4, 8)
"""Ridge penalties, relative to the mean squared score of the training samples."""

SMALL = 256
"""Up to so many samples, the linear algebra of a probe is done on one thread."""

MOST_COMPONENTS = 64
"""Logistic probes see no more principal scores than this: the rest hold little variance and cost time."""

MOST_SAMPLES = 20_000
"""A Gram matrix of more takes over 3 GB, and each fold's principal scores hours."""

Split = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(training rows, test rows) -> the principal scores of either."""


@dataclass(frozen=True, kw_only=True)
class ProbeMap:
    """``scores[i, j]``: the probe at ``sites[i]``, step ``j``; ``shuffled``: the same with permuted labels.

    ``metric`` is R² for continuous labels (0: no better than the mean; may be below) and AUC for binary ones
    (0.5: chance).
    """

    sites: tuple[str, ...]
    metric: str
    scores: np.ndarray
    shuffled: np.ndarray
    samples: int
    folds: int


def is_binary(values: np.ndarray) -> bool:
    """Whether labels (n,) are a matter of two classes: near 0 or near 1, nearly all of them."""
    near = np.minimum(np.abs(values), np.abs(values - 1)) < 0.2
    return bool(near.mean() > 0.9 and (values > 0.5).any() and (values <= 0.5).any())


def check_labels(values: np.ndarray, folds: int) -> tuple[np.ndarray, str]:
    """The labels as a probe takes them and the metric they call for.

    Raises:
        AnalysisError: labels on which a probe is not defined, and why.
    """
    if not np.isfinite(values).all():
        missing = int((~np.isfinite(values)).sum())
        raise AnalysisError(f"{missing} of {len(values)} samples have no value for this label; choose another label")
    if len(values) < 2 * folds:
        raise AnalysisError(f"{folds}-fold probes need {2 * folds} samples or more, got {len(values)}")
    if is_binary(values):
        classes = (values > 0.5).astype(int)
        fewest = int(min(classes.sum(), len(classes) - classes.sum()))
        if fewest < max(3, folds):
            raise AnalysisError(
                f"the smaller class has {fewest} samples; {folds} folds need {max(3, folds)} or more in each"
            )
        return classes, AUC
    if np.ptp(values) == 0:
        raise AnalysisError("all samples have the same value for this label: there is nothing to predict")
    return values.astype(np.float64), R2


def probe_map(
    matrix: Callable[[str, int], np.ndarray | Rows],
    sites: Sequence[str],
    steps: Sequence[int],
    labels: np.ndarray,
    folds: int = 5,
    seed: int = 0,
    memory: int = MEMORY,
) -> Generator[float, None, ProbeMap]:
    """Probes every site at every step; yields the share done after each and returns the map.

    Args:
        matrix: (site, step) -> data (n, d), or what yields blocks of its rows.
        labels: (n,), continuous or binary.
        memory: In bytes, beyond which rows that come in blocks are not put together.
    """
    target, metric = check_labels(labels, folds)
    # Small matrices gain nothing from more threads, and lose much where another process wants the cores.
    threads = 1 if len(target) <= SMALL else None
    permuted = np.random.default_rng(seed).permutation(target)
    scores = np.full((len(sites), len(steps)), np.nan)
    shuffled = scores.copy()
    for i, site in enumerate(sites):
        for j, step in enumerate(steps):
            with threadpool_limits(threads):
                split = _split_of(matrix(site, step), memory)
                scores[i, j] = _cross_validate(split, target, metric, folds, seed)
                shuffled[i, j] = _cross_validate(split, permuted, metric, folds, seed)
            yield (i * len(steps) + j + 1) / (len(sites) * len(steps))
    return ProbeMap(
        sites=tuple(sites), metric=metric, scores=scores, shuffled=shuffled, samples=len(labels), folds=folds
    )


def _split_of(data: np.ndarray | Rows, memory: int) -> Split:
    """How to have the principal scores of a fold, by whichever of Gram matrix and covariance is smaller."""
    blocks = Blocks.of(data, memory, copies=3)
    if blocks.d < blocks.n and blocks.width >= blocks.d:
        features = np.concatenate(list(_standardised(blocks)), 1)
        return partial(principal_scores_of_features, features / np.float32(np.sqrt(features.shape[1])))
    return partial(principal_scores, _gram_of(blocks))


def gram_matrix(data: np.ndarray | Rows, block: int = 8192, memory: int = MEMORY) -> np.ndarray:
    """Z Zᵀ / d (n, n) float64 of data (n, d), every feature standardised; constant ones left out.

    Raises:
        AnalysisError: values that are not finite, no feature that varies, or too many samples for such a matrix.
    """
    return _gram_of(Blocks.of(data, memory, copies=3), block)


def _gram_of(blocks: Blocks, block: int = 8192) -> np.ndarray:
    if blocks.n > MOST_SAMPLES:
        raise AnalysisError(
            f"{blocks.n} samples of {blocks.d} numbers are too many to probe at once (at most {MOST_SAMPLES}, unless "
            "there are fewer numbers than samples and all fit into memory); extract a run that stores the site pooled"
        )
    gram, used = np.zeros((blocks.n, blocks.n)), 0
    for z in _standardised(blocks, block):
        gram += z @ z.T
        used += z.shape[1]
    return gram / used


def _standardised(blocks: Blocks, block: int = 8192) -> Iterator[np.ndarray]:
    """The features that vary, each with mean 0 and deviation 1, up to ``block`` at a time: (n, some) float32."""
    any_varies = False
    for start in blocks.starts:
        columns = blocks.columns(start)
        for at in range(0, columns.shape[1], block):
            part = columns[:, at : at + block]
            if not np.isfinite(part).all():
                raise AnalysisError(
                    "the activations hold values that are not finite (overflow?); probes are not defined on them"
                )
            centred = part - part.mean(0)
            deviation = np.sqrt(np.square(centred).mean(0))
            varies = deviation > 1e-6 * np.abs(part).max(0)  # less is what rounding leaves of equal numbers
            any_varies |= bool(varies.any())
            yield centred[:, varies] / deviation[varies]
    if not any_varies:
        raise AnalysisError("the activations are the same for all samples here: there is nothing to read off")


def cross_validate(gram: np.ndarray, target: np.ndarray, metric: str, folds: int, seed: int) -> float:
    """The out-of-fold score of a linear probe; its penalty is chosen inside each fold's training samples."""
    return _cross_validate(partial(principal_scores, gram), target, metric, folds, seed)


def _cross_validate(split: Split, target: np.ndarray, metric: str, folds: int, seed: int) -> float:
    splitter = (StratifiedKFold if metric == AUC else KFold)(folds, shuffle=True, random_state=seed)
    values = []
    for train, test in splitter.split(np.zeros((len(target), 1)), target):
        train_scores, test_scores = split(train, test)
        if metric == R2:
            predicted = _ridge(train_scores, target[train], test_scores)
            values.append((target[test], predicted))
        else:
            predicted = _logistic(train_scores[:, :MOST_COMPONENTS], target[train], test_scores[:, :MOST_COMPONENTS])
            values.append((target[test], predicted))
    truth, guess = (np.concatenate(parts) for parts in zip(*values, strict=True))
    if metric == R2:
        return float(r2_score(truth, guess))
    return float(np.mean([roc_auc_score(y, p) for y, p in values]))


def principal_scores(gram: np.ndarray, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal scores of training and test samples, centred on the training samples alone."""
    inner = gram[np.ix_(train, train)]
    cross = gram[np.ix_(test, train)]
    mean = inner.mean(0)
    cross = cross - cross.mean(1, keepdims=True) - mean + mean.mean()
    inner = inner - mean - mean[:, None] + mean.mean()
    values, vectors = np.linalg.eigh(inner)
    keep = values > 1e-9 * max(values[-1], 1e-30)
    values, vectors = values[keep][::-1], vectors[:, keep][:, ::-1]
    scale = np.sqrt(values)
    return vectors * scale, cross @ vectors / scale


def principal_scores_of_features(
    features: np.ndarray, train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same from the features (n, d) themselves, where there are fewer of them than samples."""
    mean = features[train].mean(0)
    inner, outer = (features[rows].astype(np.float64) - mean for rows in (train, test))
    values, vectors = np.linalg.eigh(inner.T @ inner)
    vectors = vectors[:, values > 1e-9 * max(values[-1], 1e-30)][:, ::-1]
    return inner @ vectors, outer @ vectors


def _ridge(train: np.ndarray, target: np.ndarray, test: np.ndarray) -> np.ndarray:
    unit = float(np.square(train).sum(1).mean())
    return RidgeCV(alphas=PENALTIES * unit).fit(train, target).predict(test)


def _logistic(train: np.ndarray, target: np.ndarray, test: np.ndarray) -> np.ndarray:
    unit = float(np.square(train).sum(1).mean())
    inner = StratifiedKFold(min(3, int(np.bincount(target).min())), shuffle=True, random_state=0)
    probe = LogisticRegressionCV(
        Cs=[0.01 / unit, 0.1 / unit, 1 / unit, 10 / unit],
        cv=inner,
        scoring="neg_log_loss",
        solver="newton-cholesky",
        use_legacy_attributes=False,
        l1_ratios=(0.0,),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe.fit(train, target).decision_function(test)
