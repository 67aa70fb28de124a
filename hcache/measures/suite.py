"""All measures of a run, in parts, for a verdict from one call.

Every part is a generator that yields the share that is done. Each stores its own results, so
cancelled work continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..cache.labels import find_label, label_name, named_labels
from ..cache.reading import Run
from ..errors import AnalysisError, UsageError
from ..progress import part
from .costs import EDITED
from .duplicates import look_for_copies
from .faults import faults_named, is_ours
from .measure import Measure, Part, Work
from .registry import find_measure, measures
from .setting import Setting

STEP_WEIGHT, LEAST_WEIGHT = 0.02, 0.1
"""The weight of a model step relative to a second of linear algebra, and the smallest weight of a
part. They only affect the progress.
"""


class Suite(Setting):
    """Some measures of a run, taken one after the other."""

    def refused(self, what: Sequence[str]) -> dict[str, str]:
        """The measures that cannot be taken.

        Each has the reason and advice.
        """
        found = {name: find_measure(name).refused(self) for name in what}
        return {name: why for name, why in found.items() if why}

    def parts(self, what: Sequence[str]) -> Iterator[Part]:
        """Returns the parts of some measures, cheapest first.

        If a measure of another package cannot list its parts, it has one part, which fails. The
        measures before it are taken nevertheless.
        """
        for name, measure in measures().items():
            if name in what:
                yield from self._parts_of(measure)

    def _parts_of(self, measure: Measure) -> list[Part]:
        try:
            with faults_named(measure):
                return [
                    replace(each, work=_named(measure, each.work)) for each in measure.work(self)
                ]
        except AnalysisError as error:
            if is_ours(measure):
                raise
            return [Part(title=measure.title, work=_failed(error))]

    def seconds(self, what: Sequence[str], step_seconds: float | None) -> float | None:
        """Estimates the seconds that some measures take.

        It is None if one of them cannot be estimated.

        Args:
            what: The measures.
            step_seconds: The seconds that one sample takes for one step, as measured by an
                extraction of the model, or None.
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
        """Runs all parts as one. ``tell`` receives the title of the current part, and first of all
        which measures are left out.
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
                so_far = min(1.0, max(so_far, share))  # rounding may change the sum
                yield so_far
            done += weight
        yield 1.0

    def _weight(self, each: Part) -> float:
        rendered = each.passes * self.run.spec.steps * STEP_WEIGHT
        return max(LEAST_WEIGHT, (each.seconds or 0.0) + rendered)


def _named(measure: Measure, work: Work) -> Work:
    """Returns the work, with its faults reported as those of the measure."""
    with faults_named(measure):
        return (yield from work)


def _failed(error: AnalysisError) -> Work:
    """Returns work that fails when its turn comes."""
    yield 0.0
    raise error


def not_needed() -> Any:
    """Replaces the function that returns a driver.

    It is used if nothing is rendered, for example for an estimate.
    """
    raise UsageError("this measure renders pictures, and was asked for without a model")


def labels_of(run: Run, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the labels to measure.

    They are the wanted ones, or all that have more than one value.

    Raises:
        UsageError: there is no label of that name, or a wanted label has the same value everywhere.
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
    """Returns the value that all samples share for a label.

    It is given in digits, and is empty if the values differ.
    """
    values = find_label(run, name)
    values = values[np.isfinite(values)]
    return f"{values[0]:g}" if len(values) and np.ptp(values) == 0 else ""
