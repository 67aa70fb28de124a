"""The steps in which an edit acts, and how strongly in each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from ..errors import UsageError

CONSTANT, FALLING, RISING, BELL = "constant", "falling", "rising", "bell"
SHAPES = (CONSTANT, FALLING, RISING, BELL)

Step = Annotated[int, Meta(ge=0, le=2**53)]
Shape = Annotated[
    str,
    Meta(pattern=rf"^({'|'.join(SHAPES)})$(?!\n)", description=f"one of {', '.join(SHAPES)}"),
]


@dataclass(frozen=True, kw_only=True)
class Window:
    """The steps ``first`` to ``last``, both included.

    Step 0 has the most noise. ``shape`` is the strength over the steps. ``constant``: 1 in all
    steps. ``falling``: from 1 down in equal parts, not quite to 0. ``rising``: the reverse.
    ``bell``: half a sine, 1 in the middle.
    """

    first: Step
    last: Step
    shape: Shape = CONSTANT

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last:
            raise UsageError(
                f"a window of steps goes from first to last, got {self.first} to {self.last}"
            )
        if self.shape not in SHAPES:
            raise UsageError(
                f"the shape of a window is one of {', '.join(SHAPES)}; got {self.shape!r}"
            )

    def __contains__(self, index: int) -> bool:
        return self.first <= index <= self.last

    def weight(self, index: int) -> float:
        """Returns the factor of the strength at a step. It is 0 outside the window."""
        if index not in self:
            return 0.0
        place = (index - self.first + 0.5) / (self.last - self.first + 1)
        return {
            CONSTANT: 1.0,
            FALLING: 1 - (index - self.first) / (self.last - self.first + 1),
            RISING: (index - self.first + 1) / (self.last - self.first + 1),
            BELL: math.sin(math.pi * place),
        }[self.shape]

    @classmethod
    def down_to(cls, timesteps: Sequence[float], t_edit: float, shape: str = CONSTANT) -> Window:
        """Returns the steps with t >= ``t_edit``, as in Asyrp.

        Raises:
            UsageError: there is no such step.
        """
        inside = [index for index, t in enumerate(timesteps) if t >= t_edit]
        if not inside:
            raise UsageError(f"no step has t >= {t_edit:g}; the first is at {timesteps[0]:g}")
        return cls(first=inside[0], last=inside[-1], shape=shape)

    @classmethod
    def between(
        cls, timesteps: Sequence[float], t_high: float, t_low: float, shape: str = CONSTANT
    ) -> Window:
        """Returns the steps with ``t_high`` >= t >= ``t_low``.

        SkipInject gives windows in this way: from 1000 to 200.

        Raises:
            UsageError: there is no such step.
        """
        inside = [index for index, t in enumerate(timesteps) if t_high >= t >= t_low]
        if not inside:
            raise UsageError(
                f"no step has {t_high:g} >= t >= {t_low:g}; the steps go from {timesteps[0]:g} to"
                f" {timesteps[-1]:g}"
            )
        return cls(first=inside[0], last=inside[-1], shape=shape)
