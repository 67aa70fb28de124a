"""Ridge and logistic probes for many labels at once, each with its own penalty.

Leaving one sample out chooses the penalty. scikit-learn's ``RidgeCV(alpha_per_target=True)``
predicts the same, and took 12 to 190 times the processor time (51 to 410 samples, 20 to 120 labels,
one thread): it decomposes anew what the principal scores have diagonal already, and there is a fit
for every fold, site and step.

On the principal scores T = V √Λ of n training samples (n, r), centred, a ridge probe needs no
matrix but diagonal ones:

    ŷ = ȳ + T (Λ + α)⁻¹ Tᵀ (y - ȳ),      y_i - ŷ_i without i = (y_i - ŷ_i) / (1 - H_ii),

so that one eigendecomposition serves all penalties α and all labels, the shuffled ones of the
control as well.

A logistic probe is fitted on the leading scores by Newton's method, all labels in a batch, each
penalty from the last one's fit. Its steps come by conjugate gradients: with TᵀT diagonal, so is a
good preconditioner, and a step costs a few products with T for all labels together. The penalty is
chosen by approximate leave-one-out, one Newton step from the fit with all samples. Each label's
Hessian TᵀDT is linear in its D, and each sample's leverage tᵀ(TᵀDT + R)⁻¹t in the inverse; so those
of all labels are two matrix products with the table of all t_a t_b. Classes weigh the same,
whatever their numbers, so that 0 is the threshold of balanced accuracy.

References:
    Ridge Regression: Biased Estimation for Nonorthogonal Problems (Hoerl, Kennard, 1970),
        https://doi.org/10.1080/00401706.1970.10488634
    Numerical Optimization (Nocedal, Wright, 2006), chapter 7, for Newton's method by conjugate
        gradients
    A scalable estimate of the extra-sample prediction error via approximate leave-one-out (Rad,
        Maleki, 2018), https://arxiv.org/abs/1801.10243
"""

from __future__ import annotations

import numpy as np

PENALTIES = np.logspace(-3, 4, 8)
"""Ridge penalties, relative to the mean squared score of the training samples."""

LOGISTIC_PENALTIES = (100.0, 10.0, 1.0, 0.1)
"""Logistic penalties, on scores of mean squared length 1, against a sum of losses. They go from
strong to weak, and each fit starts from the last.
"""

MOST_COMPONENTS = 64
"""The largest number of principal scores of a logistic probe. The others contain little variance
and cost time.
"""

NEWTON_STEPS, CONJUGATE_STEPS, HALVINGS = 25, 25, 10
CLOSE = 1e-6
"""A fit stops at the Newton step that promises less than this share of the loss. The remaining
error is its square.
"""

INTERCEPT_PENALTY = 1e-6
"""The penalty of the intercept, which is nearly zero."""


def ridge(inner: np.ndarray, outer: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns predictions (n_test, k) by ridge probes.

    They are for ``targets`` (n, k). All penalties are tried at once.

    Args:
        inner: Principal scores of the training samples (n, r), centred.
        outer: Those of the test samples (n_test, r).
        targets: Of the training samples.
    """
    n, k = targets.shape
    mean = targets.mean(0)
    centred = targets - mean
    products = inner.T @ centred
    values = np.square(inner).sum(0)
    inverse = 1 / (values[:, None] + PENALTIES * values.sum() / n)  # (r, penalties)
    leverage = np.square(inner) @ inverse + 1 / n
    weights = inverse[:, :, None] * products[:, None, :]  # (r, penalties, k)
    fitted = (inner @ weights.reshape(len(values), -1)).reshape(n, -1, k)
    residual = (centred[:, None] - fitted) / np.maximum(1 - leverage, 1e-9)[:, :, None]
    best = np.square(residual).sum(0).argmin(0)
    return mean + outer @ weights[:, best, np.arange(k)]


def ridge_smoother(inner: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The matrix that takes labels to a ridge probe's fitted values.

    It is (n, n), of the penalty that leaving one out chooses for ``target`` (n,), and of principal
    scores ``inner`` (n, r), centred.
    """
    n = len(target)
    values, squares = np.square(inner).sum(0), np.square(inner)
    inverse = 1 / (values[:, None] + PENALTIES * values.sum() / n)  # (r, penalties)
    centred = target - target.mean()
    fitted = inner @ (inverse * (inner.T @ centred)[:, None])
    residual = (centred[:, None] - fitted) / np.maximum(1 - squares @ inverse - 1 / n, 1e-9)
    best = int(np.square(residual).sum(0).argmin())
    return (inner * inverse[:, best]) @ inner.T + 1 / n


def logistic(inner: np.ndarray, outer: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns log odds (n_test, k) by logistic probes.

    They are for 0/1 ``targets`` (n, k). The arguments are those of :func:`ridge`.
    """
    unit = np.sqrt(len(inner) / np.square(inner).sum())
    x, test = (with_ones(unit * scores[:, :MOST_COMPONENTS]) for scores in (inner, outer))
    y = targets.T.astype(np.float64)
    share = y.mean(1, keepdims=True)
    weights = 0.5 * np.where(y > 0.5, 1 / share, 1 / (1 - share))
    beta = np.zeros((len(y), x.shape[1]))
    best, chosen = np.full(len(y), np.inf), beta.copy()
    pairs = ColumnProducts(x)
    for penalty in LOGISTIC_PENALTIES:
        beta = fit_logistic(x, y, weights, penalty, beta)
        left_out = leave_one_out(x, y, weights, penalty, beta, pairs)
        loss = _losses(left_out, y, weights)
        better = loss < best
        best[better], chosen[better] = loss[better], beta[better]
    return test @ chosen.T


def fit_logistic(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, penalty: float, beta: np.ndarray
) -> np.ndarray:
    """Returns the coefficients (k, p) of logistic probes.

    They minimise the weighted log loss plus the penalty, separately for each label. If a step does
    not lower a label's loss, it is halved for that label until it does.

    Args:
        x: Scores (n, p), the last column ones.
        y: Labels (k, n) of 0 and 1.
        weights: Of the samples, for each label (k, n).
        penalty: Half of it times the squared length of the coefficients is added to the loss.
        beta: The start values.
    """
    ridge = _ridge(x, penalty)
    squares = np.square(x)

    def objective(b: np.ndarray) -> np.ndarray:
        return _losses(b @ x.T, y, weights) + 0.5 * np.square(b) @ ridge

    value = objective(beta)
    for _ in range(NEWTON_STEPS):
        p = _probability(beta @ x.T)
        gradient = (weights * (p - y)) @ x + ridge * beta
        curvature = weights * p * (1 - p)
        step = _solve(x, squares, curvature, ridge, gradient)
        promised = (gradient * step).sum(1)
        for _ in range(HALVINGS):
            after = objective(beta - step)
            worse = after > value + 1e-9 * np.abs(value)
            if not worse.any():
                break
            step[worse] /= 2
        else:
            step[worse] = 0
            after = np.where(worse, value, after)
        beta, value = beta - step, after
        if (promised <= CLOSE * np.abs(value)).all():
            break
    return beta


def leave_one_out(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    penalty: float,
    beta: np.ndarray,
    pairs: ColumnProducts,
) -> np.ndarray:
    """Approximates the leave-one-out log odds of every sample.

    They are (k, n).
    """
    odds = beta @ x.T
    p = _probability(odds)
    curvature = weights * p * (1 - p)
    leverage = pairs.leverage(curvature, _ridge(x, penalty))
    return odds + leverage * weights * (p - y) / np.maximum(1 - curvature * leverage, 1e-6)


class ColumnProducts:
    """The products of all pairs of columns of x (n, p).

    They are (n, p²) float32, which is exact enough for choosing a penalty.
    """

    def __init__(self, x: np.ndarray) -> None:
        narrow = x.astype(np.float32)
        self.products = (narrow[:, :, None] * narrow[:, None, :]).reshape(len(x), -1)

    def leverage(self, curvature: np.ndarray, ridge: np.ndarray) -> np.ndarray:
        """Returns the leverage of every sample (k, n).

        It is xᵀ (Xᵀ D X + R)⁻¹ x, for each row of ``curvature`` (k, n) as the diagonal of D.
        """
        p = len(ridge)
        hessian = (curvature.astype(np.float32) @ self.products).reshape(-1, p, p)
        hessian[:, np.arange(p), np.arange(p)] += ridge.astype(np.float32)
        return np.linalg.inv(hessian).reshape(-1, p * p) @ self.products.T


def _solve(
    x: np.ndarray,
    squares: np.ndarray,
    curvature: np.ndarray,
    ridge: np.ndarray,
    gradient: np.ndarray,
) -> np.ndarray:
    """Returns (Xᵀ D X + R)⁻¹ g (k, p) for each row of curvature D (k, n) and gradient g (k, p), by
    conjugate gradients.

    The Hessian's diagonal is the preconditioner. Smaller gradients are solved more exactly.
    """
    diagonal = curvature @ squares + ridge
    step, residual = np.zeros_like(gradient), gradient.copy()
    aligned = residual / diagonal
    direction = aligned.copy()
    length = (residual * aligned).sum(1, keepdims=True)
    enough = np.minimum(1e-2, length) * length
    for _ in range(CONJUGATE_STEPS):
        product = ((direction @ x.T) * curvature) @ x + ridge * direction
        along = (direction * product).sum(1, keepdims=True)
        rate = np.divide(length, along, out=np.zeros_like(length), where=along > 0)
        step += rate * direction
        residual -= rate * product
        if (np.square(rate) * along <= enough).all() and (residual**2 / diagonal).sum(
            1
        ).max() <= enough.max():
            break
        aligned = residual / diagonal
        before, length = length, (residual * aligned).sum(1, keepdims=True)
        direction = (
            aligned
            + np.divide(length, before, out=np.zeros_like(length), where=before > 0) * direction
        )
    return step


def _losses(odds: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the weighted log loss of each row (k,)."""
    return (weights * (np.logaddexp(0, odds) - y * odds)).sum(1)


def _probability(odds: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * odds))


def _ridge(x: np.ndarray, penalty: float) -> np.ndarray:
    return np.r_[np.full(x.shape[1] - 1, penalty), INTERCEPT_PENALTY]


def with_ones(scores: np.ndarray) -> np.ndarray:
    """Returns scores (n, r) with a column of ones beside them."""
    return np.concatenate([scores, np.ones((len(scores), 1))], 1)
