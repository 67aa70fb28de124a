"""How large and how often a benchmark is, and where it may write."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from .timing import Ratio


@dataclass(frozen=True, kw_only=True)
class BenchSetting:
    """``quick``: as small as it gets, to see that it works.

    Its figures mean nothing. ``rounds``: of every timing.
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
        """The same with a folder of its own."""
        (self.work / name).mkdir(parents=True, exist_ok=True)
        return replace(self, work=self.work / name)


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """A row of the table. ``aim``: the largest ratio that would do; None where none was set.
    ``ratio`` is None where nothing could be measured, and ``note`` says why."""

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
        """None where there is no aim or no measurement."""
        return None if self.aim is None or self.ratio is None else self.ratio.ratio <= self.aim
