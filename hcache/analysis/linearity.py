"""Linearity: whether the readout responds in proportion to the strength.

A linear readout does so for both signs, and equally in all samples. f(γ) is the readout of a sample
that is moved by γ along a direction, and r(γ) = f(γ) - f(0):

- **R²** of a straight line through 0: 1 - Σ ‖r(γ) - β γ‖² / Σ ‖r(γ)‖², with sums over
  samples and strengths. Every sample has its own slope β. R² is 0 for the prediction of no change.
  Homogeneity measures how far slopes differ.
- **Curvature**: the share of the mean response's square that no line through 0 explains, 1 - (Σ γ
  r̄)² / (Σ γ² Σ r̄²), with squares of means from products of different samples. R² of a line alone
  does not distinguish a line from a response that saturates at half the strength. On -1, -½, 0, ½,
  1, a step has R² 0.90 and tanh(3 γ) has 0.93. Their curvatures are 0.10 and 0.07. tanh(γ), which
  looks straight, has 0.007. **bend** is p that the mean response is a line: Student's t of each
  contrast of the residuals over samples, by Holm. It assumes that contrasts, which are sums over
  strengths, are about normal.
- **Monotone**: no step from one strength to the next goes significantly against the others
  (Student's t, Holm). A response that bends and is monotone saturates or sets in late. It is called
  ``monotone, not linear``.
- **Asymmetry**: Σ ‖r(γ) + r(-γ)‖ / Σ (‖r(γ)‖ + ‖r(-γ)‖), from 0 for a line to 1 for a change that
  goes one way only, or the same way for both signs.
- **Additivity** of two directions: ‖f(a+b) - f(a) - f(b) + f(0)‖ / (‖f(a) - f(0)‖ + ‖f(b) - f(0)‖),
  also summed over samples. It is 0 if the two do not interact, and 1 if one undoes the other's
  change. Asymmetry is the additivity of a and -a.
- **Homogeneity**: the mean inner product of two different samples' slopes over their mean square.
  It is 1 if the same Δh makes the same change in all samples, and 0 if one sample's change says
  nothing about another's. It may be below 0 by chance.

A linear response alone means little: a smooth network is linear in every direction for small
strengths, and if nothing changes, noise decides. Therefore each number has an interval over samples
and is compared with the same number for random directions of equal norm. A verdict is given only if
the direction changes the readout more than these do. A readout may be a vector (all pixels, say);
‖·‖ is then over its parts.

References:
    Discovering Interpretable Directions in the Semantic Latent Space of Diffusion Models (Haas,
        Huberman-Spiegelglas, Mulayoff, Graßhof, Brandt, Michaeli, 2023),
        https://arxiv.org/abs/2303.11073
    Diffusion Models already have a Semantic Latent Space (Kwon, Jeong, Uh, 2022),
        https://arxiv.org/abs/2210.10960, for the claims: linear, homogeneous, robust
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..errors import AnalysisError
from .bootstrap import PERCENTILE, REPEATS, Statistic, bootstrap_many, ratio_of
from .controllability import p_of_size
from .estimate import LEVEL, Contrast, Estimate
from .permutation import holm

LINEAR_R2, LINEAR_ASYMMETRY, LINEAR_CURVATURE = 0.95, 0.2, 0.05
"""The limits of a linear response: the smallest R², and the largest asymmetry and curvature, for
the whole interval of each.
"""

LINEAR, NOT_LINEAR, UNDECIDED, BY_CHANCE = (
    "linear",
    "not linear",
    "undecided",
    "no further than random",
)
MONOTONE = "monotone, not linear"


_OWN = ("slope", "r2", "asymmetry", "homogeneity", "size", "bend", "curvature", "monotone")
"""The fields of a direction alone."""


@dataclass(frozen=True, kw_only=True)
class Linearity:
    """The response of a readout to a direction over strengths.

    ``slope``: change of the readout per unit of strength. ``r2``, ``asymmetry`` and ``homogeneity``
    are None if they are not defined, because no strength has both signs or there is only one
    strength. ``bend``: p that the mean response is a straight line. ``curvature``: the share of it
    that no line explains. ``monotone``: whether it goes one way. The last two are None for vectors.
    ``nulls``: the same for each random direction.
    """

    slope: Estimate | None
    r2: Estimate | None
    asymmetry: Estimate | None
    homogeneity: Estimate
    size: Estimate
    bend: float | None
    nulls: tuple[Linearity, ...] = ()
    moved: Contrast | None = None
    curvature: Estimate | None = None
    monotone: bool | None = None

    @property
    def verdict(self) -> str:
        """Describes a direction's linearity in words.

        The verdict is ``linear``, ``monotone, not linear``, ``not linear``, ``undecided`` (an
        interval straddles a limit), or ``no further than random`` (random directions of the same
        length change the readout as much).
        """
        if self.moved is not None and self.moved.p is not None and self.moved.p > 1 - LEVEL:
            return BY_CHANCE
        favour, against = (
            zip(*self._evidence(), strict=True)
            if (self.r2 or self.asymmetry)
            else ((False,), (False,))
        )
        if any(against):
            return MONOTONE if self.monotone else NOT_LINEAR
        return LINEAR if all(favour) else UNDECIDED

    def _evidence(self) -> Iterator[tuple[bool, bool]]:
        """Returns which of the known values support a line and which contradict it."""
        if self.r2 is not None:
            yield self.r2.low >= LINEAR_R2, self.r2.high < LINEAR_R2
        if self.asymmetry is not None:
            yield self.asymmetry.high <= LINEAR_ASYMMETRY, self.asymmetry.low > LINEAR_ASYMMETRY
        if self.curvature is not None and self.curvature.defined:
            bends = self.bend is not None and self.bend <= 1 - LEVEL
            yield (
                self.curvature.high <= LINEAR_CURVATURE,
                bends and self.curvature.low > LINEAR_CURVATURE,
            )


def linearity(
    readings: np.ndarray,
    strengths: Sequence[float],
    nulls: np.ndarray | None = None,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Linearity:
    """Measures how linear the response of a readout to a direction is.

    Args:
        readings: (n, strengths) of a number, or (n, strengths, parts) of a vector, in any unit.
        strengths: The strengths of the readings. They include 0.
        nulls: (m, n, strengths[, parts]): the same samples, moved by m random directions of equal
            norm, 2 or more.
        repeats: The number of bootstrap draws over samples.
        seed: The seed of the draws.

    Raises:
        AnalysisError: shapes do not match, strength 0 is missing, values are not finite, or nothing
            changes.
    """
    changes, gamma = _changes(readings, strengths)
    if not np.any(changes):
        raise AnalysisError(
            "the readout is the same at every strength, so there is no response to test"
        )
    found = _measured(changes, gamma, repeats, seed)
    if nulls is None:
        return found
    null_changes = [_changes(null, strengths)[0] for null in nulls]
    if any(null.shape != changes.shape for null in null_changes):
        raise AnalysisError(
            f"nulls must have the shape of the readings, {readings.shape}; got"
            f" {np.shape(nulls)[1:]}"
        )
    return Linearity(
        **{name: getattr(found, name) for name in _OWN},
        nulls=tuple(_measured(null, gamma, repeats, seed) for null in null_changes if np.any(null)),
        moved=_moved(changes, null_changes, repeats, seed),
    )


def linearity_by_step(
    readings: np.ndarray,
    strengths: Sequence[float],
    nulls: np.ndarray | None = None,
    **options: int,
) -> tuple[Linearity, ...]:
    """Computes :func:`linearity` of each step.

    Readings are (n, strengths, steps) of a number, and nulls (m, n, strengths, steps).
    """
    return tuple(
        linearity(
            readings[:, :, step], strengths, None if nulls is None else nulls[..., step], **options
        )
        for step in range(readings.shape[2])
    )


def additivity(
    none: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    both: np.ndarray,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Estimate:
    """Measures how far two directions' changes do not add up.

    The value is from 0 to 1.

    Args:
        none: f(0), (n,) of a number or (n, parts) of a vector.
        first: f(a), likewise.
        second: f(b).
        both: f(a + b).
        repeats: The number of bootstrap draws over samples.
        seed: The seed of the draws.

    Raises:
        AnalysisError: shapes do not match, or nothing changes.
    """
    parts = [_rows(part) for part in (none, first, second, both)]
    if len({part.shape for part in parts}) != 1:
        raise AnalysisError(
            "f(0), f(a), f(b) and f(a+b) must have the same shape, got"
            f" {[part.shape for part in parts]}"
        )
    missed, moved = _missed_and_moved(parts)
    if not moved.any():
        raise AnalysisError("neither direction changes the readout: there is nothing to add up")
    (found,) = bootstrap_many(
        _column(ratio_of(missed, moved)), len(missed), repeats=repeats, seed=seed
    )
    return found


def additivity_contrast(
    measured: Sequence[Sequence[np.ndarray]],
    nulls: Sequence[Sequence[np.ndarray]],
    *,
    clusters: np.ndarray | None = None,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Contrast:
    """Compares additivity of pairs of edits with that of random pairs.

    Each pair is ``(f(0), f(a), f(b), f(a+b))``, on the same samples. Numerators and denominators
    are summed over several pairs, which then count as one. ``clusters`` (n,): the numbers of
    samples that belong together and are drawn as one.
    """
    above, below = np.sum([_missed_and_moved(pair) for pair in measured], 0)
    null_above, null_below = np.sum([_missed_and_moved(null) for null in nulls], 0)

    def statistic(counts: np.ndarray) -> np.ndarray:
        one, other = ratio_of(above, below)(counts), ratio_of(null_above, null_below)(counts)
        return np.stack([one, other, one - other], 1)

    found = bootstrap_many(statistic, len(above), repeats=repeats, seed=seed, clusters=clusters)
    return Contrast(measured=found[0], null=found[1], excess=found[2])


def _missed_and_moved(four: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns ‖f(a+b) - f(a) - f(b) + f(0)‖ and ‖f(a) - f(0)‖ + ‖f(b) - f(0)‖, (n,) each."""
    f0, fa, fb, fab = map(_rows, four)
    missed = np.linalg.norm(fab - fa - fb + f0, axis=1)
    return missed, np.linalg.norm(fa - f0, axis=1) + np.linalg.norm(fb - f0, axis=1)


def homogeneity_statistic(changes: np.ndarray) -> Statistic:
    """Returns a statistic of how similarly samples change.

    It is the mean inner product of two different samples' changes (n, parts) over their mean
    square. Pairs are of different samples only, so a sample that is drawn twice is not a pair.
    """
    gram = changes @ changes.T
    own = np.diag(gram).copy()

    def statistic(counts: np.ndarray) -> np.ndarray:
        squares = np.square(counts)
        crossed = ((counts @ gram) * counts).sum(1) - squares @ own
        total = counts.sum(1)
        pairs = total**2 - squares.sum(1)
        return (crossed / pairs) / ((counts @ own) / total)

    return statistic


def _column(statistic: Statistic) -> Statistic:
    return lambda counts: statistic(counts)[:, None]


def _rows(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise AnalysisError("readings hold values that are not finite; leave those samples out")
    return values.reshape(len(values), -1)


def _changes(readings: np.ndarray, strengths: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Returns changes (n, s, parts) from strength 0, at the other strengths (s,)."""
    readings, gamma = np.asarray(readings, np.float64), np.asarray(strengths, np.float64)
    if readings.ndim not in (2, 3) or readings.shape[1] != len(gamma):
        raise AnalysisError(
            f"readings must be (samples, strengths) or (samples, strengths, parts) at {len(gamma)}"
            f" strengths, got {readings.shape}"
        )
    if len(readings) < 2:
        raise AnalysisError(f"linearity needs 2 samples or more, got {len(readings)}")
    if (gamma == 0).sum() != 1 or len(set(gamma)) != len(gamma) or len(gamma) < 2:
        raise AnalysisError(
            "strengths must all be different and include 0, from which changes are measured; got"
            f" {strengths}"
        )
    if not np.isfinite(readings).all():
        raise AnalysisError("readings hold values that are not finite; leave those samples out")
    readings = readings.reshape(*readings.shape[:2], -1)
    zero = int(np.flatnonzero(gamma == 0)[0])
    kept = np.arange(len(gamma)) != zero
    return readings[:, kept] - readings[:, [zero]], gamma[kept]


def _slopes(changes: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Returns every sample's line through 0 by least squares: (n, parts)."""
    return np.einsum("s,nsp->np", gamma, changes) / np.square(gamma).sum()


def _measured(changes: np.ndarray, gamma: np.ndarray, repeats: int, seed: int) -> Linearity:
    slopes = _slopes(changes, gamma)
    left = np.square(changes - slopes[:, None] * gamma[:, None]).sum((1, 2))
    total = np.square(changes).sum((1, 2))
    uneven, both_ways = _asymmetry_sums(changes, gamma)
    size = np.linalg.norm(changes, axis=2).sum(1) / np.abs(gamma).sum()
    statistics: dict[str, Statistic] = {"size": lambda counts: counts @ size / counts.sum(1)}
    level = np.square(slopes).sum() * np.square(gamma).sum() > 1e-18 * total.sum()
    if level:
        statistics["homogeneity"] = homogeneity_statistic(slopes)
    if slopes.shape[1] == 1:
        statistics["slope"] = lambda counts: counts @ slopes[:, 0] / counts.sum(1)
    if len(gamma) > 1:
        statistics["r2"] = lambda counts: 1 - ratio_of(left, total)(counts)
    if both_ways.any():
        statistics["asymmetry"] = ratio_of(uneven, both_ways)
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw of samples that do not move
        estimates = bootstrap_many(
            lambda counts: np.stack([statistic(counts) for statistic in statistics.values()], 1),
            len(changes),
            repeats=repeats,
            seed=seed,
        )
    found = dict(zip(statistics, estimates, strict=True))
    flat = Estimate.undefined(
        "no sample's response has a slope: it is the same for both signs", len(changes)
    )
    means = changes[:, :, 0] if slopes.shape[1] == 1 and len(gamma) > 1 else None
    return Linearity(
        slope=found.get("slope"),
        r2=found.get("r2"),
        asymmetry=found.get("asymmetry"),
        homogeneity=found.get("homogeneity", flat),
        size=found["size"],
        bend=None if means is None else _bend(means - slopes * gamma, gamma),
        curvature=None if means is None else _curvature(means, gamma, repeats, seed),
        monotone=None if means is None else _goes_one_way(means, gamma),
    )


def _curvature(changes: np.ndarray, gamma: np.ndarray, repeats: int, seed: int) -> Estimate:
    """Returns the share of the squared mean response (n, strengths) that no line through 0
    explains.
    """
    line = changes @ (gamma / np.linalg.norm(gamma))
    both = np.concatenate([changes, line[:, None]], 1)

    def statistic(counts: np.ndarray) -> np.ndarray:
        total, again = counts.sum(1)[:, None], np.square(counts)
        pairs = total**2 - again.sum(1)[:, None]
        squares = np.square(counts @ both) - again @ np.square(both)
        squares = np.divide(squares, pairs, out=np.zeros_like(squares), where=pairs > 0)
        whole = squares[:, :-1].sum(1)
        return np.clip(
            1 - np.divide(squares[:, -1], whole, out=np.ones(len(whole)), where=whole > 0), 0, 1
        )[:, None]

    once = np.ones((1, len(changes)))
    if (
        not np.square(changes.mean(0)).sum() > 1e-12 * np.square(changes).sum() / len(changes)
        or statistic(once) == 1
    ):
        if not _t_tests(changes).min() <= 1 - LEVEL:
            return Estimate.undefined(
                "there is no mean response that could be straight or not", len(changes)
            )
    with np.errstate(invalid="ignore"):
        return bootstrap_many(
            statistic, len(changes), repeats=repeats, seed=seed, method=PERCENTILE
        )[0]


def _goes_one_way(changes: np.ndarray, gamma: np.ndarray) -> bool:
    """Returns whether the response (n, strengths) is not shown to rise between two strengths and
    fall between two others.
    """
    order = np.argsort(np.r_[gamma, 0.0])
    response = np.concatenate([changes, np.zeros((len(changes), 1))], 1)[:, order]
    steps = np.diff(response, axis=1)
    known = np.sign(steps.mean(0))[_t_tests(steps) <= 1 - LEVEL]
    return not ((known > 0).any() and (known < 0).any())


def _t_tests(values: np.ndarray) -> np.ndarray:
    """Returns p that the mean of each column (n, k) is 0, by Student's t, adjusted for all of them
    (Holm).
    """
    mean, error = np.abs(values.mean(0)), values.std(0, ddof=1) / np.sqrt(len(values))
    tiny = 1e-9 * np.sqrt(np.square(values).mean())
    t = np.divide(mean, error, out=np.where(mean > tiny, np.inf, 0.0), where=error > tiny)
    return holm(2 * stats.t.sf(np.where(mean > tiny, t, 0.0), len(values) - 1))


def _asymmetry_sums(changes: np.ndarray, gamma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns Σ ‖r(γ) + r(-γ)‖ and Σ ‖r(γ)‖ + ‖r(-γ)‖ (n,) over the strengths with both signs."""
    uneven, both_ways = np.zeros(len(changes)), np.zeros(len(changes))
    for plus in np.flatnonzero(gamma > 0):
        for minus in np.flatnonzero(gamma == -gamma[plus]):
            a, b = changes[:, plus], changes[:, minus]
            uneven += np.linalg.norm(a + b, axis=1)
            both_ways += np.linalg.norm(a, axis=1) + np.linalg.norm(b, axis=1)
    return uneven, both_ways


def _bend(residuals: np.ndarray, gamma: np.ndarray) -> float:
    """Returns p that the mean distance (n, strengths) from the line is 0 at every strength, by
    contrasts that are 0 for a line.
    """
    rest = np.linalg.qr(np.concatenate([gamma[:, None], np.eye(len(gamma))], 1))[0][:, 1:]
    return float(_t_tests(residuals @ rest).min())


def _moved(changes: np.ndarray, nulls: Sequence[np.ndarray], repeats: int, seed: int) -> Contrast:
    """Returns the mean size of the change relative to that under random directions, and p that one
    of these gives as much.
    """
    size = np.linalg.norm(changes, axis=2).mean(1)
    each = np.stack([np.linalg.norm(other, axis=2).mean(1) for other in nulls])
    null = each.mean(0)
    both = np.stack([size, null, size - null], 1)
    found = bootstrap_many(
        lambda counts: counts @ both / counts.sum(1)[:, None], len(size), repeats=repeats, seed=seed
    )
    p = p_of_size(float(size.mean()), each.mean(1))
    return Contrast(measured=found[0], null=found[1], excess=found[2], p=p)
