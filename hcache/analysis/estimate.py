"""What every measure says: a number with its interval and the number of samples behind it, and beside it its null."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """``value`` of ``n`` samples, and the interval ``low`` to ``high`` in which the truth lies at ``level``."""

    value: float
    low: float
    high: float
    n: int
    level: float = LEVEL

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    def covers(self, truth: float) -> bool:
        """Whether a number lies in the interval, its ends included."""
        return self.low <= truth <= self.high

    def overlaps(self, other: Estimate) -> bool:
        """Whether two intervals have a number in common. If they do, neither is said to be the larger."""
        return self.low <= other.high and other.low <= self.high

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Estimate:
        """The estimate that ``to_json`` gave these data."""
        return cls(**{name: data[name] for name in ("value", "low", "high", "n", "level")})


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A measure and its null, of the same samples: ``excess`` is ``measured - null``, resampled as a pair.

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
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Contrast:
        """The contrast that ``to_json`` gave these data."""
        return cls(**{name: Estimate.from_json(data[name]) for name in ("measured", "null", "excess")}, p=data["p"])


def ordered_groups(estimates: Mapping[str, Estimate]) -> tuple[tuple[str, ...], ...]:
    """The names in groups, largest values first; within a group nothing is ranked.

    Two names whose intervals overlap are in one group, and so is whatever they overlap in turn: every interval of
    a group then lies wholly above every interval of the next.
    """
    groups: list[list[str]] = []
    floor = float("nan")
    for name in sorted(estimates, key=lambda name: (-estimates[name].high, name)):
        found = estimates[name]
        if groups and found.high >= floor:
            groups[-1].append(name)
            floor = min(floor, found.low)
        else:
            groups.append([name])
            floor = found.low
    return tuple(tuple(sorted(group, key=lambda name: (-estimates[name].value, name))) for group in groups)
