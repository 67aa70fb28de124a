"""The CSV files that hold label sets: a column ``sample`` or ``seed``, and one a label; an empty cell is no value."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..atomic import read_file, reason
from ..errors import UsageError
from .hdf5 import is_surroundings
from .layout import LABELS

SAMPLE, SEED = "sample", "seed"
LARGEST = float(np.finfo(np.float32).max)
LABEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")


def parse_labels(
    text: str, name: str, by_sample: Mapping[int, int], by_seed: Mapping[int, int]
) -> dict[str, dict[int, float]]:
    """The labels in a CSV: name -> sample -> value.

    Args:
        text: The file's contents.
        name: For messages.
        by_sample: The samples there are, by number; ``by_seed`` by seed.
        by_seed: See above.
    """
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise UsageError(f"{name} is not a CSV file: {error}") from error
    if not rows or not rows[0]:
        raise UsageError(f"{name} is empty; expected a line of column names")
    header = [cell.strip() for cell in rows[0]]
    keys = [column for column in (SAMPLE, SEED) if column in header]
    if len(keys) != 1:
        raise UsageError(f"{name}, line 1: expected one column called {SAMPLE} or {SEED}, got {', '.join(header)}")
    at, known = header.index(keys[0]), by_sample if keys[0] == SAMPLE else by_seed
    labels = [column for column in header if column != keys[0]]
    if not labels or len(set(header)) != len(header) or not all(LABEL_NAME.fullmatch(label) for label in labels):
        raise UsageError(
            f"{name}, line 1: expected different names of labels beside {keys[0]}, got {', '.join(header)}"
        )
    columns: dict[str, dict[int, float]] = {label: {} for label in labels}
    seen: dict[int, int] = {}
    for line, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) != len(header):
            raise UsageError(f"{name}, line {line}: {len(row)} cells; expected {len(header)}, as in line 1")
        sample = _sample_of(row[at], known, keys[0], f"{name}, line {line}")
        if sample in seen:
            raise UsageError(f"{name}, line {line}: {keys[0]} {row[at]} was given before, in line {seen[sample]}")
        seen[sample] = line
        for column, cell in zip(header, row, strict=True):
            if column != keys[0] and cell.strip():
                columns[column][sample] = _number(cell, f"{name}, line {line}, {column}")
    return columns


@dataclass(frozen=True, kw_only=True)
class LabelFiles:
    """The label sets of a run's ``labels`` folder.

    ``sets``: set -> name -> values (n,) float32, NaN where a sample has none. ``damaged``: set -> what is wrong with
    its file. ``unread``: set -> why its file could not be read, which says nothing of what is in it.
    """

    sets: Mapping[str, Mapping[str, np.ndarray]]
    damaged: Mapping[str, str]
    unread: Mapping[str, str]

    @property
    def problems(self) -> dict[str, str]:
        """Set -> why it is not among ``sets``."""
        return {**self.damaged, **self.unread}


def read_label_files(run: Path, sample_ids: np.ndarray) -> LabelFiles:
    """What the CSV files of a run's ``labels`` folder hold. One that cannot be read costs no other."""
    rows = {int(sample): row for row, sample in enumerate(sample_ids)}
    sets, damaged, unread = {}, {}, {}
    for path in sorted((run / LABELS).glob("*.csv")):
        every = _Everything()
        try:
            if not LABEL_NAME.fullmatch(path.stem):
                raise UsageError(f"no label set can be called {path.stem[:100]!r}")
            columns = parse_labels(read_file(path).decode("utf-8"), str(path), every, every)
            sets[path.stem] = {name: _column(values, rows) for name, values in columns.items()}
        except FileNotFoundError:  # taken away meanwhile
            continue
        except (UsageError, UnicodeDecodeError, OSError) as error:
            found = unread if is_surroundings(error) else damaged
            found[path.stem] = reason(error) if isinstance(error, OSError) else str(error)
    return LabelFiles(sets=sets, damaged=damaged, unread=unread)


class _Everything(dict[int, int]):
    """Every sample is known: labels may be older than the shards that are there."""

    def __contains__(self, _: object) -> bool:
        return True

    def __getitem__(self, sample: int) -> int:
        return sample


def _sample_of(cell: str, known: Mapping[int, int], key: str, where: str) -> int:
    try:
        number = int(cell)
    except ValueError as error:
        raise UsageError(f"{where}: {key} must be a whole number, got {cell!r}") from error
    if number not in known:
        raise UsageError(f"{where}: there is no {key} {number} in this run")
    return known[number]


def _number(cell: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError as error:
        raise UsageError(f"{where}: expected a number or nothing, got {cell!r}") from error
    if not abs(value) <= LARGEST:
        raise UsageError(f"{where}: expected a finite number (up to {LARGEST:.1e}) or nothing, got {cell!r}")
    return value


def _column(values: Mapping[int, float], rows: Mapping[int, int]) -> np.ndarray:
    column = np.full(len(rows), np.nan, np.float32)
    for sample, value in values.items():
        if sample in rows:
            column[rows[sample]] = value
    return column
