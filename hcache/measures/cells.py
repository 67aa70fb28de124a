"""What stored results say, as the cells of a verdict: one figure a question, with its interval, its
null and p.

Nothing is computed here but families of p, and no model is loaded: what was not measured is
missing. Each measure reads its own results (:mod:`~hcache.measures.registry`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..analysis.permutation import family_p, holm
from ..cache.reading import Run
from ..cache.records import Record
from ..readers.reading import readers_of
from .cell import Cell
from .label_values import current_records
from .measure import Question
from .registry import OLDER, find_question, is_older, measures


def cells_of(run: Run, reader: str = "") -> dict[tuple[str, str], Cell]:
    """The answers that were measured on a run.

    They are by (question, subject): (``decodable``, ``smile``), say.

    Of several results that answer one question that of most samples is taken, and of these that
    with most of a null.

    Args:
        run: The run.
        reader: The name of the reader whose readings of edits are told; the run's first that edits
            were measured by, if empty. Readings of two readers are never mixed.
    """
    found: dict[tuple[str, str], Cell] = {}
    for record in _of_one_reader(current_records(run), reader or next(iter(readers_of(run)), "")):
        for cell in _read(record, run):
            key = (cell.question, cell.subject)
            if is_older(record.kind, record.parameters):
                cell = replace(cell, warning="; ".join(filter(None, [OLDER, cell.warning])))
            if key not in found or _effort(cell) > _effort(found[key]):
                found[key] = cell
    return with_families(found)


def with_families(cells: Mapping[tuple[str, str], Cell]) -> dict[tuple[str, str], Cell]:
    """The cells with ``family_p`` and ``asked``.

    The answers to one question are a family, of all labels or sites. p is adjusted by the largest
    in each draw of the null (max-T) where all draws were kept and are as many, else by Holm. Over
    different questions nothing is adjusted.
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
    """p of every answer of a family, adjusted for all of them."""
    drawn = [cell.drawn for cell in cells]
    own = np.array([np.nan if cell.p is None else cell.p for cell in cells])
    same = len(set(map(len, drawn))) == 1 and len({cell.unit for cell in cells}) == 1
    if not (same and len(drawn[0])):
        return holm(own.tolist())
    values = np.array([cell.estimate.value for cell in cells], np.float64)
    sizes = np.abs(values) if question is not None and question.two_sided else values
    return np.fmax(family_p(sizes, np.array(drawn)), own)


def _of_one_reader(records: Sequence[Record], reader: str) -> list[Record]:
    """The records that no reader was needed for, and those of one reader: the wanted one if
    there are any of it.
    """
    names = list(dict.fromkeys(reader_name(record) for record in records if reader_name(record)))
    chosen = reader if reader in names or not names else names[0]
    return [record for record in records if reader_name(record) in ("", chosen)]


def reader_name(record: Record) -> str:
    """The name of the reader that a result is by.

    Empty if it is by none.
    """
    return str(record.parameters.get("reader", "")).partition("@")[0]


def _read(record: Record, run: Run) -> Sequence[Cell]:
    """The cells of a record; none of one that does not say what its kind says: it was changed,
    or is not hcache's.
    """
    try:
        cells = [
            cell
            for measure in measures().values()
            if record.kind in measure.cells
            for cell in measure.cells[record.kind](record, run)
        ]
        for cell in cells:
            (
                _effort(cell),
                str(cell),
                hash((cell.question, cell.subject)),
                np.array(cell.drawn, np.float64),
            )
        return cells
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return ()


def _effort(cell: Cell) -> tuple[bool, int, int, int]:
    parameters = cell.evidence.parameters
    nulls = int(parameters.get("nulls") or parameters.get("controls") or 0)
    tried = len(parameters.get("steps") or parameters.get("moves") or ())
    return (not is_older(cell.evidence.kind, parameters), cell.estimate.n, nulls, tried)
