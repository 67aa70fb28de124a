"""Ridge and logistic probes for many labels at once, each with the penalty that leaving one sample out chooses.

With K = Z Zᵀ the Gram matrix of the n training samples, centred, K = V Λ Vᵀ, a ridge probe never meets the d features:

    ŷ = ȳ + V Λ (Λ + α)⁻¹ Vᵀ (y - ȳ),      y_i - ŷ_i without i = (y_i - ŷ_i) / (1 - H_ii),

so that one eigendecomposition serves all penalties α and all labels, the shuffled ones of the control as well. A
logistic probe is fitted by Newton's method on the leading principal scores V √Λ, all labels in a batch; its penalty is
chosen by approximate leave-one-out, one Newton step from the fit with all samples. Its classes weigh the same, whatever
their numbers, so that 0 is the threshold of balanced accuracy.

References:
    Ridge Regression: Biased Estimation for Nonorthogonal Problems (Hoerl, Kennard, 1970),
    https://doi.org/10.1080/00401706.1970.10488634
    A scalable estimate of the extra-sample prediction error via approximate leave-one-out (Rad, Maleki, 2018),
    https://arxiv.org/abs/1801.10243
"""

from __future__ import annotations

import numpy as np

PENALTIES = np.logspace(-3, 4, 8)
"""Ridge: relative to the mean squared score of the training samples."""

LOGISTIC_PENALTIES = (100.0, 10.0, 1.0, 0.1)
"""Logistic: on scores of mean squared length 1, against a sum of losses; from strong to weak, each from the last."""

MOST_COMPONENTS = 64
"""Logistic probes see no more principal scores than this: the rest hold little variance and cost time."""

NEWTON_STEPS = 12


def principal_axes(gram: np.ndarray, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(V, λ, test samples in V) of the training samples' Gram matrix, centred on them, largest λ first.

    The ridge's test predictions are ȳ + test (Λ + α)⁻¹ Vᵀ (y - ȳ); test / √λ are the test samples' scores.
    """
    inner, cross = gram[np.ix_(train, train)], gram[np.ix_(test, train)]
    mean = inner.mean(0)
    cross = cross - cross.mean(1, keepdims=True) - mean + mean.mean()
    inner = inner - mean - mean[:, None] + mean.mean()
    values, vectors = np.linalg.eigh(inner)
    keep = values > 1e-9 * max(values[-1], 1e-30)
    values, vectors = values[keep][::-1], vectors[:, keep][:, ::-1]
    return vectors, values, cross @ vectors


def ridge(gram: np.ndarray, targets: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Predictions of ``test`` (n_test, k) by ridge probes of ``targets`` (n, k) fitted on ``train``."""
    vectors, values, cross = principal_axes(gram, train, test)
    mean = targets[train].mean(0)
    centred = targets[train] - mean
    inner = vectors.T @ centred
    unit = values.sum() / len(train)
    best, predicted = np.full(targets.shape[1], np.inf), np.zeros((len(test), targets.shape[1]))
    for penalty in PENALTIES * unit:
        shrunk = values / (values + penalty)
        leverage = np.square(vectors) @ shrunk + 1 / len(train)
        residual = centred - vectors @ (shrunk[:, None] * inner)
        error = np.square(residual / np.maximum(1 - leverage, 1e-9)[:, None]).sum(0)
        better = error < best
        best[better] = error[better]
        predicted[:, better] = mean[better] + (cross / (values + penalty)) @ inner[:, better]
    return predicted


def logistic(gram: np.ndarray, targets: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Log odds of ``test`` (n_test, k) by logistic probes of 0/1 ``targets`` (n, k) fitted on ``train``."""
    vectors, values, cross = (part[..., :MOST_COMPONENTS] for part in principal_axes(gram, train, test))
    scale = np.sqrt(values / (values.sum() / len(train)))
    scores = _with_ones(vectors * scale)
    test_scores = _with_ones(cross / values * scale)
    y = targets[train].T.astype(np.float64)
    share = y.mean(1, keepdims=True)
    weights = 0.5 * np.where(y > 0.5, 1 / share, 1 / (1 - share))
    beta = np.zeros((len(y), scores.shape[1]))
    best, chosen = np.full(len(y), np.inf), beta.copy()
    for penalty in LOGISTIC_PENALTIES:
        beta, left_out = _newton(scores, y, weights, penalty, beta)
        loss = (weights * (np.logaddexp(0, left_out) - y * left_out)).sum(1)
        better = loss < best
        best[better], chosen[better] = loss[better], beta[better]
    return test_scores @ chosen.T


def _with_ones(scores: np.ndarray) -> np.ndarray:
    return np.concatenate([scores, np.ones((len(scores), 1))], 1)


def _newton(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, penalty: float, beta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fits beta (k, p) and the log odds of every sample as they would be without it (k, n).

    A step that does not lower a label's loss is halved for that label until it does.
    """
    ridge = np.full(x.shape[1], penalty)
    ridge[-1] = 1e-6  # the intercept is as good as free

    def objective(b: np.ndarray) -> np.ndarray:
        odds = b @ x.T
        return (weights * (np.logaddexp(0, odds) - y * odds)).sum(1) + 0.5 * np.square(b) @ ridge

    value = objective(beta)
    for _ in range(NEWTON_STEPS):
        gradient, hessian = _derivatives(x, y, weights, ridge, beta)
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        for _ in range(10):
            after = objective(beta - step)
            worse = after > value + 1e-9 * np.abs(value)
            if not worse.any():
                break
            step[worse] /= 2
        else:
            step[worse] = 0
            after = objective(beta - step)
        beta, gained, value = beta - step, value - after, after
        if (gained <= 1e-6 * np.abs(value)).all():
            break
    _, hessian = _derivatives(x, y, weights, ridge, beta)
    odds = beta @ x.T
    p = 0.5 * (1 + np.tanh(0.5 * odds))
    leverage = np.einsum("np,kpn->kn", x, np.linalg.solve(hessian, np.broadcast_to(x.T, (len(y), *x.T.shape))))
    curvature = weights * p * (1 - p)
    return beta, odds + leverage * weights * (p - y) / np.maximum(1 - curvature * leverage, 1e-6)


def _derivatives(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, ridge: np.ndarray, beta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    p = 0.5 * (1 + np.tanh(0.5 * beta @ x.T))
    gradient = (weights * (p - y)) @ x + ridge * beta
    curvature = weights * p * (1 - p)
    hessian = (curvature[:, None, :] * x.T) @ x
    hessian[:, np.arange(len(ridge)), np.arange(len(ridge))] += ridge + 1e-9
    return gradient, hessian
