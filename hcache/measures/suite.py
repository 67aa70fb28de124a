"""All that there is to be measured of a run, in parts: what the verdict is made of, from one call.

Every part is a generator that yields the share done; each stores its own results, so that what was
cancelled goes on where it stood.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..cache.labels import find_label, label_name, named_labels
from ..cache.reading import Run
from ..errors import UsageError
from ..progress import part
from .costs import EDITED
from .duplicates import look_for_copies
from .measure import Measure, Part, Work, faults_named
from .registry import find_measure, measures
from .setting import Setting

STEP_WEIGHT, LEAST_WEIGHT = 0.02, 0.1
"""What a step of the model counts beside a second of linear algebra, and a part at least: for the
share done alone."""


class Suite(Setting):
    """Some measures of a run, taken one after the other."""

    def refused(self, what: Sequence[str]) -> dict[str, str]:
        """The measures that cannot be taken.

        Each with the reason and what to do.
        """
        found = {name: find_measure(name).refused(self) for name in what}
        return {name: why for name, why in found.items() if why}

    def parts(self, what: Sequence[str]) -> Iterator[Part]:
        """The parts of some measures, cheapest first."""
        for name, measure in measures().items():
            if name in what:
                with faults_named(measure):
                    for each in measure.work(self):
                        yield replace(each, work=_named(measure, each.work))

    def seconds(self, what: Sequence[str], step_seconds: float | None) -> float | None:
        """Seconds that some measures take.

        None if one of them cannot be estimated.

        Args:
            what: The measures.
            step_seconds: That one sample takes for one step, as an extraction of the model
                measured it; None if none did.
        """
        total = 0.0
        for each in self.parts(what):
            if each.seconds is None or (each.passes and step_seconds is None):
                return None
            passes = each.passes * self.run.spec.steps * (step_seconds or 0.0)
            total += each.seconds + EDITED * passes
        return total

    def run_all(
        self, what: Sequence[str], tell: Callable[[str], None] = lambda _: None
    ) -> Generator[float, None, Any]:
        """All parts as one; ``tell`` is told what is being measured. What cannot be measured is
        said at once.
        """
        for name in what:
            find_measure(name)
        return self._run(list(self.parts(what)), tell)

    def _run(self, parts: Sequence[Part], tell: Callable[[str], None]) -> Work:
        weights = [self._weight(each) for each in parts]
        total, done, so_far = sum(weights) or 1.0, 0.0, 0.0
        yield from part(look_for_copies(self.run), 0.0, 0.0)
        for each, weight in zip(parts, weights, strict=True):
            tell(each.title)
            for share in part(each.work, done / total, weight / total):
                so_far = min(1.0, max(so_far, share))  # whatever rounding makes of sums
                yield so_far
            done += weight
        yield 1.0

    def _weight(self, each: Part) -> float:
        rendered = each.passes * self.run.spec.steps * STEP_WEIGHT
        return max(LEAST_WEIGHT, (each.seconds or 0.0) + rendered)


def _named(measure: Measure, work: Work) -> Work:
    """The work, with its faults told as those of the measure."""
    with faults_named(measure):
        return (yield from work)


def not_needed() -> Any:
    """Stands in place of what gives a driver.

    Where nothing is rendered: for an estimate, say.
    """
    raise UsageError("this measure renders pictures, and was asked for without a model")


def labels_of(run: Run, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the labels to measure by.

    They are those that are wanted, or all that have more than one value.

    Raises:
        UsageError: there is none of that name, or a wanted one has the same value everywhere.
    """
    known = list(named_labels(run))
    if wanted and not known:
        raise UsageError(
            f"run {run.name} has no labels; read some with `python -m hcache read`, or use"
            " labels-import"
        )
    for name in wanted:
        if value := value_of_all(run, name):
            raise UsageError(
                f"{name} is {value} in all samples of {run.name}: nothing can be measured by it;"
                " choose another label, or word the attribute in another way"
            )
    chosen = tuple(label_name(run, name) for name in wanted)
    return chosen or tuple(name for name in known if not value_of_all(run, name))


def value_of_all(run: Run, name: str) -> str:
    """Returns the value that all samples share of a label.

    It is given in digits, and is empty if the values differ.
    """
    values = find_label(run, name)
    values = values[np.isfinite(values)]
    return f"{values[0]:g}" if len(values) and np.ptp(values) == 0 else ""
