"""The steps in which an edit acts."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Window:
    """Steps ``first`` to ``last``, both included; step 0 has most noise."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last:
            raise UsageError(f"a window of steps goes from first to last, got {self.first} to {self.last}")

    def __contains__(self, index: int) -> bool:
        return self.first <= index <= self.last
