"""What measures are given: a run, the labels, the model when one asks for it, and the choices.

What several measures share is computed once here: the steps, the samples that directions are tried
on, and the directions themselves. These samples have no part in fitting them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cache.labels import find_label, named_labels
from ..cache.reading import Run
from ..directions.supervised import both_ends, difference_direction
from ..errors import UsageError, did_you_mean
from ..readers.reading import readers_of
from ..recipes.window import Window
from .groups import BY_RUN, groups_of
from .noise import spread_steps
from .parameter import Parameter

if TYPE_CHECKING:
    from ..directions.direction import Direction
    from .driver import Driver

STEPS = 5
"""Steps that are measured, evenly spread, beside those around log SNR 0."""

STRENGTHS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""That directions are tried at: up to moving h by its own spread, beyond which attributes come to
the end of their range and pictures break."""

SAMPLES = Parameter(
    name="samples",
    text="samples that edits are tried on, and pairs of swaps",
    default=16,
    least=0,
    most=10**6,
    sizes={"quick": 8, "thorough": 64},
    half_the_run=True,
)
NULLS = Parameter(
    name="nulls",
    text="random directions beside each, among which p is the rank; 19 let it reach 0.05",
    default=19,
    least=0,
    most=10**6,
    sizes={"thorough": 39},
)
NULL = Parameter(
    name="null",
    text="random directions: noise in h, or differences of random samples, harder to beat",
    default="samples",
    choices=("noise", "samples"),
)

TOGETHER = Parameter(
    name="groups",
    text="which samples belong together: run (as the run says), none, or a label that tells",
    default=BY_RUN,
)


@dataclass(frozen=True)
class Setting:
    """What a measure is taken of, and how.

    Args:
        run: The run.
        labels: Names; see :func:`~hcache.measures.suite.labels_of`.
        drive: Gives the driver of the run's model, when one is needed.
        options: The values of parameters by name; what is not there has its default.
        reader: The name of the reader to measure edits by; the run's first if empty.
    """

    run: Run
    labels: tuple[str, ...]
    drive: Callable[[], Driver]
    options: Mapping[str, Any] = field(default_factory=dict)
    reader: str = ""

    def __getitem__(self, parameter: Parameter) -> Any:
        """The value that was chosen for a parameter."""
        return self.options.get(parameter.name, parameter.default)

    @cached_property
    def driver(self) -> Driver:
        """The model with the reader of its pictures.

        Loads it at the first call.
        """
        return self.drive()

    @cached_property
    def steps(self) -> list[int]:
        """The steps that are measured by step."""
        return spread_steps(self.run, STEPS)

    @property
    def strengths(self) -> tuple[float, ...]:
        """The strengths that directions are tried at."""
        return STRENGTHS

    @property
    def tried(self) -> list[int]:
        """The samples that directions are tried on: the first of the run."""
        return self.run.sample_ids[: self[SAMPLES]].tolist()

    @cached_property
    def groups(self) -> np.ndarray | None:
        """Returns the number of every sample's group (n,).

        The run says which they are, or the label that was chosen. It is None if each sample is its
        own group.
        """
        return groups_of(self.run, self[TOGETHER])

    @cached_property
    def readable(self) -> list[str]:
        """The labels that the reader reads.

        By the reader's own names: directions can be measured by these.
        """
        chosen = self.chosen_reader
        read = self.run.labels.get(chosen, {})
        return [name for name in read if name in self.labels or f"{chosen}/{name}" in self.labels]

    def ends(self, name: str) -> tuple[list[int], list[int]]:
        """Samples with the most and with the least of a label.

        A quarter each of the samples that are not tried.
        """
        values = self._values(name).copy()
        rest = max(2, (len(self.run) - len(self.tried)) // 4)
        values[[self.run.position(sample) for sample in self.tried]] = np.nan
        return both_ends(self.run, values, rest)

    def _values(self, name: str) -> np.ndarray:
        """A label's values (n,): by its own name, or by the reader's name for it."""
        return find_label(
            self.run, name if name in named_labels(self.run) else f"{self.chosen_reader}/{name}"
        )

    @property
    def chosen_reader(self) -> str:
        """The name of the reader to measure edits by.

        Empty if there is none.

        Raises:
            UsageError: the wanted one is no reader of the run.
        """
        known = readers_of(self.run)
        if self.reader and self.reader not in known:
            raise UsageError(
                f"{self.reader!r} is no reader of {self.run.name}{did_you_mean(self.reader, known)}"
            )
        return self.reader or next(iter(known), "")

    @cached_property
    def moves(self) -> dict[str, Direction]:
        """The direction of every readable label.

        Fitted to the samples at its ends.
        """
        return {name: difference_direction(self.run, *self.ends(name)) for name in self.readable}

    @cached_property
    def movable(self) -> dict[str, Callable[[], Direction]]:
        """Returns a maker of the direction of every movable label.

        h can be moved along such a direction. The labels are those that the reader reads. If it
        reads none, they are all labels with more than one value: an edit needs no reader.
        """
        names = self.readable or [name for name in self.labels if self._varies(name)]
        return {name: lambda name=name: self._move(name) for name in names}

    def _move(self, name: str) -> Direction:
        found = self.moves.get(name)
        return difference_direction(self.run, *self.ends(name)) if found is None else found

    def _varies(self, name: str) -> bool:
        """Whether samples that are not tried have 2 values of a label or more."""
        rest = np.delete(self._values(name), [self.run.position(each) for each in self.tried])
        return len(np.unique(rest[np.isfinite(rest)])) > 1

    @property
    def whole(self) -> Window:
        """All steps."""
        return Window(first=0, last=self.run.spec.steps - 1)

    def share(self, window: Window) -> float:
        """The share of steps that are left from a window's first."""
        return 1 - window.first / self.run.spec.steps
