"""The verdict on models: the results of their runs side by side, at equal noise.

A value counts as larger only if the interval of the difference, widened for all comparisons of the
table, does not contain 0. Only values from the same number of samples, with one definition and one
unit are compared. Runs of different sizes are compared by results for the first samples of each, as
many as the smallest has. Questions without a result have no cell, and the table names the part of
``measure`` that answers them.
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
from .faults import Tell, log_fault, told_once
from .kinds import SWAP
from .measure import LABEL, SITE, WHOLE
from .registry import is_older, registry

DIFFERENT_N = "different n"

FEW = 4
"""The largest number of labels to show if none was measured yet."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A question and the answers of all runs that have one.

    ``groups``: groups of runs. Every run of a group is known to be larger than every run of the
    next. ``larger``: the known pairs (larger, smaller), without those that follow from others.
    ``first``: the number of first samples of the answers in ``compared``; 0 if these are the cells
    themselves.
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

        The text is empty if the answers can be compared.
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
    runs: Sequence[Run],
    labels: Sequence[str] | None = None,
    reader: str = "",
    tell: Tell = log_fault,
) -> tuple[Row, ...]:
    """Answers all questions about some runs.

    The questions are in a fixed order, with the available answers.

    Args:
        runs: The runs.
        labels: The labels; None means :func:`labels_to_ask`.
        reader: The reader whose readings of edits are shown. If it is empty, it is each run's
            first.
        tell: It receives a line for each measure of another package that cannot read its results.
            The other rows are as they would be without it.
    """
    tell = told_once(tell)
    of_runs = {run.name: cells_of(run, reader, tell) for run in runs}
    labels = labels_to_ask(runs, of_runs) if labels is None else labels
    sites = dict.fromkeys(
        site for run in runs for site in run.anatomy.sites if not site.startswith("block.")
    )
    known = {question for found in of_runs.values() for question, _ in found}
    named = {question.rpartition(" ")[2] for question in known}
    others = dict.fromkeys(place for run in runs for place in _named_sites(run) if place in named)
    questions = registry().questions()
    keys = [
        key
        for of in (LABEL, WHOLE, SITE)
        for question in questions
        if question.of == of
        for key in question.keys(labels, tuple(sites | others))
        if any(key in found for found in of_runs.values())
        or not (
            question.asked_for or (question.of == SITE and question.asked_of(*key) not in sites)
        )
    ]
    comparisons = sum(math.comb(sum(key in found for found in of_runs.values()), 2) for key in keys)
    first = common_first(runs)
    cut = {}
    if first:
        cut = {run.name: cells_of(first_samples(run, first), tell=tell) for run in runs}
    return tuple(_row(key, of_runs, comparisons, first, cut) for key in keys)


def _named_sites(run: Run) -> tuple[str, ...]:
    """Returns all sites of a run's model, with single members of skip groups."""
    anatomy = run.anatomy
    members = (member for site in anatomy.sites for member in anatomy.members(site))
    return tuple(dict.fromkeys((*anatomy.all_sites, *members)))


def common_first(runs: Sequence[Run]) -> int:
    """Returns the number of first samples for comparing different runs.

    It is the largest number that all runs can be cut to. It is 0 if all have the same number of
    samples, or if there is no such number.
    """
    if len({len(run) for run in runs}) < 2:
        return 0
    shared = set.intersection(*(set(first_counts(run)) for run in runs))
    return max(shared, default=0)


def labels_to_ask(
    runs: Sequence[Run], of_runs: Mapping[str, Mapping[tuple[str, str], Cell]] | None = None
) -> tuple[str, ...]:
    """Returns the labels that were measured for any of the runs.

    If none was measured, it returns the first few labels. It does not tell the faults of measures;
    :func:`compare` does.
    """
    if of_runs is None:
        of_runs = {run.name: cells_of(run, tell=_ignored) for run in runs}
    known = tuple(dict.fromkeys(name for run in runs for name in named_labels(run)))
    of_labels = {each.name for each in registry().questions() if each.of == LABEL}
    asked = {
        subject
        for cells in of_runs.values()
        for question, subject in cells
        if question in of_labels
    }
    return tuple(name for name in known if name in asked) or known[:FEW]


def _ignored(line: str) -> None:
    """Takes the line of a fault that is told elsewhere."""


def ranking(
    cells: Mapping[str, Cell], comparisons: int | None = None
) -> tuple[tuple[str, ...], ...]:
    """Returns runs in groups, the largest first.

    Runs within a group are not all ranked. Answers that cannot be compared are never ranked.

    Args:
        cells: The cells by run.
        comparisons: The number of comparisons in the whole table. None means those of these runs.
    """
    if why_not_ranked(cells):
        return (tuple(cells),)
    return ordered_groups({name: cell.estimate for name, cell in cells.items()}, comparisons)


def why_not_ranked(cells: Mapping[str, Cell]) -> str:
    """Says why some runs' answers cannot be compared at all.

    It is empty if they can.
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
    """Returns the number of samples of the run if something is fitted to them. A swap fits
    nothing.
    """
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
