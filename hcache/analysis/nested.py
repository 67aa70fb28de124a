"""The interval of a ridge probe's held-out R², by nested cross-validation.

The error of cross-validation has two sources: the samples that probes are tested on, and the
samples that they are fitted to. A bootstrap over held-out predictions sees only the first. Nested
cross-validation sees both. A fold k is left out. Cross-validation among the other folds estimates
the error of a probe, ``e_in``. A probe fitted to the other folds makes the error ``e_out`` on fold
k, whose samples had no part in ``e_in``. Then

    MSE = mean (e_in - e_out)² - mean (standard error of e_out)²

with means over folds and over many ways to cut the samples into folds. (K - 1) / K of it is the
mean squared error of cross-validation among all K folds. The result is kept between SE² and K SE²,
where SE is the standard error of a mean of independent errors.

Three things differ from the paper. First, the probes of ``e_in`` have fewer samples than the probe
of ``e_out`` (3/5 and 4/5 of all, at 5 folds). This causes a mean difference, which is subtracted.
Second, the interval is for what probes of this many training samples reach on average, so the
paper's correction for their number is not made. Third, R² is a ratio: the error of a sample is its
part in the ratio to first order,

    ℓ_i = (y_i - ŷ_i)² / V - ρ ((y_i - ȳ)² / V - 1),    V = mean (y_i - ȳ)²,  ρ = 1 - R².

The interval is symmetrical in log ρ, so it never reaches R² = 1.

**One factorisation.** A ridge probe of a fixed penalty is linear in the labels: ŷ = H y. The errors
on samples S of a probe that was fitted without them follow from H and y (Cook, Weisberg 1982):

    y_S - ŷ_S = (I - H_SS)⁻¹ (y - H y)_S.

All fits of all foldings therefore come from one decomposition of all samples. Each costs one system
of |S| equations. The penalty is the one that leave-one-out errors of all samples choose.

References:
    Cross-validation: what does it estimate and how well does it do it? (Bates, Hastie, Tibshirani,
        2021), https://arxiv.org/abs/2104.00673
    Residuals and Influence in Regression (Cook, Weisberg, 1982), https://hdl.handle.net/11299/37076
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import t

from .estimate import LEVEL
from .linear_probes import ridge_smoother
from .probes import Space

FOLDINGS = 20
"""The number of ways to cut the samples into folds. Each gives one term per fold."""


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """A ridge probe of all samples: H (n, n), residuals (n,), labels minus their mean (n,), and the
    number of each sample's group (n,).
    """

    smoother: np.ndarray
    residual: np.ndarray
    centred: np.ndarray
    groups: np.ndarray

    def left_out(self, rows: np.ndarray) -> np.ndarray:
        """Returns the squared errors on some samples of a probe fitted without them."""
        return np.square(errors_without(self.smoother, self.residual, rows))

    def parts(self, squares: np.ndarray, rows: np.ndarray, rho: float) -> np.ndarray:
        """Returns the part of each sample's squared error in 1 - R², to first order."""
        variance = np.square(self.centred).mean()
        return squares / variance - rho * (np.square(self.centred[rows]) / variance - 1)


def errors_without(smoother: np.ndarray, residual: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Computes a linear fit's errors on samples that it leaves out.

    Args:
        smoother: H (n, n), which maps labels to fitted values.
        residual: Labels minus fitted values (n,), for the fit with all samples.
        rows: The samples that are left out.
    """
    return np.linalg.solve(np.eye(len(rows)) - smoother[np.ix_(rows, rows)], residual[rows])


def r2_interval(
    space: Space,
    target: np.ndarray,
    predicted: np.ndarray,
    *,
    folds: int,
    groups: np.ndarray | None = None,
    foldings: int = FOLDINGS,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[float, float]:
    """Computes the interval of a ridge probe's held-out R².

    Args:
        space: The data of n samples.
        target: Their labels (n,).
        predicted: Their held-out predictions (n,).
        folds: The number of folds of the cross-validation.
        groups: The group of each sample (n,). Samples of one group are in one fold.
        foldings: The number of ways to cut the samples into folds.
        level: The share of data sets in which the interval should cover the average R² of such
            probes.
        seed: The seed of the foldings.
    """
    number = np.arange(len(target)) if groups is None else groups
    smoother = ridge_smoother(space.whole, target)
    fit = _Fit(
        smoother=smoother,
        residual=target - smoother @ target,
        centred=target - target.mean(),
        groups=number,
    )
    squares = np.square(target - predicted)
    rho = float(squares.mean() / np.square(fit.centred).mean())
    parts = fit.parts(squares, np.arange(len(target)), rho)
    least, units = _variance_of_mean(parts, number), int(number.max()) + 1
    found = _mean_square(fit, folds, foldings, np.random.default_rng(seed))
    variance = min(max(found * (folds - 1) / folds, least), folds * least)
    if not rho > 0:
        return 1.0, 1.0
    width = float(t.ppf((1 + level) / 2, units - 1)) * math.sqrt(variance) / rho
    return 1 - rho * math.exp(width), 1 - rho * math.exp(-width)


def _mean_square(fit: _Fit, folds: int, foldings: int, rng: np.random.Generator) -> float:
    """Estimates the mean squared error of cross-validation among all folds but one."""
    differences, variances = [], []
    for _ in range(foldings):
        cut = _cut(fit.groups, folds, rng)
        out = [fit.left_out(rows) for rows in cut]
        rho = float(np.concatenate(out).mean() / np.square(fit.centred).mean())
        inner: list[list[np.ndarray]] = [[] for _ in cut]
        for j, k in combinations(range(folds), 2):
            both = fit.left_out(np.concatenate([cut[j], cut[k]]))
            inner[k].append(fit.parts(both[: len(cut[j])], cut[j], rho))
            inner[j].append(fit.parts(both[len(cut[j]) :], cut[k], rho))
        for k, rows in enumerate(cut):
            outer = fit.parts(out[k], rows, rho)
            differences.append(float(np.concatenate(inner[k]).mean() - outer.mean()))
            variances.append(_variance_of_mean(outer, fit.groups[rows]))
    return float(np.var(differences) - np.mean(variances))


def _cut(groups: np.ndarray, folds: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Cuts the samples into folds at random, without cutting groups."""
    units = np.array_split(rng.permutation(int(groups.max()) + 1), folds)
    return [np.flatnonzero(np.isin(groups, unit)) for unit in units]


def _variance_of_mean(values: np.ndarray, groups: np.ndarray) -> float:
    """Computes the variance of the mean of values (n,), over groups."""
    sums = np.bincount(np.unique(groups, return_inverse=True)[1], values - values.mean())
    units = len(sums)
    return float(np.square(sums).sum() / len(values) ** 2 * units / max(1, units - 1))
