"""The result of every measure: a number with its interval, its number of samples and its null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its interval.

    ``value`` is from ``n`` samples. The true value lies between ``low`` and ``high`` at ``level``.
    If the quantity is not defined on these samples, ``why`` gives the reason, and the numbers are
    NaN.
    """

    value: float
    low: float
    high: float
    n: int
    level: float = LEVEL
    why: str = ""

    @classmethod
    def undefined(cls, why: str, n: int) -> Estimate:
        """Returns an estimate for a quantity that is not defined.

        The reason is in words.
        """
        return cls(value=math.nan, low=math.nan, high=math.nan, n=n, why=why)

    @property
    def defined(self) -> bool:
        """Whether there is a number with an interval."""
        return all(map(math.isfinite, (self.value, self.low, self.high)))

    def samples_for(self, width: float) -> int:
        """Estimates how many samples an interval of some width needs.

        ``width`` is of a quantity such as this one. The width of an interval shrinks with the
        square root of the number of samples, and this estimate serves as the pilot.

        Raises:
            ValueError: the width is not above 0.
        """
        if not width > 0:
            raise ValueError(f"the width of an interval must be above 0, got {width}")
        if not self.defined:
            raise ValueError(
                f"this quantity is undefined here ({self.why}): its variation is unknown"
            )
        return max(2, math.ceil(self.n * ((self.high - self.low) / width) ** 2 - 1e-6))

    def __str__(self) -> str:
        if not self.defined:
            return f"undefined: {self.why or 'it is not defined on these samples'}"
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    def covers(self, truth: float) -> bool:
        """Returns whether a number lies in the interval, including its ends."""
        return self.low <= truth <= self.high

    def to_json(self) -> dict[str, Any]:
        """Returns plain data, as JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Estimate:
        """Returns the estimate from the data of ``to_json``."""
        numbers = {
            name: math.nan if data[name] is None else data[name]
            for name in ("value", "low", "high")
        }
        return cls(**numbers, n=data["n"], level=data["level"], why=data.get("why", ""))


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A measure and its null for the same samples.

    ``excess`` is ``measured - null``, resampled as a pair. ``p`` is the probability that the null
    gives as much, if it was tested.
    """

    measured: Estimate
    null: Estimate
    excess: Estimate
    p: float | None = None

    @property
    def above_null(self) -> bool:
        """Whether the whole interval of the excess lies above 0."""
        return self.excess.low > 0

    def to_json(self) -> dict[str, Any]:
        """Returns plain data, as JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Contrast:
        """Returns the contrast from the data of ``to_json``."""
        return cls(
            **{name: Estimate.from_json(data[name]) for name in ("measured", "null", "excess")},
            p=data["p"],
        )


def difference_interval(a: Estimate, b: Estimate, comparisons: int = 1) -> tuple[float, float]:
    """Returns the interval of ``a - b`` from two intervals (MOVER).

    Both are of independent samples. With d = a - b, its ends are d - √((a - a_low)² + (b_high -
    b)²) and d + √((a_high - a)² + (b - b_low)²). For a family of ``comparisons``, each arm is
    widened by the ratio of normal quantiles (Bonferroni), so that the level holds for all of them
    together.

    References:
        Construction of confidence limits about effect measures: a general approach (Zou, Donner,
        2008), https://doi.org/10.1002/sim.3095
    """
    alpha = 1 - a.level
    from scipy.stats import norm  # slow to import, and commands that only show estimates need none

    wider = float(norm.isf(alpha / (2 * max(1, comparisons))) / norm.isf(alpha / 2))
    difference = a.value - b.value
    down = wider * math.hypot(a.value - a.low, b.high - b.value)
    up = wider * math.hypot(a.high - a.value, b.value - b.low)
    return difference - down, difference + up


def known_order(
    estimates: Mapping[str, Estimate], comparisons: int | None = None
) -> tuple[tuple[str, str], ...]:
    """Returns the pairs (larger, smaller) whose order is known.

    A pair is known if the interval of its difference, at the level of the whole family, does not
    contain 0. Estimates that are undefined are not compared. Neither are estimates from different
    numbers of samples, because many quantities grow with that number.

    Args:
        estimates: Estimates by name, from independent samples.
        comparisons: The number of comparisons in the family. None means the pairs of these
            estimates.
    """
    known = {name: found for name, found in estimates.items() if found.defined}
    names = sorted(known, key=lambda name: (-known[name].value, name))
    pairs = list(combinations(names, 2))
    count = len(pairs) if comparisons is None else comparisons
    return tuple(
        (a, b)
        for a, b in pairs
        if known[a].n == known[b].n and difference_interval(known[a], known[b], count)[0] > 0
    )


def without_implied(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Removes pairs (larger, smaller) that other pairs imply.

    From a > b and b > c follows a > c.
    """
    known = set(pairs)
    names = {name for pair in pairs for name in pair}
    return tuple(
        (a, c) for a, c in pairs if not any((a, b) in known and (b, c) in known for b in names)
    )


def not_exceeded(
    estimates: Mapping[str, Estimate], comparisons: int | None = None
) -> tuple[str, ...]:
    """Returns the names that no other is known to exceed.

    The largest value is first. They need not be equal: two of them may differ by less than their
    intervals show, and a third may be known to be smaller than one of them only
    (:func:`known_order`). Undefined estimates are left out.
    """
    exceeded = {smaller for _, smaller in known_order(estimates, comparisons)}
    found = (name for name, each in estimates.items() if each.defined and name not in exceeded)
    return tuple(sorted(found, key=lambda name: (-estimates[name].value, name)))


def ordered_groups(
    estimates: Mapping[str, Estimate], comparisons: int | None = None
) -> tuple[tuple[str, ...], ...]:
    """Returns the names in groups, largest values first.

    Names within a group are not all ranked. Every name of a group is known to be larger than every
    name of the next (:func:`known_order`). Undefined estimates are in no group.
    """
    names = sorted(
        (name for name in estimates if estimates[name].defined),
        key=lambda name: (-estimates[name].value, name),
    )
    larger = set(known_order(estimates, comparisons))
    groups: list[tuple[str, ...]] = []
    start = 0
    for end in range(1, len(names) + 1):
        if all((a, b) in larger for a in names[start:end] for b in names[end:]):
            groups.append(tuple(names[start:end]))
            start = end
    return tuple(groups)
