"""Settings of a benchmark: size, repetitions, and folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from .timing import Ratio


@dataclass(frozen=True, kw_only=True)
class BenchSetting:
    """Settings of a benchmark.

    ``quick``: as small as possible, only to test that it works. Its numbers mean nothing.
    ``rounds``: the repetitions of every timing.
    """

    work: Path
    quick: bool = False
    rounds: int = 5
    subject: str = "toyfaces"
    device: str = "cpu"
    dtype: str = "float32"

    def size(self, full: int, quick: int) -> int:
        """Returns the size to measure at, smaller for a quick run."""
        return quick if self.quick else full

    def at(self, name: str) -> BenchSetting:
        """Returns the same settings with another folder."""
        (self.work / name).mkdir(parents=True, exist_ok=True)
        return replace(self, work=self.work / name)


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """A row of the table. ``aim``: the largest acceptable ratio, or None if none was set.
    ``ratio`` is None if nothing could be measured. ``note`` then says why."""

    name: str
    what: str
    against: str
    aim: float | None = None
    ratio: Ratio | None = None
    unit: str = "s"
    note: str = ""
    on: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the aim is met, or None without aim or measurement."""
        return None if self.aim is None or self.ratio is None else self.ratio.ratio <= self.aim
