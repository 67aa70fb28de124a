"""The scores of held-out predictions, as statistics of the samples: whatever can be resampled has
its interval.

R² of continuous labels; of classes the AUC, of pairs within a fold only, since the log odds of
different folds are on different scales, and balanced accuracy. The AUC of a draw is a sum over
pairs, of the product of their counts where the pair stands in the right order: for all draws at
once, a matrix product.
"""

from __future__ import annotations

import numpy as np

from .bootstrap import Statistic
from .probes import AUC


def score_statistic(
    targets: np.ndarray, predicted: np.ndarray, fold: np.ndarray, metric: str
) -> Statistic:
    """Returns R² or AUC as a statistic of the samples.

    It is for predictions (n, k) of ``targets`` (n, k): counts (r, n) -> (r, k).
    """
    return auc(targets, predicted, fold) if metric == AUC else r2(targets, predicted)


def r2(targets: np.ndarray, predicted: np.ndarray) -> Statistic:
    """Returns R²: one minus the share of variance that is left.

    It is for predictions (n, k): counts (r, n) -> (r, k).
    """
    centred = targets - targets.mean(0)
    squares, errors = np.square(centred), np.square(targets - predicted)

    def statistic(counts: np.ndarray) -> np.ndarray:
        n = counts.sum(1, keepdims=True)
        total = counts @ squares - np.square(counts @ centred) / n
        return 1 - np.divide(
            counts @ errors, total, out=np.full(total.shape, np.nan), where=total > 0
        )

    return statistic


def auc(targets: np.ndarray, predicted: np.ndarray, fold: np.ndarray) -> Statistic:
    """Returns the area under the curve, within folds.

    It is the share of pairs of the two classes, within one fold, that are in the right order. Ties
    count half.

    Args:
        targets: Classes 0 and 1 (n, k).
        predicted: Their predictions (n, k).
        fold: The fold of every sample (n,).
    """
    columns = range(targets.shape[1])
    orders = [
        [_orders(targets[:, k], predicted[:, k], fold == number) for number in np.unique(fold)]
        for k in columns
    ]

    def statistic(counts: np.ndarray) -> np.ndarray:
        """Returns the share of pairs in the right order: counts (r, n) -> (r, k). It is NaN if a
        draw lacks a class.
        """
        often = np.ascontiguousarray(
            counts.T, np.float32
        )  # whole and half numbers: exact up to 2²³
        right, pairs = np.zeros((2, len(orders), len(counts)))
        for k, folds in enumerate(orders):
            for ones, zeros, order in folds:
                above, below = often[ones], often[zeros]
                right[k] += ((order @ below) * above).sum(0)
                pairs[k] += above.sum(0) * below.sum(0)
        return np.divide(right, pairs, out=np.full(right.shape, np.nan), where=pairs > 0).T

    return statistic


def _orders(
    target: np.ndarray, predicted: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Returns the samples of either class in a fold, and for each pair 1 in the right order, 0 in
    the wrong order, 0.5 for a tie.
    """
    ones, zeros = np.flatnonzero(inside & (target == 1)), np.flatnonzero(inside & (target != 1))
    difference = predicted[ones][:, None] - predicted[zeros]
    return ones, zeros, (0.5 * (np.sign(difference) + 1)).astype(np.float32)


def accuracy(target: np.ndarray, log_odds: np.ndarray) -> Statistic:
    """Returns balanced accuracy: the mean over both classes.

    It averages the shares of correct predictions: counts (r, n) -> (r, 1).
    """
    ones = (target == 1).astype(float)
    right = ((log_odds > 0) == (target == 1)).astype(float)

    def statistic(counts: np.ndarray) -> np.ndarray:
        shares = (counts @ (right * each) / (counts @ each) for each in (ones, 1 - ones))
        return 0.5 * sum(shares)[:, None]

    return statistic
