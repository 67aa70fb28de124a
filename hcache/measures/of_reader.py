"""Finds the reader of a stored result, because results of two readers are never mixed.

A result uses the reader's own names for attributes. If two readers of a run read an attribute of
the same name, its labels are called ``reader/attribute``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..cache.reading import Run
from ..cache.records import Record
from ..readers.reading import readers_of


def reader_name(record: Record) -> str:
    """Returns the name of the reader that made a result.

    It is empty if no reader did.
    """
    return str(record.parameters.get("reader", "")).partition("@")[0]


def of_one_reader(run: Run, records: Sequence[Record], wanted: str = "") -> list[Record]:
    """Selects the records of one reader, and those without a reader.

    The reader is the wanted one. If none is wanted, it is the run's first reader if it has results,
    and otherwise the first reader with results.
    """
    names = list(dict.fromkeys(reader_name(record) for record in records if reader_name(record)))
    first = next(iter(readers_of(run)), "")
    chosen = wanted or (first if first in names or not names else names[0])
    return [record for record in records if reader_name(record) in ("", chosen)]


def is_of(record: Record, label: str) -> bool:
    """Returns whether a result is named after a label.

    The result has the label's own name, or the reader's name for the label.
    """
    name = record.parameters.get("name")
    reader, _, alone = label.partition("/")
    return name == label or (bool(alone) and name == alone and reader_name(record) == reader)


def own_name(record: Record, label: str) -> str:
    """Returns the name of a label in a result's reader."""
    name = record.parameters.get("name")
    return str(name) if is_of(record, label) else label
