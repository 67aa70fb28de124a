"""Linearity: does the readout answer a strength in proportion, either way, and alike in all samples?

With f(γ) the readout of a sample moved by γ along a direction, and r(γ) = f(γ) - f(0):

- **R²** of a straight line through 0: 1 - Σ ‖r(γ) - β γ‖² / Σ ‖r(γ)‖², every sample with its own slope β, summed
  over samples and strengths. 0 is what no change would explain. How far slopes differ is homogeneity's to say.
- **Asymmetry**: Σ ‖r(γ) + r(-γ)‖ / Σ (‖r(γ)‖ + ‖r(-γ)‖), from 0 for a line to 1 for a change that goes one way only, or
  the same way for both signs.
- **Additivity** of two directions: ‖f(a+b) - f(a) - f(b) + f(0)‖ / (‖f(a) - f(0)‖ + ‖f(b) - f(0)‖), likewise summed
  over samples: 0 where the two do not interact, 1 where one undoes the other's change. Asymmetry is that of a and -a.
- **Homogeneity**: the mean inner product of two different samples' slopes over their mean square: 1 if the same Δh
  makes the same change in all, 0 if one sample's change says nothing of another's. It may be below 0 by chance.

A line is no merit by itself: a smooth network is linear in every direction for small strengths, and where nothing moves
noise decides. So each number has an interval over samples, stands against the same for random directions of equal norm,
and a verdict is given only where the direction moves the readout more than those do. A readout may be a vector
(all pixels, say); ‖·‖ is then over its parts.

References:
    Discovering Interpretable Directions in the Semantic Latent Space of Diffusion Models (Haas, Huberman-Spiegelglas,
    Mulayoff, Graßhof, Brandt, Michaeli, 2023), https://arxiv.org/abs/2303.11073
    Diffusion Models already have a Semantic Latent Space (Kwon, Jeong, Uh, 2022), https://arxiv.org/abs/2210.10960,
    for the claims: linear, homogeneous, robust
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import AnalysisError
from .bootstrap import REPEATS, Statistic, bootstrap_many, ratio_of
from .controllability import p_of_size
from .estimate import LEVEL, Contrast, Estimate
from .permutation import sign_flip_test

LINEAR_R2, LINEAR_ASYMMETRY = 0.9, 0.2
"""A response is called linear from this R² up and this asymmetry down, with the whole of both intervals."""

LINEAR, NOT_LINEAR, UNDECIDED, BY_CHANCE = "linear", "not linear", "undecided", "no further than random"


@dataclass(frozen=True, kw_only=True)
class Linearity:
    """A direction's response over a grid of strengths. ``slope``: change of the readout per unit of strength.

    ``r2``, ``asymmetry`` and ``homogeneity`` are None where they are not defined: no strength comes with both signs, or
    there is one strength only. ``bend``: p that the mean response is a straight line. ``nulls``: the same of each
    random direction.
    """

    slope: Estimate | None
    r2: Estimate | None
    asymmetry: Estimate | None
    homogeneity: Estimate
    size: Estimate
    bend: float | None
    nulls: tuple[Linearity, ...] = ()
    moved: Contrast | None = None

    @property
    def verdict(self) -> str:
        """``linear``, ``not linear``, ``undecided`` (an interval straddles), or ``no further than
        random``: random directions of the same length move the readout as much."""
        if self.moved is not None and self.moved.p is not None and self.moved.p > 1 - LEVEL:
            return BY_CHANCE
        known = [
            *([(self.r2.low >= LINEAR_R2, self.r2.high < LINEAR_R2)] if self.r2 else []),
            *(
                [(self.asymmetry.high <= LINEAR_ASYMMETRY, self.asymmetry.low > LINEAR_ASYMMETRY)]
                if self.asymmetry
                else []
            ),
        ]
        if any(against for _, against in known):
            return NOT_LINEAR
        return LINEAR if known and all(favour for favour, _ in known) else UNDECIDED


def linearity(
    readings: np.ndarray,
    strengths: Sequence[float],
    nulls: np.ndarray | None = None,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Linearity:
    """How straight the response of a readout to a direction is.

    Args:
        readings: (n, strengths) of a number, or (n, strengths, parts) of a vector, in any unit.
        strengths: Of the readings, 0 among them.
        nulls: (m, n, strengths[, parts]): the same samples, moved by m random directions of equal norm, 2 or more.
        repeats: Draws of the bootstrap over samples.
        seed: Of these.

    Raises:
        AnalysisError: shapes that do not fit, no strength 0, values that are not finite, nothing that changes.
    """
    changes, gamma = _changes(readings, strengths)
    if not np.any(changes):
        raise AnalysisError("the readout is the same at every strength: there is no response to be linear or not")
    found = _measured(changes, gamma, repeats, seed)
    if nulls is None:
        return found
    null_changes = [_changes(null, strengths)[0] for null in nulls]
    if any(null.shape != changes.shape for null in null_changes):
        raise AnalysisError(f"nulls have the shape of the readings, {readings.shape}; got {np.shape(nulls)[1:]}")
    return Linearity(
        **{name: getattr(found, name) for name in ("slope", "r2", "asymmetry", "homogeneity", "size", "bend")},
        nulls=tuple(_measured(null, gamma, repeats, seed) for null in null_changes if np.any(null)),
        moved=_moved(changes, null_changes, repeats, seed),
    )


def linearity_by_step(
    readings: np.ndarray, strengths: Sequence[float], nulls: np.ndarray | None = None, **options: int
) -> tuple[Linearity, ...]:
    """:func:`linearity` of each step: readings (n, strengths, steps) of a number, nulls (m, n, strengths, steps)."""
    return tuple(
        linearity(readings[:, :, step], strengths, None if nulls is None else nulls[..., step], **options)
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
    """How far two directions' changes fail to add up, 0 to 1.

    Args:
        none: f(0), (n,) of a number or (n, parts) of a vector.
        first: f(a), likewise.
        second: f(b).
        both: f(a + b).
        repeats: Draws of the bootstrap over samples.
        seed: Of these.

    Raises:
        AnalysisError: shapes that do not fit, or nothing changes.
    """
    parts = [_rows(part) for part in (none, first, second, both)]
    if len({part.shape for part in parts}) != 1:
        raise AnalysisError(f"f(0), f(a), f(b) and f(a+b) have one shape, got {[part.shape for part in parts]}")
    missed, moved = _missed_and_moved(parts)
    if not moved.any():
        raise AnalysisError("neither direction changes the readout: there is nothing to add up")
    (found,) = bootstrap_many(_column(ratio_of(missed, moved)), len(missed), repeats=repeats, seed=seed)
    return found


def additivity_contrast(
    measured: Sequence[Sequence[np.ndarray]],
    nulls: Sequence[Sequence[np.ndarray]],
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Contrast:
    """Additivity of pairs, each ``(f(0), f(a), f(b), f(a+b))``, against that of random pairs on the same samples.

    What several pairs miss and move is summed over them: they count as one.
    """
    above, below = np.sum([_missed_and_moved(pair) for pair in measured], 0)
    null_above, null_below = np.sum([_missed_and_moved(null) for null in nulls], 0)

    def statistic(counts: np.ndarray) -> np.ndarray:
        one, other = ratio_of(above, below)(counts), ratio_of(null_above, null_below)(counts)
        return np.stack([one, other, one - other], 1)

    found = bootstrap_many(statistic, len(above), repeats=repeats, seed=seed)
    return Contrast(measured=found[0], null=found[1], excess=found[2])


def _missed_and_moved(four: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """‖f(a+b) - f(a) - f(b) + f(0)‖ and ‖f(a) - f(0)‖ + ‖f(b) - f(0)‖ (n,) each."""
    f0, fa, fb, fab = map(_rows, four)
    missed = np.linalg.norm(fab - fa - fb + f0, axis=1)
    return missed, np.linalg.norm(fa - f0, axis=1) + np.linalg.norm(fb - f0, axis=1)


def homogeneity_statistic(changes: np.ndarray) -> Statistic:
    """The mean inner product of two different samples' changes (n, parts) over their mean square.

    A sample drawn twice is not a pair: pairs are of different samples only.
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
    """Changes (n, s, parts) from strength 0, at the other strengths (s,)."""
    readings, gamma = np.asarray(readings, np.float64), np.asarray(strengths, np.float64)
    if readings.ndim not in (2, 3) or readings.shape[1] != len(gamma):
        raise AnalysisError(
            f"readings are (samples, strengths) or (samples, strengths, parts) at {len(gamma)} strengths, "
            f"got {readings.shape}"
        )
    if len(readings) < 2:
        raise AnalysisError(f"linearity needs 2 samples or more, got {len(readings)}")
    if (gamma == 0).sum() != 1 or len(set(gamma)) != len(gamma) or len(gamma) < 2:
        raise AnalysisError(
            f"strengths are all different, with 0 among them, from which changes count; got {strengths}"
        )
    if not np.isfinite(readings).all():
        raise AnalysisError("readings hold values that are not finite; leave those samples out")
    readings = readings.reshape(*readings.shape[:2], -1)
    zero = int(np.flatnonzero(gamma == 0)[0])
    kept = np.arange(len(gamma)) != zero
    return readings[:, kept] - readings[:, [zero]], gamma[kept]


def _slopes(changes: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Every sample's line through 0 by least squares: (n, parts)."""
    return np.einsum("s,nsp->np", gamma, changes) / np.square(gamma).sum()


def _measured(changes: np.ndarray, gamma: np.ndarray, repeats: int, seed: int) -> Linearity:
    slopes = _slopes(changes, gamma)
    left = np.square(changes - slopes[:, None] * gamma[:, None]).sum((1, 2))
    total = np.square(changes).sum((1, 2))
    uneven, both_ways = _asymmetry_sums(changes, gamma)
    size = np.linalg.norm(changes, axis=2).sum(1) / np.abs(gamma).sum()
    statistics: dict[str, Statistic] = {
        "size": lambda counts: counts @ size / counts.sum(1),
        "homogeneity": homogeneity_statistic(slopes),
    }
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
    return Linearity(
        slope=found.get("slope"),
        r2=found.get("r2"),
        asymmetry=found.get("asymmetry"),
        homogeneity=found["homogeneity"],
        size=found["size"],
        bend=_bend(changes - slopes[:, None] * gamma[:, None], seed)
        if slopes.shape[1] == 1 and len(gamma) > 1
        else None,
    )


def _asymmetry_sums(changes: np.ndarray, gamma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Σ ‖r(γ) + r(-γ)‖ and Σ ‖r(γ)‖ + ‖r(-γ)‖ (n,) over the strengths that come with both signs."""
    uneven, both_ways = np.zeros(len(changes)), np.zeros(len(changes))
    for plus in np.flatnonzero(gamma > 0):
        for minus in np.flatnonzero(gamma == -gamma[plus]):
            a, b = changes[:, plus], changes[:, minus]
            uneven += np.linalg.norm(a + b, axis=1)
            both_ways += np.linalg.norm(a, axis=1) + np.linalg.norm(b, axis=1)
    return uneven, both_ways


def _bend(residuals: np.ndarray, seed: int) -> float:
    """p that the mean distance from the line is 0 at every strength."""
    return float(sign_flip_test(residuals[:, :, 0], seed=seed).min())


def _moved(changes: np.ndarray, nulls: Sequence[np.ndarray], repeats: int, seed: int) -> Contrast:
    """The mean size of the change against that under random directions, and p that one of these gives as much."""
    size = np.linalg.norm(changes, axis=2).mean(1)
    each = np.stack([np.linalg.norm(other, axis=2).mean(1) for other in nulls])
    null = each.mean(0)
    both = np.stack([size, null, size - null], 1)
    found = bootstrap_many(lambda counts: counts @ both / counts.sum(1)[:, None], len(size), repeats=repeats, seed=seed)
    p = p_of_size(float(size.mean()), each.mean(1))
    return Contrast(measured=found[0], null=found[1], excess=found[2], p=p)
