"""The verdict on models: what was measured on their runs, side by side, at equal noise.

Which is larger is said only where the interval of the difference, widened for all comparisons of
the table, does not hold 0, and only of figures from as many samples, by one definition and in one
unit. What was not measured has no cell, and it is said by which part of ``measure`` it would get
one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..analysis.estimate import known_order, ordered_groups, without_implied
from ..cache.labels import named_labels
from ..cache.reading import Run
from .cell import Cell
from .cells import cells_of
from .measure import LABEL, SITE, WHOLE
from .registry import is_older, registry

FEW = 4
"""Labels that are shown where none was measured yet, at most."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A question and the answers of all runs that have one.

    ``groups``: runs, every one of a group known to be larger than every one of the next.
    ``larger``: the pairs (larger, smaller) that are known, without those that follow from others.
    """

    question: str
    subject: str
    cells: Mapping[str, Cell]
    groups: tuple[tuple[str, ...], ...]
    larger: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        return (self.question, self.subject)


def compare(runs: Sequence[Run], labels: Sequence[str] | None = None) -> tuple[Row, ...]:
    """All questions that can be asked of some runs.

    In a fixed order, with the answers that there are.

    Args:
        runs: The runs.
        labels: To ask of; :func:`labels_to_ask` if None.
    """
    of_runs = {run.name: cells_of(run) for run in runs}
    labels = labels_to_ask(runs, of_runs) if labels is None else labels
    sites = dict.fromkeys(
        site for run in runs for site in run.anatomy.sites if not site.startswith("block.")
    )
    questions = registry().questions()
    keys = [
        key
        for of in (LABEL, WHOLE, SITE)
        for question in questions
        if question.of == of
        for key in question.keys(labels, tuple(sites))
    ]
    comparisons = sum(math.comb(sum(key in found for found in of_runs.values()), 2) for key in keys)
    return tuple(_row(key, of_runs, comparisons) for key in keys)


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
    if len({cell.estimate.n for cell in cells.values()}) > 1:
        return "different n"
    if len({_older(cell) for cell in cells.values()}) > 1:
        return "different definitions"
    return ""


def _older(cell: Cell) -> bool:
    return cell.evidence is not None and is_older(cell.evidence.kind, cell.evidence.parameters)


def _row(
    key: tuple[str, str], of_runs: Mapping[str, Mapping[tuple[str, str], Cell]], comparisons: int
) -> Row:
    cells = {name: found[key] for name, found in of_runs.items() if key in found}
    larger = ()
    if not why_not_ranked(cells):
        larger = without_implied(
            known_order({name: cell.estimate for name, cell in cells.items()}, comparisons)
        )
    return Row(
        question=key[0],
        subject=key[1],
        cells=cells,
        groups=ranking(cells, comparisons) if cells else (),
        larger=larger,
    )
