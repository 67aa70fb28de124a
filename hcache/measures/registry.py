"""All measures: those of this package, and those of installed packages.

Another package adds a measure by an entry point in the group ``hcache.measures``. The entry's name
is the measure's, and its value names a :class:`~hcache.measures.measure.Measure`, as
``package.module:MEASURE``. If a measure cannot be used, or its names already have another meaning,
it is left out with one line of explanation. Listing measures does not import torch.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..errors import UsageError, did_you_mean
from ..registry import Registry
from .by_cell import ByCell
from .measure import SECTIONS, Measure, Question
from .parameter import Parameter

OLDER = "measured by an older definition; measure again"

DECLARED = (
    "decodability",
    "alignment",
    "codes",
    "components",
    "cka",
    "maps",
    "sparse",
    "directions",
    "sites",
    "steering",
    "likeness",
    "windows",
    "additivity",
    "random",
    "swaps",
)
"""The modules in ``declared/``, each with its measure as ``MEASURE``, cheapest first."""

TAKEN = (
    "what label width reader encoder lpips device json status home help forget_stale run_name run"
    " labels options"
).split()
"""Names that the command or a task already uses. No parameter may have them."""

TAKEN_BY_PROBES = "measure label site step curve json home help run_name run".split()
"""Likewise of the command ``probe``."""


def _check(name: str, found: Any) -> None:
    if not isinstance(found, Measure):
        raise TypeError(f"expected an hcache.measures.measure.Measure, got {type(found).__name__}")
    if found.name != name or not name.isidentifier():
        raise TypeError(f"the entry {name!r} and its measure {found.name!r} have one name, a word")


MEASURES = Registry[Measure](
    "hcache.measures",
    "measure",
    {name: f"{__package__}.declared.{name}:MEASURE" for name in DECLARED},
    _check,
)


@dataclass(frozen=True, kw_only=True)
class Known:
    """The measures by name, in order.

    ``refused`` has a line for each measure that cannot be used.
    """

    measures: dict[str, Measure] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def add(self, measure: Measure) -> None:
        """Adds a measure.

        Raises:
            UsageError: one of its names already has another meaning.
        """
        known = self.parameters()
        for parameter in measure.parameters:
            if parameter.name in TAKEN or known.get(parameter.name, parameter) != parameter:
                raise UsageError(
                    f"its parameter {parameter.name!r} means something else already; rename it"
                )
        self._check_by_cell(measure)
        for kind in measure.cells:
            if any(kind in other.cells for other in self.measures.values()):
                raise UsageError(f"results of the kind {kind!r} are another's; rename it")
        for kind in measure.definitions:
            if any(kind in (*other.cells, *other.definitions) for other in self.measures.values()):
                raise UsageError(f"results of the kind {kind!r} are another's; rename it")
        for question in measure.questions:
            if any(question.clashes(other) for other in self.questions()):
                raise UsageError(f"its question {question.name!r} is taken; rename it")
        self.measures[measure.name] = measure

    def _check_by_cell(self, measure: Measure) -> None:
        """Refuses a parameter of the command ``probe`` that means something else already."""
        known = self.probe_parameters()
        for parameter in measure.by_cell.parameters if measure.by_cell else ():
            name = parameter.name
            if name in TAKEN_BY_PROBES or known.get(name, parameter) != parameter:
                raise UsageError(
                    f"its parameter {name!r} of probes means something else already; rename it"
                )

    def by_cell(self) -> dict[str, ByCell]:
        """What is measured cell by cell, by the measure's name."""
        return {name: each.by_cell for name, each in self.measures.items() if each.by_cell}

    def probe_parameters(self) -> dict[str, Parameter]:
        """The parameters of all measures that are taken cell by cell."""
        return {each.name: each for found in self.by_cell().values() for each in found.parameters}

    def parameters(self) -> dict[str, Parameter]:
        """Returns the parameters of all measures, by name."""
        return {
            parameter.name: parameter
            for measure in self.measures.values()
            for parameter in measure.parameters
        }

    def definition(self, kind: str) -> int:
        """Returns the version of the definition of a kind of result.

        Versions start at 1.
        """
        said = [each.definitions.get(kind, 1) for each in self.measures.values()]
        return max(said, default=1)

    def questions(self) -> list[Question]:
        """Returns all questions, in the order of the verdict's table."""
        found = [each for measure in self.measures.values() for each in measure.questions]
        sections = list(dict.fromkeys([*SECTIONS, *(each.section for each in found)]))
        return sorted(found, key=lambda each: sections.index(each.section))


def registry() -> Known:
    """Returns all measures.

    They are found once, and again when ``sys.path`` has changed.
    """
    return _known(tuple(sys.path))


@lru_cache(maxsize=1)
def _known(_: tuple[str, ...]) -> Known:
    found = Known()
    for name, measure in zip(MEASURES, MEASURES.values(), strict=True):
        try:
            found.add(measure)
        except Exception as error:  # other packages may provide anything
            where = getattr(measure.parts, "__module__", "an unknown module")
            why = " ".join(str(error).split())
            line = f"hcache: the measure {name!r} of the module {where} is left out; {why}"
            logging.getLogger(__name__).warning("%s", line)
            found.refused.append(line)
    found.refused.extend(MEASURES.problems())
    return found


def measures() -> Mapping[str, Measure]:
    """Returns the measures by name."""
    return registry().measures


def find_measure(name: str) -> Measure:
    """Returns a measure by name.

    Raises:
        UsageError: there is no such measure. The message names the nearest.
    """
    known = measures()
    if name not in known:
        raise UsageError(
            f"no measure {str(name)[:60]!r}{did_you_mean(name, known)}; there are"
            f" {', '.join(known)}"
        )
    return known[name]


def is_older(kind: str, parameters: Mapping[str, Any]) -> bool:
    """Returns whether a stored result has an older definition."""
    return parameters.get("definition", 1) < registry().definition(kind)


def as_of_today(kind: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns parameters with the present version of their definition."""
    definition = registry().definition(kind)
    return {**parameters, **({"definition": definition} if definition > 1 else {})}


def parameters_of(what: Iterable[str]) -> dict[str, Parameter]:
    """Returns the parameters of some measures, by name."""
    chosen = [find_measure(name) for name in what]
    return {each.name: each for measure in chosen for each in measure.parameters}


def find_question(question: str, subject: str) -> Question | None:
    """Returns the question of a row of the verdict.

    It is None if no measure has it.
    """
    known = registry().questions()
    return next((each for each in known if each.asks(question, subject)), None)


def measured_by(question: str, subject: str) -> str:
    """Returns the measure that answers a question, or "" if none does."""
    for name, measure in measures().items():
        if any(each.asks(question, subject) for each in measure.questions):
            return name
    return ""
