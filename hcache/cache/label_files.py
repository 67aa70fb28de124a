"""The CSV files of label sets. They have a column ``sample`` or ``seed``, and one column per label.
An empty cell means no value.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..atomic import read_file, reason
from ..errors import UsageError
from ..foreign import is_foreign
from .hdf5 import is_surroundings
from .label_records import LabelRecord, count_values, read_record, values_digest
from .layout import LABELS

SAMPLE, SEED = "sample", "seed"
LARGEST = float(np.finfo(np.float32).max)
SET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")
"""The longest name of a label set, which is also the name of a file."""

LONGEST_NAME = 100
"""The longest name of a label, in characters."""

MOST_READS = 50
"""The number of times to read a label set again while other processes replace it."""


def parse_labels(
    text: str, name: str, by_sample: Mapping[int, int], by_seed: Mapping[int, int]
) -> dict[str, dict[int, float]]:
    """Returns the labels in a CSV: name -> sample -> value.

    Args:
        text: The file's contents.
        name: The name of the file for messages.
        by_sample: The known samples, by number.
        by_seed: The known samples, by seed.
    """
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise UsageError(f"{name} is not a CSV file: {error}") from error
    if not rows or not rows[0]:
        raise UsageError(f"{name} is empty; expected a line of column names")
    rows = _without_nameless(rows, name)
    header = [cell.strip() for cell in rows[0]]
    keys = [column for column in (SAMPLE, SEED) if column in header]
    if len(keys) != 1:
        raise UsageError(
            f"{name}, line 1: expected one column called {SAMPLE} or {SEED}, got"
            f" {_header_told(header)}"
        )
    at, known = header.index(keys[0]), by_sample if keys[0] == SAMPLE else by_seed
    labels = [column for column in header if column != keys[0]]
    if not labels:
        raise UsageError(
            f"{name}, line 1: expected names of labels beside {keys[0]}, got no other column"
        )
    for label in labels:
        if header.count(label) > 1:
            raise UsageError(
                f"{name}, line 1: two columns are called {label!r}; expected different names of"
                " labels"
            )
        if fault := _fault_of(label):
            raise UsageError(f"{name}, line 1: a label cannot be called {label!r}, because {fault}")
    columns: dict[str, dict[int, float]] = {label: {} for label in labels}
    seen: dict[int, int] = {}
    for line, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise UsageError(
                f"{name}, line {line}: {len(row)} cells; expected {len(header)}, as in line 1"
            )
        sample = _sample_of(row[at], known, keys[0], f"{name}, line {line}")
        if sample in seen:
            raise UsageError(
                f"{name}, line {line}: {keys[0]} {row[at]} was given before, in line {seen[sample]}"
            )
        seen[sample] = line
        for column, cell in zip(header, row, strict=True):
            if column != keys[0] and cell.strip():
                columns[column][sample] = _number(cell, f"{name}, line {line}, {column}")
    return columns


def parse_any_samples(text: str, name: str) -> dict[str, dict[int, float]]:
    """Returns the labels in a CSV whose samples need not exist.

    Otherwise it works like :func:`parse_labels`.
    """
    every = _Everything()
    return parse_labels(text, name, every, every)


def _without_nameless(rows: list[list[str]], name: str) -> list[list[str]]:
    """Returns the table without columns that have no name. These are a table's own numbering in the
    first column, and empty columns that Excel adds.

    Raises:
        UsageError: a column without a name contains values.
    """
    header = [cell.strip() for cell in rows[0]]
    nameless = [at for at, cell in enumerate(header) if not cell or cell.startswith("Unnamed: ")]
    has_key = SAMPLE in header or SEED in header
    for at in nameless:
        filled = any(len(row) == len(header) and row[at].strip() for row in rows[1:])
        if filled and not (at == 0 and has_key):
            hint = (
                f"; is it {SAMPLE} or {SEED}? Then call it so"
                if at == 0
                else "; name it or leave it out"
            )
            raise UsageError(f"{name}, line 1: column {at + 1} has values and no name{hint}")
    left = [at for at in range(len(header)) if at not in nameless]
    return (
        [[row[at] for at in left] if len(row) == len(header) else row for row in rows]
        if left
        else rows
    )


def _fault_of(label: str) -> str:
    """Returns why a text cannot be the name of a label, or "" if it can. Letters of any language,
    brackets, units and signs are allowed.
    """
    if len(label) > LONGEST_NAME:
        return f"that is longer than {LONGEST_NAME} characters"
    if odd := [character for character in label if not character.isprintable()]:
        return f"it holds the control character {odd[0]!r}"
    if label[0] in ".=+-@/\\":
        return f"it begins with {label[0]!r}; expected a letter, a digit or a bracket first"
    return ""


def _header_told(header: list[str]) -> str:
    """Describes line 1 of the file. If the separator is not the comma, the intended one is
    named.
    """
    told = ", ".join(header)
    other = next((sign for sign in (";", "\t") if len(header) == 1 and sign in header[0]), "")
    return told.replace("\t", " ") + (
        f" (expected commas between columns, not {other!r})" if other else ""
    )


@dataclass(frozen=True, kw_only=True)
class LabelFiles:
    """The label sets of a run's ``labels`` folder.

    ``sets``: set -> name -> values (n,) float32, NaN where a sample has none. ``damaged``: set ->
    what is wrong with its file. ``changed``: set -> how its values differ from those that hcache
    wrote; somebody may have edited them on purpose. ``unread``: set -> why its file could not be
    read, which says nothing of what is in it. ``records``: set -> what is wrong with its record,
    which costs the set nothing.
    """

    sets: Mapping[str, dict[str, np.ndarray]]
    damaged: Mapping[str, str]
    unread: Mapping[str, str]
    changed: Mapping[str, str] = field(default_factory=dict)
    records: Mapping[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> dict[str, str]:
        """Set -> why it is not among ``sets``."""
        return {**self.damaged, **self.changed, **self.unread}


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """The file of one label set, with its record.

    ``columns``: name -> sample -> value. ``finished``: whether the last line has a line end.
    ``fault``: what is wrong with the record.
    """

    columns: Mapping[str, Mapping[int, float]]
    finished: bool
    record: LabelRecord | None
    fault: str = ""

    @property
    def is_changed(self) -> bool:
        """Whether the values differ from those that hcache wrote."""
        return self.record is not None and values_digest(self.columns) not in self.record.digests


def read_label_files(run: Path, sample_ids: np.ndarray) -> LabelFiles:
    """Returns the contents of the CSV files in a run's ``labels`` folder. An unreadable file does
    not affect the others.
    """
    rows = {int(sample): row for row, sample in enumerate(sample_ids)}
    sets, damaged, unread, changed, records = {}, {}, {}, {}, {}
    for path in table_paths(run):
        name = path.stem
        try:
            table = read_table(path)
        except FileNotFoundError:  # the file was removed meanwhile
            continue
        except (UsageError, UnicodeDecodeError, OSError) as error:
            where = unread if is_surroundings(error) else damaged
            where[name] = reason(error) if isinstance(error, OSError) else str(error)
            continue
        if table.fault:
            records[name] = table.fault
        if table.is_changed:
            changed[name] = _how_changed(table, run.name, name)
        else:
            sets[name] = {label: _column(of, rows) for label, of in table.columns.items()}
    for name in _without_table(run):
        changed[name] = f"its file is gone; {_what_to_do(run.name, name)}"
    return LabelFiles(sets=sets, damaged=damaged, unread=unread, changed=changed, records=records)


def table_paths(run: Path) -> list[Path]:
    """Lists the files of a run's label sets by name.

    Files that other programs named are left out.
    """
    return [path for path in sorted((run / LABELS).glob("*.csv")) if not is_foreign(path.name)]


def _without_table(run: Path) -> list[str]:
    """Lists the label sets that have a record but no file."""
    records = sorted((run / LABELS).glob("*.json"))
    return [
        path.stem
        for path in records
        if not (is_foreign(path.name) or os.path.lexists(path.with_suffix(".csv")))
        and path.is_file()
    ]


def read_table(path: Path) -> LabelTable:
    """Reads a label set's file and record from the same writing.

    Raises:
        UsageError, UnicodeDecodeError: it is not a table of labels.
        OSError: it cannot be read.
    """
    if not SET_NAME.fullmatch(path.stem):
        raise UsageError(f"no label set can be called {path.stem[:100]!r}")
    for _ in range(MOST_READS):
        record, fault = _record_of(path)
        text = read_file(path).decode("utf-8-sig")
        table = LabelTable(
            columns=parse_any_samples(text, str(path)),
            finished=text.endswith(("\n", "\r")),
            record=record,
            fault=fault,
        )
        if not table.is_changed or _record_of(path)[0] == record:
            return table
    raise BlockingIOError(errno.EAGAIN, "it is written again and again", str(path))


def _record_of(path: Path) -> tuple[LabelRecord | None, str]:
    """Returns the record of a set, and what is wrong with it."""
    try:
        return read_record(path), ""
    except (ValueError, RecursionError) as error:
        return None, str(error)
    except OSError as error:
        if is_surroundings(error) and error.errno != errno.EOVERFLOW:
            raise
        return None, reason(error)


def _how_changed(table: LabelTable, run: str, name: str) -> str:
    written = table.record.values if table.record else 0
    cut = "" if table.finished else ", and its last line has no end"
    return (
        f"its values are not those that hcache wrote: it has {count_values(table.columns)} values,"
        f" {written} were written{cut}; {_what_to_do(run, name)}"
    )


def _what_to_do(run: str, name: str) -> str:
    return (
        f"if you changed it on purpose, accept it with `python -m hcache labels-accept {run} --set"
        f" {shlex.quote(name)}`; otherwise put an earlier copy in its place, or import it again"
    )


class _Everything(dict[int, int]):
    """A container in which every sample is known. Labels may be older than the existing shards."""

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
        raise UsageError(
            f"{where}: expected a finite number (up to {LARGEST:.1e}) or nothing, got {cell!r}"
        )
    return value


def _column(values: Mapping[int, float], rows: Mapping[int, int]) -> np.ndarray:
    column = np.full(len(rows), np.nan, np.float32)
    for sample, value in values.items():
        if sample in rows:
            column[rows[sample]] = value
    return column
