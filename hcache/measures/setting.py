"""The setting of measures: a run, the labels, the model on demand, and the choices.

Values that several measures share are computed once here: the steps, the samples that directions
are tried on, and the directions themselves. These samples take no part in the fit.
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
from ..similarities.registry import SIMILARITIES as REGISTERED
from .groups import BY_RUN, groups_of
from .noise import spread_steps
from .parameter import Parameter

if TYPE_CHECKING:
    from ..directions.direction import Direction
    from .driver import Driver, TrialGrid

STEPS = 5
"""The number of measured steps, evenly spread, besides those around log SNR 0."""

STRENGTHS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""The strengths that directions are tried at. They move h by at most its own spread. Beyond that,
attributes reach the end of their range and pictures break.
"""

SAMPLES = Parameter(
    name="samples",
    text="number of samples that edits are tried on, and of pairs of swaps",
    default=16,
    least=0,
    most=10**6,
    sizes={"quick": 8, "thorough": 64},
    half_the_run=True,
)
NULLS = Parameter(
    name="nulls",
    text="number of random directions for each direction; p is a rank among them, and 19 let it"
    " reach 0.05",
    default=19,
    least=0,
    most=10**6,
    sizes={"thorough": 39},
)
NULL = Parameter(
    name="null",
    text="kind of random directions: noise in h, or differences of random samples, which are"
    " harder to beat",
    default="samples",
    choices=("noise", "samples"),
)

_FURTHER = tuple(each.name for each in REGISTERED.values() if not each.always)

SIMILARITIES = Parameter(
    name="similarities",
    text=f"further similarities of pictures, parted by commas, or all: {', '.join(_FURTHER)}",
    default="",
    several=("all", *_FURTHER),
)

TOGETHER = Parameter(
    name="groups",
    text="which samples belong together: run (the run's own groups), none, or the name of a label",
    default=BY_RUN,
)


@dataclass(frozen=True)
class Setting:
    """What a measure is taken of, and how.

    Args:
        run: The run.
        labels: The names of labels; see :func:`~hcache.measures.suite.labels_of`.
        drive: Returns the driver of the run's model when it is needed.
        options: The values of parameters by name. Missing ones have their defaults.
        reader: The name of the reader that measures edits. If it is empty, it is the run's first.
    """

    run: Run
    labels: tuple[str, ...]
    drive: Callable[[], Driver]
    options: Mapping[str, Any] = field(default_factory=dict)
    reader: str = ""

    def __getitem__(self, parameter: Parameter) -> Any:
        """Returns the chosen value of a parameter."""
        return self.options.get(parameter.name, parameter.default)

    @cached_property
    def driver(self) -> Driver:
        """The model with the reader of its pictures.

        It is loaded at the first call.
        """
        return self.drive()

    @cached_property
    def steps(self) -> list[int]:
        """The measured steps."""
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
        """The labels that the reader reads, by the reader's own names.

        Directions can be measured with these labels.
        """
        chosen = self.chosen_reader
        read = self.run.labels.get(chosen, {})
        return [name for name in read if name in self.labels or f"{chosen}/{name}" in self.labels]

    def ends(self, name: str) -> tuple[list[int], list[int]]:
        """Returns samples from both ends of a label.

        Each end is a quarter of the samples that are not tried.
        """
        values = self.values(name).copy()
        rest = max(2, (len(self.run) - len(self.tried)) // 4)
        values[[self.run.position(sample) for sample in self.tried]] = np.nan
        return both_ends(self.run, values, rest)

    def values(self, name: str) -> np.ndarray:
        """Returns a label's values (n,).

        The name is its own or the reader's name for it.
        """
        return find_label(
            self.run, name if name in named_labels(self.run) else f"{self.chosen_reader}/{name}"
        )

    @property
    def chosen_reader(self) -> str:
        """The name of the reader that measures edits.

        It is empty if there is none.

        Raises:
            UsageError: the wanted reader is not one of the run.
        """
        known = readers_of(self.run)
        if self.reader and self.reader not in known:
            raise UsageError(
                f"{self.reader!r} is no reader of {self.run.name}{did_you_mean(self.reader, known)}"
            )
        return self.reader or next(iter(known), "")

    @cached_property
    def moves(self) -> dict[str, Direction]:
        """Returns the direction of every readable label.

        It is fitted to the samples at the label's ends.
        """
        return {name: difference_direction(self.run, *self.ends(name)) for name in self.readable}

    @cached_property
    def movable(self) -> dict[str, Callable[[], Direction]]:
        """Returns a maker of the direction of every movable label.

        These are the labels that the reader reads. If it reads none, they are all labels with more
        than one value, because an edit needs no reader.
        """
        names = self.readable or [name for name in self.labels if self._varies(name)]
        return {name: lambda name=name: self._move(name) for name in names}

    def _move(self, name: str) -> Direction:
        found = self.moves.get(name)
        return difference_direction(self.run, *self.ends(name)) if found is None else found

    def _varies(self, name: str) -> bool:
        """Returns whether the samples that are not tried have at least 2 values of a label."""
        rest = np.delete(self.values(name), [self.run.position(each) for each in self.tried])
        return len(np.unique(rest[np.isfinite(rest)])) > 1

    def grid(self, strengths: tuple[float, ...] = ()) -> TrialGrid:
        """Returns what directions are tried on, in all steps.

        ``strengths``: those of the setting if there are none.
        """
        from .driver import TrialGrid

        samples, strengths = tuple(self.tried), strengths or self.strengths
        return TrialGrid(samples=samples, window=self.whole, strengths=strengths)

    def with_randoms(self, count: int) -> list[tuple[str, int]]:
        """Lists the readable labels with how many random directions each is given.

        The random ones serve all labels, so the first alone is given them.
        """
        return [(name, 0 if number else count) for number, name in enumerate(self.readable)]

    @property
    def whole(self) -> Window:
        """All steps."""
        return Window(first=0, last=self.run.spec.steps - 1)

    def share(self, window: Window) -> float:
        """Returns the share of steps from a window's first step on."""
        return 1 - window.first / self.run.spec.steps
