"""What goes into a linear probe: labels that one is defined on, and the samples' principal scores.

Features are standardised over all samples, without regard to labels. Where there are more of them
than samples, all is done in the span of the samples: from the n x n Gram matrix come each fold's
principal scores, on which a ridge or logistic probe is the probe on the features themselves (both
penalties are blind to rotation). The Gram matrix is a sum over blocks of features, so they need not
fit into memory together. Where there are far fewer features than samples the same scores come from
their d x d covariance. Beyond :data:`~hcache.analysis.streaming.EXACT` samples the features
themselves are taken that way if they are few enough, else their projection on random directions
(:mod:`.projected`), which the result states.

References:
    Understanding intermediate layers using linear classifier probes (Alain, Bengio, 2016),
    https://arxiv.org/abs/1610.01644
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..errors import AnalysisError
from .blocks import MEMORY, Blocks, Rows, check_paired
from .projected import standardised_rows
from .streaming import EXACT

R2, AUC = "R²", "AUC"

RIDGE, LOGISTIC = "ridge", "logistic"
KINDS = (RIDGE, LOGISTIC)

Scores = tuple[np.ndarray, np.ndarray]
"""Principal scores of training samples (n, r), centred on them, largest first, and of test samples
(m, r).
"""


NEAR, EITHER = 0.2, 0.05
"""The distance to 0 or 1 within which a value counts as that, and the smallest share of values at
each end.
"""


def is_binary(values: np.ndarray) -> bool:
    """Returns whether labels (n,) are of two classes.

    They are if they have two distinct values, or if they are probabilities of 0 and 1.
    Probabilities lie within 0 to 1, nine of ten of them are near 0 or 1, and there are some at
    either end. Values that are merely small, such as an error of 0 to 0.15 with a few large ones,
    are continuous.
    """
    distinct = np.unique(values)
    if len(distinct) <= 2:
        return len(distinct) == 2
    if distinct[0] < -NEAR or distinct[-1] > 1 + NEAR:
        return False
    low, high = (values < NEAR).mean(), (values > 1 - NEAR).mean()
    return bool(low + high > 0.9 and min(low, high) >= EITHER)


def upper_class(values: np.ndarray) -> np.ndarray:
    """Returns which samples (n,) bool are in the upper class.

    It is the class of the larger of two values, or of the probabilities near 1.
    """
    distinct = np.unique(values)
    return values > (distinct.mean() if len(distinct) == 2 else 0.5)


def check_labels(values: np.ndarray, folds: int, kind: str | None = None) -> tuple[np.ndarray, str]:
    """Returns the labels in the form for a probe, and their metric.

    Args:
        values: (n,), continuous or two classes near 0 and 1.
        folds: The number of folds of the cross-validation.
        kind: ``ridge`` predicts the values, also those of two classes. ``logistic`` predicts
            classes; for continuous labels, whether a value is above the median. None chooses by the
            labels.

    Raises:
        AnalysisError: a probe is not defined for the labels. The message says why.
    """
    if kind not in (None, *KINDS):
        raise AnalysisError(f"the kind of a probe must be {RIDGE} or {LOGISTIC}, got {kind!r}")
    if folds < 2:
        raise AnalysisError(f"cross-validation takes 2 folds or more, got {folds}")
    if not np.isfinite(values).all():
        missing = int((~np.isfinite(values)).sum())
        raise AnalysisError(
            f"{missing} of {len(values)} samples have no value for this label; choose another"
            " label, or read the other samples: python -m hcache read RUN --reader clicks:LABEL"
        )
    if len(values) < 2 * folds:
        raise AnalysisError(
            f"{folds}-fold probes need {2 * folds} samples or more, got {len(values)}"
        )
    if np.ptp(values) == 0:
        raise AnalysisError(
            "all samples have the same value for this label: there is nothing to predict"
        )
    binary = is_binary(values)
    if kind == RIDGE or (kind is None and not binary):
        return values.astype(np.float64), R2
    classes = (upper_class(values) if binary else values > np.median(values)).astype(int)
    fewest = int(min(classes.sum(), len(classes) - classes.sum()))
    if fewest < max(3, folds):
        raise AnalysisError(
            f"the smaller class has {fewest} samples; {folds} folds need {max(3, folds)} or more in"
            " each"
        )
    return classes, AUC


@dataclass(frozen=True, kw_only=True, eq=False)
class Space:
    """The n samples of a data set, prepared for linear probes.

    They are inner products (n, n), or features (n, d) if there are fewer. ``projected``: the number
    of random projections of the features; 0 means all the features. The principal scores of the
    last folds are kept, because labels with the same folds share them.
    """

    gram: np.ndarray | None = None
    features: np.ndarray | None = None
    projected: int = 0
    _kept: dict[bytes, list[tuple[np.ndarray, np.ndarray, Scores]]] = field(
        default_factory=dict, repr=False
    )

    @classmethod
    def of(cls, data: np.ndarray | Rows, memory: int = MEMORY) -> Space:
        """Returns the space of data (n, d) or of its blocks.

        Args:
            data: The data, or blocks of its rows.
            memory: The largest size in bytes up to which blocks of rows are joined.

        Raises:
            AnalysisError: the errors of :func:`gram_matrix`.
        """
        blocks = Blocks.of(data, memory, copies=3)
        if blocks.d <= min(blocks.n // 2, EXACT) and blocks.width >= blocks.d:
            features = np.concatenate(list(_standardised(blocks)), 1).astype(np.float64)
            return cls(features=features / np.sqrt(features.shape[1]))
        if blocks.n > EXACT:
            features, projected = standardised_rows(blocks.rows, (blocks.n, blocks.d))
            return cls(features=features, projected=projected)
        return cls(gram=_gram_of(blocks))

    def __len__(self) -> int:
        return len(self._kind[0])

    def scores(self, train: np.ndarray, test: np.ndarray) -> Scores:
        """Returns the principal scores of training and test samples.

        They are centred on the training samples only.
        """
        found, scores = self._kind
        return scores(found, train, test)

    @cached_property
    def whole(self) -> np.ndarray:
        """The principal scores (n, r) of all samples, centred on all."""
        return self.scores(np.arange(len(self)), np.arange(0))[0]

    @property
    def _kind(self) -> tuple[np.ndarray, Callable[[np.ndarray, np.ndarray, np.ndarray], Scores]]:
        """What there is of the two, and how scores come of it."""
        if self.gram is not None:
            return self.gram, principal_scores
        if self.features is not None:
            return self.features, principal_scores_of_features
        raise ValueError("a space has a Gram matrix or features")

    def folds(self, fold: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, Scores]]:
        """Yields (training rows, test rows, their scores) for each fold. The folds are given by
        ``fold`` (n,).
        """
        key = fold.tobytes()
        if key not in self._kept:
            self._kept.clear()
            splits = [
                (np.flatnonzero(fold != number), np.flatnonzero(fold == number))
                for number in np.unique(fold)
            ]
            self._kept[key] = [(train, test, self.scores(train, test)) for train, test in splits]
        return self._kept[key]


def gram_matrix(data: np.ndarray | Rows, block: int = 8192, memory: int = MEMORY) -> np.ndarray:
    """Returns Z Zᵀ / d (n, n) float64 of data (n, d).

    Every feature is standardised. Constant features are left out.

    Raises:
        AnalysisError: values are not finite, no feature varies, or there are too many samples for
            such a matrix.
    """
    blocks = Blocks.of(data, memory, copies=3)
    check_paired(blocks.n)
    return _gram_of(blocks, block)


def _gram_of(blocks: Blocks, block: int = 8192) -> np.ndarray:
    gram, used = np.zeros((blocks.n, blocks.n)), 0
    for z in _standardised(blocks, block):
        gram += z @ z.T
        used += z.shape[1]
    return gram / used


def _standardised(blocks: Blocks, block: int = 8192) -> Iterator[np.ndarray]:
    """Yields the features that vary, each with mean 0 and deviation 1, up to ``block`` at a time:
    (n, some) float32.
    """
    any_varies = False
    for start in blocks.starts:
        columns = blocks.columns(start)
        for at in range(0, columns.shape[1], block):
            part = columns[:, at : at + block]
            if not np.isfinite(part).all():
                raise AnalysisError(
                    "the activations hold values that are not finite (overflow?); probes are not"
                    " defined on them"
                )
            centred = part - part.mean(0)
            deviation = np.sqrt(np.square(centred).mean(0))
            varies = deviation > 1e-6 * np.abs(part).max(
                0
            )  # less than the rounding error of equal numbers
            any_varies |= bool(varies.any())
            yield centred[:, varies] / deviation[varies]
    if not any_varies:
        raise AnalysisError(
            "the activations are the same for all samples here: there is nothing to read"
        )


def principal_scores(gram: np.ndarray, train: np.ndarray, test: np.ndarray) -> Scores:
    """Returns principal scores of training and test samples.

    They are centred on the training samples only.
    """
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
) -> Scores:
    """Returns principal scores from the features (n, d) themselves.

    It is for data with fewer features than samples.
    """
    mean = features[train].mean(0)
    inner, outer = (features[rows].astype(np.float64) - mean for rows in (train, test))
    values, vectors = np.linalg.eigh(inner.T @ inner)
    vectors = vectors[:, values > 1e-9 * max(values[-1], 1e-30)][:, ::-1]
    return inner @ vectors, outer @ vectors
