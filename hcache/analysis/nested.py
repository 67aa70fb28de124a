"""The interval of a ridge probe's held-out R², by nested cross-validation.

The error of cross-validation has two sources: the samples that probes are tested on, and those that
they are fitted on. A bootstrap over held-out predictions sees the first alone. Nested
cross-validation sees both. A fold k is left out. Cross-validation among the other folds estimates
the error of a probe, ``e_in``; a probe of the other folds makes the error ``e_out`` on fold k, of
samples that had no part in ``e_in``. Then

    MSE = mean (e_in - e_out)² - mean (standard error of e_out)²

over folds and over many ways to cut the samples into folds. It is held between the standard error
of a mean of independent errors, SE², and K SE² (K folds), and (K - 1) / K of it is that of
cross-validation among all folds.

Three things differ from the paper. The probes of ``e_in`` have fewer samples than that of ``e_out``
(3/5 against 4/5 of all, at 5 folds), which makes the mean difference; it is taken off. The value
that the interval is of is what probes of this many training samples reach on average, so the
paper's correction for its size is not made. R² is a ratio: the error of a sample is its part in the
ratio to first order,

    ℓ_i = (y_i - ŷ_i)² / V - ρ ((y_i - ȳ)² / V - 1),    V = mean (y_i - ȳ)²,  ρ = 1 - R²,

and the interval is symmetrical in log ρ, so that it never reaches R² = 1.

**One factorisation.** A ridge probe of a fixed penalty is linear in the labels: ŷ = H y. Its errors
on samples S that it was not fitted on follow from H alone (Cook, Weisberg 1982),

    y_S - ŷ_S = (I - H_SS)⁻¹ (y - H y)_S,

so all fits of all foldings come from the one decomposition of all samples, each at the price of a
system of |S| equations. The penalty is that which leaving one out chooses of all samples.

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
"""Ways to cut the samples into folds, each of which gives as many terms as there are folds."""


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """A ridge probe of all samples: H (n, n), residuals (n,), labels less their mean (n,), and the
    number of each sample's group (n,).
    """

    smoother: np.ndarray
    residual: np.ndarray
    centred: np.ndarray
    groups: np.ndarray

    def left_out(self, rows: np.ndarray) -> np.ndarray:
        """The squared errors on some samples of the probe fitted without them."""
        return np.square(errors_without(self.smoother, self.residual, rows))

    def parts(self, squares: np.ndarray, rows: np.ndarray, rho: float) -> np.ndarray:
        """The part of each sample's squared error in 1 - R², to first order."""
        variance = np.square(self.centred).mean()
        return squares / variance - rho * (np.square(self.centred[rows]) / variance - 1)


def errors_without(smoother: np.ndarray, residual: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The errors of a linear fit on samples that it leaves out.

    Args:
        smoother: H (n, n), which takes labels to fitted values.
        residual: (n,) labels less fitted values, of the fit with all samples.
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
    """The interval of a ridge probe's held-out R².

    Args:
        space: n samples of data.
        target: Their labels (n,).
        predicted: Their held-out predictions (n,).
        folds: Of the cross-validation.
        groups: (n,) numbers of samples that belong together; they are in one fold.
        foldings: Ways to cut the samples into folds.
        level: Share of data sets in which it is to hold what such probes reach on average.
        seed: Of the foldings.
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
    """The mean squared error of cross-validation among all folds but one."""
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
    """The samples cut into folds at random, with whole groups."""
    units = np.array_split(rng.permutation(int(groups.max()) + 1), folds)
    return [np.flatnonzero(np.isin(groups, unit)) for unit in units]


def _variance_of_mean(values: np.ndarray, groups: np.ndarray) -> float:
    """The variance of the mean of values (n,), over groups."""
    sums = np.bincount(np.unique(groups, return_inverse=True)[1], values - values.mean())
    units = len(sums)
    return float(np.square(sums).sum() / len(values) ** 2 * units / max(1, units - 1))
