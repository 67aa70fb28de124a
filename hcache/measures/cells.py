"""Stored results as the cells of a verdict: one number per question, with its interval, its null
and p.

Only p values of families are computed here, and no model is loaded. What was not measured is
missing. Each measure reads its own results (:mod:`~hcache.measures.registry`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..analysis.permutation import family_p, holm, over_parts
from ..cache.labels import named_labels
from ..cache.reading import Run
from ..cache.records import Record
from ..readers.checks import error_of
from ..readers.saved import read_by
from .cell import Cell
from .faults import Tell, faults_told, is_ours, log_fault
from .groups import GROUPS, groups_among, groups_of
from .kinds import (
    ADDITIVITY,
    ALIGNMENT,
    CODES,
    CONTROLLABILITY,
    COSINES,
    DIRECTION,
    DIRECTION_AT,
    LEAKAGE,
    LEAKAGE_AT,
    LIKENESS,
    SWAP,
)
from .label_values import current_records
from .measure import LABEL, Question
from .of_reader import of_one_reader, reader_name
from .registry import OLDER, find_question, is_older, measures


def cells_of(run: Run, reader: str = "", tell: Tell = log_fault) -> dict[tuple[str, str], Cell]:
    """Returns the answers that were measured on a run.

    The keys are (question, subject), for example (``decodable``, ``smile``). If several results
    answer one question, the one with the most samples is used, and among these the one with the
    largest null.

    Args:
        run: The run.
        reader: The name of the reader whose readings of edits are shown. If it is empty, it is the
            first reader of the run that measured edits. Readings of two readers are never mixed.
        tell: It receives a line for each measure of another package that cannot read its results.
            These count as not measured.
    """
    faults: dict[str, str] = {}
    found: dict[tuple[str, str], Cell] = {}
    named = named_labels(run)
    groups = groups_of(run)
    for record in of_one_reader(run, current_records(run), reader):
        by = reader_name(record)
        for cell in _read(record, run, faults):
            if cell.subject not in named and f"{by}/{cell.subject}" in named:
                cell = replace(cell, subject=f"{by}/{cell.subject}")
            key = (cell.question, cell.subject)
            if _is_older(record, run, groups):
                cell = replace(cell, warning="; ".join(filter(None, [OLDER, cell.warning])))
            if key not in found or _effort(cell, run, groups) > _effort(found[key], run, groups):
                found[key] = cell
    for line in faults.values():
        tell(line)
    return with_readers(with_families(found), run)


def with_readers(cells: Mapping[tuple[str, str], Cell], run: Run) -> dict[tuple[str, str], Cell]:
    """Adds the known error of their reader to the cells of labels.

    A label that was not read by a saved reader gets none.
    """
    made = {
        name: (each, attribute)
        for each in read_by(run)
        for attribute in run.labels.get(each, {})
        for name in (attribute, f"{each}/{attribute}")
    }
    known: dict[tuple[str, str], str] = {}
    found = dict(cells)
    for key, cell in cells.items():
        by = reader_name(cell.evidence)
        question = find_question(*key)
        if question is None or question.of != LABEL or key[1] not in made:
            continue
        name, attribute = made[f"{by}/{key[1]}" if f"{by}/{key[1]}" in made else key[1]]
        if (name, attribute) not in known:
            known[name, attribute] = _error_told(run, name, attribute)
        found[key] = replace(cell, reader=known[name, attribute])
    return found


def _error_told(run: Run, name: str, attribute: str) -> str:
    error = error_of(run, name, attribute)
    return f"reader {name}: {error or 'its error is not measured'}"


def with_families(cells: Mapping[tuple[str, str], Cell]) -> dict[tuple[str, str], Cell]:
    """Adds ``family_p`` and ``asked`` to the cells.

    The answers to one question, for all labels or sites, are a family. Answers with one unit and as
    many kept draws of the null are adjusted by the largest value in each draw (max-T), the others
    by Holm. These parts are then adjusted for one another
    (:func:`~hcache.analysis.permutation.over_parts`). p is not adjusted over different questions.
    """
    families: dict[str, list[tuple[str, str]]] = {}
    asked = {key: find_question(*key) for key in cells}
    for key, cell in cells.items():
        if cell.p is not None:
            question = asked[key]
            families.setdefault(key[0] if question is None else question.name, []).append(key)
    found = dict(cells)
    for keys in families.values():
        adjusted = _adjusted([cells[key] for key in keys], asked[keys[0]])
        for key, p in zip(keys, adjusted.tolist(), strict=True):
            found[key] = replace(cells[key], family_p=p, asked=len(keys))
    return found


def _adjusted(cells: Sequence[Cell], question: Question | None) -> np.ndarray:
    """Returns p of every answer of a family, adjusted for all of them."""
    parts: dict[tuple[str, int] | None, list[int]] = {}
    for row, cell in enumerate(cells):
        parts.setdefault((cell.unit, len(cell.drawn)) if len(cell.drawn) else None, []).append(row)
    within = [_adjusted_part([cells[row] for row in rows], question) for rows in parts.values()]
    found = np.full(len(cells), np.nan)
    for rows, p in zip(parts.values(), over_parts(within), strict=True):
        found[rows] = p
    return found


def _adjusted_part(cells: Sequence[Cell], question: Question | None) -> np.ndarray:
    """Returns p of answers that have one unit and as many draws, adjusted for these alone."""
    own = np.array([np.nan if cell.p is None else cell.p for cell in cells])
    if not len(cells[0].drawn):
        return holm(own.tolist())
    values = np.array([cell.estimate.value for cell in cells], np.float64)
    sizes = np.abs(values) if question is not None and question.two_sided else values
    return np.fmax(family_p(sizes, np.array([cell.drawn for cell in cells])), own)


def _read(record: Record, run: Run, faults: dict[str, str]) -> Sequence[Cell]:
    """Returns the cells of a record, or none if the record does not match its kind, because it was
    changed or is not from hcache.

    ``faults`` gets the first fault of each measure of another package, by the measure's name. What
    a record of another package should contain is not known here, so its faults are named too.
    """
    found: list[Cell] = []
    for measure in measures().values():
        if record.kind not in measure.cells:
            continue
        with faults_told(measure, lambda line, name=measure.name: faults.setdefault(name, line)):
            try:
                found += [
                    _checked(cell, record, run) for cell in measure.cells[record.kind](record, run)
                ]
            except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
                if not is_ours(measure):
                    raise
    return found


def _checked(cell: Cell, record: Record, run: Run) -> Cell:
    """Returns a cell whose fields can be used as a verdict does.

    Raises:
        Exception: they cannot; of any kind that a wrong field leads to.
    """
    if not isinstance(cell, Cell) or not isinstance(cell.evidence, Record):
        raise TypeError(f"the result {record.kind!r} gives Cells with their Records, got {cell!r}")
    if not isinstance(cell.question, str) or not isinstance(cell.subject, str):
        raise TypeError(
            f"a cell's question and subject are texts, got {cell.question!r} and {cell.subject!r}"
        )
    _effort(cell, run, None)
    str(cell)
    np.array(cell.drawn, np.float64).reshape(len(cell.drawn))
    return cell


BY_GROUP = (CODES, COSINES, ALIGNMENT)
"""Kinds whose results now use the groups of the run, but once did not."""

OF_TRIED = (
    DIRECTION,
    DIRECTION_AT,
    CONTROLLABILITY,
    LEAKAGE,
    LEAKAGE_AT,
    LIKENESS,
    ADDITIVITY,
    SWAP,
)
"""Kinds whose results do so only where two of the samples tried are of one group."""


def _is_older(record: Record, run: Run, groups: np.ndarray | None) -> bool:
    """Returns whether a result has an older definition, or ignored the groups of its samples."""
    return is_older(record.kind, record.parameters) or leaves_out(record, run, groups)


def leaves_out(record: Record, run: Run, groups: np.ndarray | None) -> bool:
    """Whether a result takes samples that belong together each for itself."""
    given = record.parameters
    if groups is None or GROUPS in given:
        return False
    if record.kind in BY_GROUP:
        return True
    if record.kind not in OF_TRIED:
        return False
    grids = given.get("grids") or [given.get("grid") or {}]
    tried = given.get("pairs", {}).get("recipients") or grids[0].get("samples") or ()
    return groups_among(run, groups, tried) is not None


def _effort(
    cell: Cell, run: Run, groups: np.ndarray | None
) -> tuple[bool, bool, bool, int, int, int]:
    """By what one of several results is shown; one that goes by groups is before one that does not,
    since somebody said that samples belong together.
    """
    parameters = cell.evidence.parameters
    nulls = int(parameters.get("nulls") or parameters.get("controls") or 0)
    tried = len(parameters.get("steps") or parameters.get("moves") or ())
    current = not _is_older(cell.evidence, run, groups)
    grouped = bool(parameters.get(GROUPS))
    return (current, cell.estimate.defined, grouped, cell.estimate.n, nulls, tried)
