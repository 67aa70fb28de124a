"""The verdict on models: what was measured on their runs, side by side, at equal noise.

Which is larger is said only where the interval of the difference, widened for all comparisons of
the table, does not hold 0, and only of figures from as many samples, by one definition and in one
unit. Runs of different sizes are compared by what was measured on the first samples of each, as
many as the smallest has. What was not measured has no cell, and it is said by which part of
``measure`` it would get one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..analysis.estimate import known_order, ordered_groups, without_implied
from ..cache.labels import named_labels
from ..cache.reading import Run, first_counts, first_samples
from .cell import Cell
from .cells import cells_of
from .kinds import SWAP
from .measure import LABEL, SITE, WHOLE
from .registry import is_older, registry

DIFFERENT_N = "different n"

FEW = 4
"""Labels that are shown where none was measured yet, at most."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A question and the answers of all runs that have one.

    ``groups``: runs, every one of a group known to be larger than every one of the next.
    ``larger``: the pairs (larger, smaller) that are known, without those that follow from others.
    ``first``: of how many first samples the compared answers are, in ``compared``; 0 where these
    are the cells themselves.
    """

    question: str
    subject: str
    cells: Mapping[str, Cell]
    groups: tuple[tuple[str, ...], ...]
    larger: tuple[tuple[str, str], ...] = ()
    first: int = 0
    compared: Mapping[str, Cell] = field(default_factory=dict)
    common: int = 0

    @property
    def why_not(self) -> str:
        """Says why nothing is ranked, and what to do.

        The text is empty where the answers compare.
        """
        why = "" if self.first else why_not_ranked(self.cells)
        if why == DIFFERENT_N and self.common:
            return f"{why}; take `python -m hcache measure RUN --first {self.common}` of each"
        return why

    @property
    def key(self) -> tuple[str, str]:
        """The question and the subject, which tell the row from others."""
        return (self.question, self.subject)


def compare(
    runs: Sequence[Run], labels: Sequence[str] | None = None, reader: str = ""
) -> tuple[Row, ...]:
    """Answers all questions that can be asked of some runs.

    The questions are in a fixed order, with the answers that there are.

    Args:
        runs: The runs.
        labels: To ask of; :func:`labels_to_ask` if None.
        reader: Whose readings of edits are told; each run's first if empty.
    """
    of_runs = {run.name: cells_of(run, reader) for run in runs}
    labels = labels_to_ask(runs, of_runs) if labels is None else labels
    sites = dict.fromkeys(
        site for run in runs for site in run.anatomy.sites if not site.startswith("block.")
    )
    places = (place for run in runs for place in run.anatomy.places)
    known = {question for found in of_runs.values() for question, _ in found}
    sites |= dict.fromkeys(p for p in places if any(each.endswith(f" {p}") for each in known))
    questions = registry().questions()
    keys = [
        key
        for of in (LABEL, WHOLE, SITE)
        for question in questions
        if question.of == of
        for key in question.keys(labels, tuple(sites))
        if not question.asked_for or any(key in found for found in of_runs.values())
    ]
    comparisons = sum(math.comb(sum(key in found for found in of_runs.values()), 2) for key in keys)
    first = common_first(runs)
    cut = {run.name: cells_of(first_samples(run, first)) for run in runs} if first else {}
    return tuple(_row(key, of_runs, comparisons, first, cut) for key in keys)


def common_first(runs: Sequence[Run]) -> int:
    """The number of first samples at which runs of different sizes compare.

    It is the largest that all can be cut to. 0 where all have as many samples, or none is possible.
    """
    if len({len(run) for run in runs}) < 2:
        return 0
    shared = set.intersection(*(set(first_counts(run)) for run in runs))
    return max(shared, default=0)


def labels_to_ask(
    runs: Sequence[Run], of_runs: Mapping[str, Mapping[tuple[str, str], Cell]] | None = None
) -> tuple[str, ...]:
    """The labels by which any of the runs was measured.

    The first few that there are, if none was.
    """
    of_runs = of_runs if of_runs is not None else {run.name: cells_of(run) for run in runs}
    known = tuple(dict.fromkeys(name for run in runs for name in named_labels(run)))
    of_labels = {each.name for each in registry().questions() if each.of == LABEL}
    asked = {
        subject
        for cells in of_runs.values()
        for question, subject in cells
        if question in of_labels
    }
    return tuple(name for name in known if name in asked) or known[:FEW]


def ranking(
    cells: Mapping[str, Cell], comparisons: int | None = None
) -> tuple[tuple[str, ...], ...]:
    """Runs in groups, the largest first.

    Not all is ranked within a group, and nothing of what does not compare.

    Args:
        cells: By run.
        comparisons: Of the whole table; those of these runs if None.
    """
    if why_not_ranked(cells):
        return (tuple(cells),)
    return ordered_groups({name: cell.estimate for name, cell in cells.items()}, comparisons)


def why_not_ranked(cells: Mapping[str, Cell]) -> str:
    """Why some runs' answers do not compare at all.

    Empty where they do.
    """
    if len({cell.unit for cell in cells.values()}) > 1:
        return "different units"
    if (
        len({cell.estimate.n for cell in cells.values()}) > 1
        or len({_samples(cell) for cell in cells.values()}) > 1
    ):
        return DIFFERENT_N
    if len({_older(cell) for cell in cells.values()}) > 1:
        return "different definitions"
    return ""


def _older(cell: Cell) -> bool:
    return cell.evidence is not None and is_older(cell.evidence.kind, cell.evidence.parameters)


def _samples(cell: Cell) -> int:
    """Of how many samples the run was, where something is fitted on them; a swap fits nothing."""
    if cell.evidence is None or cell.evidence.kind == SWAP:
        return 0
    return cell.evidence.samples


_Cells = Mapping[str, Mapping[tuple[str, str], Cell]]


def _row(key: tuple[str, str], of_runs: _Cells, comparisons: int, first: int, cut: _Cells) -> Row:
    cells = {name: found[key] for name, found in of_runs.items() if key in found}
    compared, at = cells, 0
    if why_not_ranked(cells):
        equal = {name: cut[name][key] for name in cells if key in cut.get(name, {})}
        if len(equal) == len(cells) and not why_not_ranked(equal):
            compared, at = equal, first
    larger = ()
    if not why_not_ranked(compared):
        larger = without_implied(
            known_order({name: cell.estimate for name, cell in compared.items()}, comparisons)
        )
    return Row(
        question=key[0],
        subject=key[1],
        cells=cells,
        groups=ranking(compared, comparisons) if compared else (),
        larger=larger,
        first=at,
        compared=compared,
        common=first,
    )
