"""All that there is to be measured of a run, in parts: what the verdict is made of, from one call.

Every part is a generator that yields the share done; each stores its own results, so that what was
cancelled goes on where it stood. The samples that directions are tried on have no part in fitting
them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis.probes import is_binary, upper_class
from ..cache.labels import find_label, label_name, named_labels
from ..cache.layout import H, X
from ..cache.reading import Run
from ..directions.naive import top_samples
from ..directions.supervised import both_ends, difference_direction
from ..errors import UsageError, did_you_mean
from ..progress import part
from ..readers.reading import readers_of
from ..recipes.window import Window
from ..specs import FULL
from .codes import KINDS, codes, direction_cosines
from .decodability import alignment_of, decodability
from .noise import COARSE_EDGES, EDGES, spread_steps, windows_of

if TYPE_CHECKING:
    from ..directions.direction import Direction
    from .driver import Driver

DECODABILITY, ALIGNMENT, CODES, DIRECTIONS = "decodability", "alignment", "codes", "directions"
WINDOWS, ADDITIVITY, SWAPS = "windows", "additivity", "swaps"
WHAT = {
    DECODABILITY: "linear probes on h and on x_t",
    ALIGNMENT: "whether a label's positives agree in h",
    CODES: "DCI and SAP of h and x_t; cosines between directions",
    DIRECTIONS: "linearity, controllability and leakage of the labels' directions",
    WINDOWS: "controllability by noise level",
    ADDITIVITY: "whether two directions add up",
    SWAPS: "what h and every skip group carry, over all steps and by noise level",
}
"""What can be measured, cheapest first."""

NEED_MODEL = (DIRECTIONS, WINDOWS, ADDITIVITY, SWAPS)
STEPS = 5
"""Steps that are measured, evenly spread, beside those around log SNR 0."""

STRENGTHS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""That directions are tried at: up to moving h by its own spread, beyond which attributes come to
the end of their range and pictures break."""

WINDOW_SAMPLES = 8
"""Samples that a direction is tried on in every window, at most: there are several windows."""

Part = Generator[float, None, Any]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much to spend: ``samples`` that edits are tried on (pairs, of swaps), ``nulls`` random
    directions of kind ``null`` beside each."""

    samples: int = 16
    nulls: int = 19
    null: str = "samples"


@dataclass(frozen=True)
class Suite:
    """The measures of a run.

    Args:
        run: The run.
        labels: Names; see :func:`labels_of`.
        drive: Gives the driver of the run's model, when one is needed.
        sizes: How much to spend.
        reader: The name of the reader to measure edits by; the run's first if empty.
    """

    run: Run
    labels: tuple[str, ...]
    drive: Callable[[], Driver]
    sizes: Sizes = field(default_factory=Sizes)
    reader: str = ""

    def refused(self, what: Sequence[str]) -> dict[str, str]:
        """The parts that this run has nothing for, each with the reason and what to do."""
        read = f"add a reader: python -m hcache read {self.run.name} --reader …"
        found = {}
        for name in what:
            if not self.labels and name in (DECODABILITY, ALIGNMENT, CODES):
                found[name] = f"the run has no labels; {read}, or import labels"
            elif not self.readable and name in (DIRECTIONS, WINDOWS, ADDITIVITY):
                found[name] = f"no reader reads the run's edited pictures; {read}"
        return found

    def parts(self, what: Sequence[str]) -> Iterator[tuple[str, float, Part]]:
        """What each part is, in words; roughly what it costs; and the part."""
        makers = {
            DECODABILITY: self._decodability,
            ALIGNMENT: self._alignment,
            CODES: self._codes,
            DIRECTIONS: self._directions,
            WINDOWS: self._windows,
            ADDITIVITY: self._additivity,
            SWAPS: self._swaps,
        }
        for name in WHAT:
            if name in what:
                yield from makers[name]()

    def run_all(self, what: Sequence[str], tell: Callable[[str], None] = lambda _: None) -> Part:
        """All parts as one; ``tell`` is told what is being measured. What cannot be measured is
        said at once.
        """
        return self._run(list(self.parts(what)), tell)

    @staticmethod
    def _run(parts: Sequence[tuple[str, float, Part]], tell: Callable[[str], None]) -> Part:
        total, done = sum(cost for _, cost, _ in parts) or 1.0, 0.0
        for title, cost, work in parts:
            tell(title)
            yield from part(work, done / total, cost / total)
            done += cost
        yield 1.0

    @cached_property
    def driver(self) -> Driver:
        return self.drive()

    @cached_property
    def steps(self) -> list[int]:
        return spread_steps(self.run, STEPS)

    @property
    def tried(self) -> list[int]:
        """The samples that directions are tried on: the first of the run."""
        return self.run.sample_ids[: self.sizes.samples].tolist()

    @cached_property
    def readable(self) -> list[str]:
        """The labels that the reader reads, by the reader's own names: directions can be
        measured by these.
        """
        chosen = self.chosen_reader
        read = self.run.labels.get(chosen, {})
        return [name for name in read if name in self.labels or f"{chosen}/{name}" in self.labels]

    def ends(self, name: str) -> tuple[list[int], list[int]]:
        """A quarter of the samples that are not tried from either end of a label."""
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
        """The name of the reader to measure edits by; empty if there is none.

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
        return {name: difference_direction(self.run, *self.ends(name)) for name in self.readable}

    def _decodability(self) -> Iterator[tuple[str, float, Part]]:
        if not self.labels:
            return
        with_h = self.run.anatomy.h is not None and self.run.policy(H) == FULL
        sites = (H, X) if with_h else (X,)
        yield "decodability", 20.0, decodability(self.run, self.labels, sites, self.steps)

    def _alignment(self) -> Iterator[tuple[str, float, Part]]:
        for name in self.labels:
            values = find_label(self.run, name)
            count = (
                int(upper_class(values).sum()) if is_binary(values) else max(3, len(values) // 4)
            )
            positives = top_samples(self.run, values, count)
            yield (
                f"alignment of {name}",
                10.0,
                alignment_of(self.run, positives, self.steps, name=name),
            )

    def _codes(self) -> Iterator[tuple[str, float, Part]]:
        if not self.labels:
            return
        for kind, site in KINDS:
            yield (
                f"{kind} of {site}",
                40.0,
                codes(self.run, factors_of(self.run, self.labels), kind, site, self.steps),
            )
        if len(self.labels) > 1:
            ends = {name: self.ends(name) for name in self.labels}
            yield "cosines between directions", 10.0, direction_cosines(self.run, ends, self.steps)

    def _directions(self) -> Iterator[tuple[str, float, Part]]:
        from .driver import Grid
        from .edits import leakage_of
        from .responses import direction

        grid = Grid(samples=tuple(self.tried), window=self._whole, strengths=STRENGTHS)
        alone = float(len(self.tried) * (len(grid.strengths) - 1))
        for number, name in enumerate(self.readable):
            cost = alone * (
                1 + (self.sizes.nulls if number == 0 else 0)
            )  # the random ones serve all labels
            yield (
                f"direction of {name}",
                cost,
                self._later(
                    lambda name=name: direction(
                        self.driver,
                        self.moves[name],
                        grid,
                        name=name,
                        nulls=self.sizes.nulls,
                        null=self.sizes.null,
                    )
                ),
            )
        if self.readable:
            yield (
                "leakage",
                1.0,
                self._later(
                    lambda: leakage_of(
                        self.driver, self.moves, grid, nulls=self.sizes.nulls, null=self.sizes.null
                    )
                ),
            )

    def _windows(self) -> Iterator[tuple[str, float, Part]]:
        from .edits import controllability_over

        samples, windows = self.tried[:WINDOW_SAMPLES], windows_of(self.run, EDGES)
        alone = 2.0 * len(samples) * sum(self._share(window) for window in windows)
        for number, name in enumerate(self.readable):
            cost = alone * (1 + (self.sizes.nulls if number == 0 else 0))
            yield (
                f"{name} by noise level",
                cost,
                self._later(
                    lambda name=name: controllability_over(
                        self.driver,
                        self.moves[name],
                        windows,
                        samples,
                        name=name,
                        strength=max(STRENGTHS),
                        nulls=self.sizes.nulls,
                        null=self.sizes.null,
                    )
                ),
            )

    def _additivity(self) -> Iterator[tuple[str, float, Part]]:
        from .driver import Grid
        from .edits import additivity_of

        if (count := len(self.readable)) < 2:
            return
        nulls = max(1, self.sizes.nulls // 4)
        grid = Grid(samples=tuple(self.tried), window=self._whole, strengths=(0.0, max(STRENGTHS)))
        cost = float(len(self.tried) * (count + count * (count - 1) // 2 + 3 * nulls))
        yield (
            "additivity",
            cost,
            self._later(
                lambda: additivity_of(
                    self.driver, self.moves, grid, nulls=nulls, null=self.sizes.null
                )
            ),
        )

    def _swaps(self) -> Iterator[tuple[str, float, Part]]:
        from .swapping import Pairs, swaps

        pairs = Pairs.draw(self.run.sample_ids.tolist(), self.sizes.samples)
        each = 1.5 * self.sizes.samples * len(self.run.anatomy.sites)
        yield "swaps", 4 * each, self._later(lambda: swaps(self.driver, pairs, self._whole))
        for window in windows_of(self.run, COARSE_EDGES):
            title = f"swaps in steps {window.first} to {window.last}"
            yield (
                title,
                3 * each * self._share(window),
                self._later(lambda window=window: swaps(self.driver, pairs, window, own=False)),
            )

    @property
    def _whole(self) -> Window:
        return Window(first=0, last=self.run.spec.steps - 1)

    def _share(self, window: Window) -> float:
        """The share of steps that are left from a window's first."""
        return 1 - window.first / self.run.spec.steps

    @staticmethod
    def _later(make: Callable[[], Part]) -> Part:
        """A part that is begun when it is its turn: fitting directions and loading the model
        take their time.
        """
        yield 0.0
        return (yield from make())


def labels_of(run: Run, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """The labels to measure by: those that are wanted, or all.

    Raises:
        UsageError: there is none of that name.
    """
    known = list(named_labels(run))
    if wanted and not known:
        raise UsageError(
            f"run {run.name} has no labels; read some with `python -m hcache read`, or use"
            " labels-import"
        )
    return tuple(label_name(run, name) for name in wanted) or tuple(known)


def factors_of(run: Run, labels: Sequence[str]) -> list[str]:
    """The factors of DCI: all that the model's reader reads, wanted or not, since a code may
    serve any; else labels.
    """
    reader = next(iter(readers_of(run)), "")
    read = run.labels.get(reader, {}) if reader else {}
    named = named_labels(run)
    return [name for name in read if name in named] or list(labels)
