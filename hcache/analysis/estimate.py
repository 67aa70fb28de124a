"""What every measure says: a number with its interval and the number of samples behind it, and
beside it its null.
"""

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

    ``value`` is of ``n`` samples; the truth lies between ``low`` and ``high`` at ``level``.

    ``why``: why there is no number, where the quantity is not defined on these samples; the others
    are then NaN.
    """

    value: float
    low: float
    high: float
    n: int
    level: float = LEVEL
    why: str = ""

    @classmethod
    def undefined(cls, why: str, n: int) -> Estimate:
        """What stands in place of a number that is not defined.

        These samples do not define it; the reason is in words.
        """
        return cls(value=math.nan, low=math.nan, high=math.nan, n=n, why=why)

    @property
    def defined(self) -> bool:
        """Whether there is a number with an interval."""
        return all(map(math.isfinite, (self.value, self.low, self.high)))

    def samples_for(self, width: float) -> int:
        """Roughly how many samples an interval of some width takes.

        ``width`` is of a quantity such as this one.

        An interval shrinks with the root of the number of samples; this estimate is taken as the
        pilot.

        Raises:
            ValueError: a width that is not above 0.
        """
        if not width > 0:
            raise ValueError(f"the width of an interval is above 0, got {width}")
        if not self.defined:
            raise ValueError(
                f"this quantity is undefined here ({self.why}): it says nothing of how it varies"
            )
        return max(2, math.ceil(self.n * ((self.high - self.low) / width) ** 2 - 1e-6))

    def __str__(self) -> str:
        if not self.defined:
            return f"undefined: {self.why or 'it is not defined on these samples'}"
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    def covers(self, truth: float) -> bool:
        """Whether a number lies in the interval, its ends included."""
        return self.low <= truth <= self.high

    def to_json(self) -> dict[str, Any]:
        """Returns plain data, as JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Estimate:
        """The estimate that ``to_json`` gave these data."""
        numbers = {
            name: math.nan if data[name] is None else data[name]
            for name in ("value", "low", "high")
        }
        return cls(**numbers, n=data["n"], level=data["level"], why=data.get("why", ""))


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A measure and its null, of the same samples.

    ``excess`` is ``measured - null``, resampled as a pair.

    ``p``: how often the null alone would give as much, if that was tested.
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
        """The contrast that ``to_json`` gave these data."""
        return cls(
            **{name: Estimate.from_json(data[name]) for name in ("measured", "null", "excess")},
            p=data["p"],
        )


def difference_interval(a: Estimate, b: Estimate, comparisons: int = 1) -> tuple[float, float]:
    """The interval of ``a - b`` from two intervals (MOVER).

    Both are of independent samples.

    With d = a - b, its ends are d - √((a - a_low)² + (b_high - b)²) and d + √((a_high - a)² + (b -
    b_low)²). For a family of ``comparisons`` each arm is widened by the ratio of normal quantiles
    (Bonferroni), so that the level holds for all of them together.

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
    """The pairs (larger, smaller) whose order is known.

    Of the others nothing is said.

    A pair is known if the interval of its difference, at the level of the whole family, does not
    hold 0. Estimates that are undefined, or of different numbers of samples (many quantities grow
    with that number), are compared with none.

    Args:
        estimates: By name, of independent samples.
        comparisons: How many comparisons the family has; the pairs of these estimates if None.
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
    """Pairs (larger, smaller) without those that others imply.

    From a > b and b > c follows a > c.
    """
    known = set(pairs)
    names = {name for pair in pairs for name in pair}
    return tuple(
        (a, c) for a, c in pairs if not any((a, b) in known and (b, c) in known for b in names)
    )


def ordered_groups(
    estimates: Mapping[str, Estimate], comparisons: int | None = None
) -> tuple[tuple[str, ...], ...]:
    """The names in groups, largest values first.

    Within a group not all is ranked.

    Every name of a group is known to be larger than every name of the next (:func:`known_order`).
    What is undefined is in no group.
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
