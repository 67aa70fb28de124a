"""The record of the values that hcache wrote into a label set. It shows whether the file was
changed since.

A label set is a plain table that people may edit. Its record, ``labels/<set>.json``, is stored
beside ``labels/<set>.csv`` and contains a digest of the values. The digest depends on the values
and not on the bytes, so other line endings, or ``1`` for ``1.0``, change nothing.

While a set is replaced, its record allows both the old and the new values. A set that an earlier
version wrote has no record, and is read as before.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import xxhash

from ..atomic import read_file
from ..schemas import checked, parse_json
from .files import write_json

SCHEMA = 1
MOST_BYTES = 2**16
"""The largest record in bytes. hcache writes no larger one."""


@dataclass(frozen=True, kw_only=True)
class LabelRecord:
    """The record of what hcache wrote into a label set.

    ``digests``: the digests of the allowed values. ``values``: the number of values. ``write``: a
    different text for every writing, so that a reader sees that the record was replaced.
    """

    schema: int
    digests: tuple[str, ...]
    values: int
    write: str


def record_path(table: Path) -> Path:
    """Returns the path of the record for a label set's table."""
    return table.with_suffix(".json")


def values_digest(columns: Mapping[str, Mapping[int, float]]) -> str:
    """Computes a digest of a label set's names and values.

    Their order does not matter.
    """
    found = xxhash.xxh3_128()
    for name in sorted(columns):
        values = columns[name]
        samples = sorted(values)
        found.update(json.dumps([name, *samples]).encode())
        found.update(np.array([values[sample] for sample in samples], "<f8").tobytes())
    return f"xxh3_128:{found.hexdigest()}"


def count_values(columns: Mapping[str, Mapping[int, float]]) -> int:
    """Returns the number of values in a label set."""
    return sum(map(len, columns.values()))


def write_record(
    table: Path, columns: Mapping[str, Mapping[int, float]], also: tuple[str, ...] = ()
) -> None:
    """Records the values that a table may have.

    Args:
        table: The CSV file.
        columns: Name -> sample -> value.
        also: Digests of other values that are allowed for now.
    """
    record = LabelRecord(
        schema=SCHEMA,
        digests=tuple(dict.fromkeys((values_digest(columns), *also))),
        values=count_values(columns),
        write=secrets.token_hex(8),
    )
    write_json(record_path(table), asdict(record))


def read_record(table: Path) -> LabelRecord | None:
    """Returns the record of a label set, or None without one.

    Raises:
        ValueError, RecursionError: the file is not a record.
        OSError: it cannot be read.
    """
    try:
        data = read_file(record_path(table), MOST_BYTES)
    except FileNotFoundError:
        return None
    record = checked(parse_json(data), LabelRecord)
    if record.schema > SCHEMA:
        raise ValueError("a newer hcache wrote it; update hcache")
    return record
