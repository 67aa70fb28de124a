"""Disentanglement of codes with known factors: DCI and SAP.

Codes are read from the model (for example coordinates of h along some directions). Factors are
known properties of samples.

**DCI.** A regressor predicts every factor from all codes. R_ij is the importance of code i for
factor j. The rows of R are taken as distributions over K factors, and its columns as distributions
over D codes:

    disentanglement  D = Σ_i ρ_i (1 - H_K(R_i. / Σ_k R_ik)),   ρ_i = Σ_j R_ij / Σ_ij R_ij
    completeness     C = mean over j of 1 - H_D(R_.j / Σ_k R_kj)
    informativeness  I_j: how well factor j is predicted, here R² of held-out samples

H_K is the entropy to base K. D is 1 if every code matters for only one factor. C is 1 if every
factor needs only one code. A code that matters for no factor has no weight in D. A factor that no
code matters for counts as 0 in C. The regressor is the lasso on standardised codes and factors, and
the importance is |coefficient|, as in the paper's first variant. The penalty is chosen by
cross-validation. Binary factors enter as 0 and 1.

**SAP.** S_ij is how well code i alone predicts factor j. It is the squared correlation, or for
binary factors the balanced accuracy of the best threshold. SAP is the mean over factors of the best
code's S minus the second best's.

**Undefined.** If codes predict no factor (no interval of an R² lies above 0), the lasso's
coefficients are chance, and so is their distribution: a single one that is not 0 would count as
perfectly disentangled. D and C are then undefined, and the reason is given.

**Two nulls.** Shuffled factors give the score of codes without information. A random rotation of
the standardised codes has the same information, but meaningless axes. A score above that of
rotations means that the codes themselves, and not just the space they span, correspond to the
factors. p comes from the rotations.

References:
    A Framework for the Quantitative Evaluation of Disentangled Representations (Eastwood, Williams,
        2018), https://openreview.net/forum?id=By-7dz-AZ
    Variational Inference of Disentangled Latent Concepts from Unlabeled Observations (Kumar,
        Sattigeri, Balakrishnan, 2018), https://arxiv.org/abs/1711.00848
    A General Theory for Jackknife Variance Estimation (Shao, Wu, 1989),
        https://doi.org/10.1214/aos/1176347263
    Regression Shrinkage and Selection via the Lasso (Tibshirani, 1996),
        https://doi.org/10.1111/j.2517-6161.1996.tb02080.x
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.linear_model import Lasso, LassoCV
from sklearn.model_selection import KFold

from ..errors import AnalysisError
from .bootstrap import PERCENTILE, REPEATS, Statistic, bootstrap, bootstrap_many
from .estimate import LEVEL, Estimate
from .groups import group_folds, shuffled_by_group
from .permutation import p_value
from .probes import is_binary, upper_class
from .proportions import balanced_interval, wider

DCI_REPEATS = 200
"""The number of draws. Every draw fits one lasso per factor."""

_SETTLED = {"max_iter": 5000, "tol": 1e-3}
"""The tolerance of the lasso. Correlated codes converge slowly, and importances need no more
digits.
"""

ROTATIONS = 19
"""The number of nulls, the fewest with which p can reach 0.05."""


@dataclass(frozen=True, kw_only=True)
class DCI:
    """DCI of codes.

    ``importance`` (codes, factors): R. ``informativeness[j]``: R² of factor j on held-out samples.
    ``shuffled``: (disentanglement, completeness) of the same codes with every factor's values
    shuffled. ``rotated`` (m, 2): the same two for rotated codes. ``p``: the probability that these
    are as disentangled; None if D is undefined.
    """

    disentanglement: Estimate
    completeness: Estimate
    informativeness: tuple[Estimate, ...]
    importance: np.ndarray
    shuffled: tuple[float, float]
    rotated: np.ndarray
    p: float | None


@dataclass(frozen=True, kw_only=True)
class SAP:
    """SAP of codes.

    ``scores`` (codes, factors): S. ``shuffled``: the score with every factor's values shuffled.
    ``rotated`` (m,): that of rotated codes. ``p``: the probability that it is as large.
    """

    score: Estimate
    scores: np.ndarray
    shuffled: float
    rotated: np.ndarray
    p: float


def disentanglement_of(importance: np.ndarray) -> float:
    """Returns D of an importance matrix (codes, factors).

    Its values are not negative.
    """
    importance = _check_importance(importance)
    if importance.shape[1] < 2:
        raise AnalysisError(
            "disentanglement needs 2 or more factors; a single factor cannot be mixed with others"
        )
    weight = importance.sum(1) / importance.sum()
    return float(weight @ _concentration(importance))


def completeness_of(importance: np.ndarray) -> float:
    """Returns C of an importance matrix (codes, factors).

    Its values are not negative.
    """
    importance = _check_importance(importance)
    if len(importance) < 2:
        raise AnalysisError(
            "completeness needs 2 or more codes; a factor cannot be spread over a single code"
        )
    return float(_concentration(importance.T).mean())


def dci(
    codes: np.ndarray,
    factors: np.ndarray,
    *,
    repeats: int = DCI_REPEATS,
    seed: int = 0,
    folds: int = 5,
    groups: np.ndarray | None = None,
) -> DCI:
    """Computes DCI of codes (n, D) for known factors (n, K).

    The intervals are over samples, with fixed penalties. They come from the delete-half jackknife:
    the spread over random halves of the samples, which equals the spread over samples of the full
    size (Shao, Wu 1989), around the estimate. A bootstrap is unsuitable, because duplicate samples
    make a lasso too certain and shift all of its draws away from the estimate. ``groups`` (n,):
    numbers of samples that belong together; folds, halves, shuffles and draws then use whole
    groups.

    Raises:
        AnalysisError: shapes do not match, values are not finite, a factor is constant, or there
            are too few samples.
    """
    codes, factors = _check(codes, factors, max(10, 2 * folds))
    z, y = _standardised(codes), _standardised(factors)
    splits = _splits(len(z), folds, seed, groups)
    penalties = _penalties(z, y, splits)

    def both(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
        importance = _lasso_importance(_standardised(a), _standardised(b), penalties)
        if not importance.any():
            return 0.0, 0.0
        return disentanglement_of(importance), completeness_of(importance)

    informativeness = _informativeness(z, y, penalties, splits, seed, groups)
    importance = _lasso_importance(z, y, penalties)
    if not any(r2.low > 0 for r2 in informativeness):
        return _nothing_told(informativeness, importance, _units(len(codes), groups))
    rng = np.random.default_rng(seed)
    halves = [_half(len(codes), groups, rng) for _ in range(repeats)]
    d, c = _about(
        both(codes, factors),
        np.array([both(codes[half], factors[half]) for half in halves]),
        _units(len(codes), groups),
    )
    nulls = [both(codes, _dealt(factors, groups, rng)) for _ in range(10)]
    rotated = np.array([both(z @ turn, factors) for turn in _rotations(z.shape[1], rng)])
    return DCI(
        disentanglement=d,
        completeness=c,
        informativeness=informativeness,
        importance=importance,
        shuffled=(
            float(np.mean([null[0] for null in nulls])),
            float(np.mean([null[1] for null in nulls])),
        ),
        rotated=rotated,
        p=p_value(d.value, rotated[:, 0]),
    )


_Splits = list[tuple[np.ndarray, np.ndarray]]


def _splits(n: int, folds: int, seed: int, groups: np.ndarray | None) -> _Splits:
    """Yields rows to fit on and held-out rows, fold by fold. All samples of a group are on one
    side.
    """
    if groups is None:
        return list(KFold(folds, shuffle=True, random_state=seed).split(np.empty(n)))
    fold = group_folds(groups, folds, seed)
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(folds)]


def _half(n: int, groups: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Returns the rows of a random half of the samples, or of the groups."""
    if groups is None:
        return rng.permutation(n)[: n // 2]
    units = int(groups.max()) + 1
    return np.flatnonzero(np.isin(groups, rng.permutation(units)[: units // 2]))


def _dealt(factors: np.ndarray, groups: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Returns factors (n, K), each shuffled separately over samples or groups."""
    if groups is None:
        return rng.permuted(factors, axis=0)
    return np.stack([shuffled_by_group(column, groups, rng) for column in factors.T], 1)


def _units(n: int, groups: np.ndarray | None) -> int:
    """Returns the number of samples, or of groups."""
    return n if groups is None else int(groups.max()) + 1


def _penalties(z: np.ndarray, y: np.ndarray, splits: _Splits) -> list[float]:
    """Returns the lasso's penalty for every factor, by cross-validation."""
    return [float(LassoCV(cv=splits, **_SETTLED).fit(z, column).alpha_) for column in y.T]


def _nothing_told(informativeness: tuple[Estimate, ...], importance: np.ndarray, n: int) -> DCI:
    """Returns the result if no code predicts any factor: undefined values, and the reason."""
    best = max(informativeness, key=lambda r2: r2.value)
    nothing = Estimate.undefined(f"the codes tell no factor (the best R² is {best})", n)
    return DCI(
        disentanglement=nothing,
        completeness=nothing,
        informativeness=informativeness,
        importance=importance,
        shuffled=(np.nan, np.nan),
        rotated=np.full((ROTATIONS, 2), np.nan),
        p=None,
    )


def sap(
    codes: np.ndarray,
    factors: np.ndarray,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> SAP:
    """Computes SAP of codes (n, D) for known factors (n, K).

    Factors are continuous or binary. The score has an interval. ``groups`` (n,): numbers of samples
    that belong together; draws and shuffles then use whole groups.

    Raises:
        AnalysisError: the errors of :func:`dci`, or there is a single code, so that there is no
            second best.
    """
    codes, factors = _check(codes, factors, 4)
    if codes.shape[1] < 2:
        raise AnalysisError(
            "SAP is the gap between the best code and the second best; give 2 codes or more"
        )
    statistic = _sap_statistic(codes, factors)

    def gap(counts: np.ndarray) -> np.ndarray:
        return _gaps(statistic(counts))

    with np.errstate(invalid="ignore", divide="ignore"):  # a draw with one value only
        score = bootstrap(
            gap, len(codes), repeats=repeats, seed=seed, method=PERCENTILE, clusters=groups
        )
        score = _within_bounds(score, statistic, factors, repeats, seed, groups)
    rng, once = np.random.default_rng(seed), np.ones((1, len(codes)))
    nulls = [_gaps(_sap_statistic(codes, _dealt(factors, groups, rng))(once)) for _ in range(20)]
    z = _standardised(codes)
    rotated = np.concatenate(
        [_gaps(_sap_statistic(z @ turn, factors)(once)) for turn in _rotations(z.shape[1], rng)]
    )
    return SAP(
        score=score,
        scores=statistic(once)[0],
        shuffled=float(np.mean(nulls)),
        rotated=rotated,
        p=p_value(score.value, rotated),
    )


def _about(values: Sequence[float], draws: np.ndarray, n: int) -> tuple[Estimate, ...]:
    """Returns values (k,), each with the spread of draws (m, k) from half of the samples around it,
    within 0 to 1.
    """
    low, high = np.quantile(draws - np.median(draws, 0), ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)
    ends = [
        np.clip((value + a, value + b), 0, 1) for value, a, b in zip(values, low, high, strict=True)
    ]
    return tuple(
        Estimate(value=float(value), low=float(a), high=float(b), n=n)
        for value, (a, b) in zip(values, ends, strict=True)
    )


def _within_bounds(
    score: Estimate,
    statistic: Statistic,
    factors: np.ndarray,
    repeats: int,
    seed: int,
    groups: np.ndarray | None,
) -> Estimate:
    """SAP with an interval that also holds at the ends of its range.

    The best less the second best of a draw is never below 0, so a gap of 0 would lie outside of
    every interval. The difference of the two codes that are the best of all samples has either
    sign. A factor of two classes that its best code tells throughout is told so in every draw; its
    accuracy has the interval of a share.
    """
    scores = statistic(np.ones((1, len(factors))))[0]
    second, best = np.argsort(scores, 0, kind="stable")[-2:]
    columns = np.arange(scores.shape[1])

    def signed(counts: np.ndarray) -> np.ndarray:
        found = statistic(counts)
        return (found[:, best, columns] - found[:, second, columns]).mean(1)

    both = bootstrap(
        signed, len(factors), repeats=repeats, seed=seed, method=PERCENTILE, clusters=groups
    )
    unsure = sum(
        1 - balanced_interval(1.0, 1.0, *_classes(factors[:, j], groups))[0]
        for j in columns
        if is_binary(factors[:, j]) and scores[best[j], j] == 1
    )
    found = wider(score, (min(both.low, score.value - unsure / len(columns)), both.high))
    return replace(found, low=max(0.0, found.low), high=min(1.0, found.high))


def _classes(factor: np.ndarray, groups: np.ndarray | None) -> list[int]:
    """How many samples, or groups of them, are of either class."""
    upper = upper_class(factor)
    number = np.arange(len(factor)) if groups is None else groups
    return [len(np.unique(number[each])) for each in (upper, ~upper)]


def _gaps(scores: np.ndarray) -> np.ndarray:
    """Returns SAP of S (r, codes, factors): (r,)."""
    ordered = np.sort(scores, 1)
    return (ordered[:, -1] - ordered[:, -2]).mean(1)


def _rotations(d: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Returns uniformly random orthogonal matrices (d, d)."""
    for _ in range(ROTATIONS):
        q, r = np.linalg.qr(rng.standard_normal((d, d)))
        yield q * np.sign(np.diag(r))


def _check_importance(importance: np.ndarray) -> np.ndarray:
    importance = np.asarray(importance, np.float64)
    if (
        importance.ndim != 2
        or not np.isfinite(importance).all()
        or (importance < 0).any()
        or not importance.any()
    ):
        raise AnalysisError("importances are (codes, factors), finite, not negative, and not all 0")
    return importance


def _concentration(rows: np.ndarray) -> np.ndarray:
    """Returns 1 - the entropy of each row, to the base of its length, or 0 for a row of zeros."""
    total = rows.sum(1, keepdims=True)
    share = np.divide(rows, total, out=np.full(rows.shape, 1 / rows.shape[1]), where=total > 0)
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    return 1 + (share * logs).sum(1) / np.log(rows.shape[1])


def _check(codes: np.ndarray, factors: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    codes, factors = np.asarray(codes, np.float64), np.asarray(factors, np.float64)
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors):
        raise AnalysisError(
            f"codes must be (n, D) and factors (n, K) with the same n, got {codes.shape} and"
            f" {factors.shape}"
        )
    if len(codes) < least:
        raise AnalysisError(f"disentanglement takes {least} samples or more, got {len(codes)}")
    if not (np.isfinite(codes).all() and np.isfinite(factors).all()):
        raise AnalysisError(
            "codes or factors hold values that are missing or not finite; leave those samples out"
        )
    if constant := [str(j) for j in np.flatnonzero(np.ptp(factors, axis=0) == 0)]:
        raise AnalysisError(
            f"factor {', '.join(constant)} has one value only: there is nothing to predict"
        )
    return codes, factors


def _standardised(values: np.ndarray) -> np.ndarray:
    deviation = values.std(0)
    return (values - values.mean(0)) / np.where(
        deviation > 1e-12 * np.abs(values).max(), deviation, np.inf
    )


def _lasso_importance(z: np.ndarray, y: np.ndarray, penalties: Sequence[float]) -> np.ndarray:
    """Returns |coefficients| (codes, factors)."""
    gram = np.ascontiguousarray(z.T @ z)
    fits = [
        Lasso(alpha=a, fit_intercept=False, precompute=gram, **_SETTLED).fit(z, y[:, j])
        for j, a in enumerate(penalties)
    ]
    return np.abs(np.stack([fit.coef_ for fit in fits], 1))


def _informativeness(
    z: np.ndarray,
    y: np.ndarray,
    penalties: Sequence[float],
    splits: _Splits,
    seed: int,
    groups: np.ndarray | None,
) -> tuple[Estimate, ...]:
    predicted = np.empty_like(y)
    for train, test in splits:
        for j, penalty in enumerate(penalties):
            predicted[test, j] = (
                Lasso(alpha=penalty, **_SETTLED).fit(z[train], y[train, j]).predict(z[test])
            )
    errors, squares = np.square(y - predicted), np.square(y)

    def r2(counts: np.ndarray) -> np.ndarray:
        total = counts @ squares - np.square(counts @ y) / counts.sum(1)[:, None]
        return 1 - np.divide(
            counts @ errors, total, out=np.full(total.shape, np.nan), where=total > 0
        )

    return bootstrap_many(r2, len(z), seed=seed, clusters=groups)


def _sap_statistic(codes: np.ndarray, factors: np.ndarray) -> Statistic:
    """Returns S: counts (r, n) -> (r, codes, factors)."""
    kinds = [is_binary(column) for column in factors.T]
    z, y = _standardised(codes), _standardised(factors)

    def statistic(counts: np.ndarray) -> np.ndarray:
        share = counts / counts.sum(1, keepdims=True)
        found = _squared_correlations(share, z, y)
        for j in np.flatnonzero(kinds):
            for i in range(codes.shape[1]):
                found[:, i, j] = _threshold_accuracy(share, codes[:, i], upper_class(factors[:, j]))
        return found

    return statistic


def _squared_correlations(share: np.ndarray, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    mean_z, mean_y = share @ z, share @ y
    crossed = (share @ (z[:, :, None] * y[:, None, :]).reshape(len(z), -1)).reshape(
        len(share), z.shape[1], -1
    )
    covariance = crossed - mean_z[:, :, None] * mean_y[:, None, :]
    spread = (share @ np.square(z) - np.square(mean_z))[:, :, None] * (
        share @ np.square(y) - np.square(mean_y)
    )[:, None]
    return np.divide(
        np.square(covariance), spread, out=np.zeros_like(covariance), where=spread > 1e-12
    )


def _threshold_accuracy(share: np.ndarray, code: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Returns the balanced accuracy (r,) of the best threshold on a code, in either direction."""
    order = np.argsort(code, kind="stable")
    ends = np.r_[np.diff(code[order]) > 0, True]  # a threshold lies between two different values
    ones = np.cumsum(share[:, order] * positive[order], 1)
    zeros = np.cumsum(share[:, order] * ~positive[order], 1)
    gap = (ones / ones[:, -1:] - zeros / zeros[:, -1:])[:, ends]
    return 0.5 + 0.5 * np.abs(gap).max(1)
