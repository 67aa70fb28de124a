"""A reader's own error: how well its readings agree with labels that are known to be right.

    <home>/readers/checks/<name>.json       what a reader was checked against, and what came of it

The labels are those of a run (clicks, or an imported CSV), or a CSV of labelled pictures: a column
``file``, and one an attribute. A check is of one version of the reader; it says nothing of another.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct, structs
from PIL import Image, ImageOps

from ..analysis.agreement import agreement
from ..atomic import make_folder, read_file, reason
from ..cache.files import read_json, write_json
from ..cache.labels import find_label
from ..cache.layout import READERS
from ..cache.locks import part_lock
from ..cache.reading import Run
from ..errors import UsageError, did_you_mean
from ..images.pictures import prepare_picture
from ..schemas import checked
from .reader import Reader
from .saved import MOST_BYTES, is_function, load_description, read_by

CHECKS = "checks"
FILE = "file"
SCHEMA = 1


class Check(Struct, frozen=True, kw_only=True):
    """The agreement of one attribute.

    ``digest`` is that of the reader. ``source`` names the labels of the comparison.
    """

    attribute: str
    source: str
    digest: str
    metric: str
    value: float
    low: float
    high: float
    null: float
    p: float
    pictures: int

    def __str__(self) -> str:
        return (
            f"{self.metric} {self.value:.2f} ({self.low:.2f} to {self.high:.2f}) against"
            f" {self.source}, n {self.pictures}, chance {self.null:g}, p {self.p:.2g}"
        )


class _Checks(Struct, frozen=True, kw_only=True):
    """The file of a reader's checks."""

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)] = SCHEMA
    checks: tuple[Check, ...] = ()


def check_on_run(run: Run, name: str, pairs: Mapping[str, str] | None = None) -> list[Check]:
    """Compares a reader's readings of a run with its labels.

    These are the run's other labels. The result is saved.

    Args:
        run: A run that the reader has read.
        name: The name of the reader.
        pairs: Attribute -> label, as ``set/name``. None means all labels of other sets with the
            name of an attribute.

    Raises:
        UsageError: the reader has not read the run, or there is nothing to compare it with.
        AnalysisError: too few samples are labelled, or all labels are equal.
    """
    known = run.labels.get(name)
    if known is None:
        raise UsageError(
            f"{name} has not read {run.name}; python -m hcache read {run.name} --reader {name}"
        )
    by = read_by(run)
    digest = by[name].digest if name in by else ""
    wanted = same_names(run, name, known) if pairs is None else pairs
    if not wanted:
        raise UsageError(
            f"no label of {run.name} has the name of an attribute of {name}"
            f" ({', '.join(known)}); label samples by hand under such a name, import a CSV, or say"
            " --label ATTRIBUTE=LABEL"
        )
    found = []
    for attribute, label in wanted.items():
        if attribute not in known:
            raise UsageError(f"{name} reads no {attribute!r}{did_you_mean(attribute, known)}")
        source = f"{label} of {run.name}"
        labels = find_label(run, label)
        found.append(_check(attribute, source, digest, known[attribute], labels))
    return keep_checks(run.home, name, found)


def check_on_pictures(home: Path, reader: Reader, table: Path) -> list[Check]:
    """Compares a reader with labelled pictures, and saves the result.

    A CSV lists the pictures and their labels.

    Args:
        home: The home of the reader.
        reader: The open reader.
        table: A CSV with a column ``file``, relative to the CSV or absolute, and one column per
            attribute.

    Raises:
        UsageError: the CSV or a picture cannot be read, or no column is an attribute.
        AnalysisError: too few pictures are labelled, or all labels are equal.
    """
    files, columns = _table(table)
    read = _read_files(reader, files)
    shared = [name for name in columns if name in read]
    if not shared:
        raise UsageError(
            f"{table}: no column is an attribute of {reader.name}, which reads {', '.join(read)};"
            f" got {', '.join(columns) or 'none'}"
        )
    found = [_check(name, table.name, reader.digest, read[name], columns[name]) for name in shared]
    return keep_checks(home, reader.name, found)


def keep_checks(home: Path, name: str, found: Sequence[Check]) -> list[Check]:
    """Saves some checks of a reader.

    They replace those of the same attribute and source.
    """
    path = _path(home, name)
    make_folder(path.parent)
    with part_lock(path.parent):
        new = {(each.attribute, each.source) for each in found}
        rest = [each for each in checks_of(home, name) if (each.attribute, each.source) not in new]
        kept = [structs.asdict(each) for each in [*rest, *found]]
        write_json(path, {"schema": SCHEMA, "checks": kept})
    return list(found)


def checks_of(home: Path, name: str, digest: str | None = None) -> list[Check]:
    """Returns the saved checks of a reader in a home.

    If ``digest`` is given, they are of this version only. A damaged file is ignored.
    """
    try:
        kept = list(checked(read_json(_path(home, name), MOST_BYTES), _Checks).checks)
    except (OSError, ValueError, RecursionError):
        kept = []
    return [each for each in kept if digest is None or each.digest == digest]


def held_out(home: Path, name: str) -> list[Check]:
    """Returns the held-out score of a fitted reader. Other readers have none."""
    try:
        if is_function(home, name):
            return []
        found = load_description(home, name).held_out
    except (UsageError, OSError, ValueError):
        return []
    if found is None:
        return []
    q = found.quality
    try:
        made = Check(
            attribute=found.attribute,
            source=found.source,
            digest="",
            metric=str(q["metric"]),
            value=float(q["score"]),
            low=float(q["low"]),
            high=float(q["high"]),
            null=round(float(q["null"]), 2),
            p=float(q["p"]),
            pictures=int(q["samples"]),
        )
    except (LookupError, TypeError, ValueError):
        return []
    return [made]


def error_of(run: Run, name: str, attribute: str) -> str:
    """Describes what is known of a reader's error on an attribute.

    The text is empty if nothing is known.
    """
    by = read_by(run)
    digest = by[name].digest if name in by else ""
    known = held_out(run.home, name) + checks_of(run.home, name, digest)
    return "; ".join(str(each) for each in known if each.attribute == attribute)


def _check(
    attribute: str, source: str, digest: str, readings: np.ndarray, labels: np.ndarray
) -> Check:
    found = agreement(readings, labels)
    return Check(
        attribute=attribute,
        source=source,
        digest=digest,
        metric=found.metric,
        value=found.score.value,
        low=found.score.low,
        high=found.score.high,
        null=found.null,
        p=found.p,
        pictures=found.score.n,
    )


def same_names(run: Run, name: str, known: Mapping[str, Any]) -> dict[str, str]:
    """Matches attributes with labels of the same name.

    The result is attribute -> label. The label is in a set that no reader made.
    """
    own = [each for each in run.labels if each != name and each not in read_by(run)]
    return {
        attribute: f"{each}/{attribute}"
        for each in own
        for attribute in known
        if attribute in run.labels[each]
    }


def _table(table: Path) -> tuple[list[Path], dict[str, np.ndarray]]:
    """Returns the files that a CSV lists, and its other columns (n,), with NaN for an empty
    cell.
    """
    try:
        text = read_file(table).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{table} cannot be read as a CSV file: {reason(error)}") from error
    if not rows or FILE not in rows[0]:
        raise UsageError(
            f"{table}, line 1: expected a column {FILE} and one for each attribute, and a line a"
            " picture"
        )
    files = [table.parent / str(row[FILE]).strip() for row in rows]
    names = [name for name in rows[0] if name and name != FILE]
    return files, {
        name: np.array(
            [
                _number(row[name], f"{table}, line {line}, {name}")
                for line, row in enumerate(rows, 2)
            ]
        )
        for name in names
    }


def _number(cell: str | None, where: str) -> float:
    if cell is None or not cell.strip():
        return float("nan")
    try:
        return float(cell)
    except ValueError as error:
        raise UsageError(f"{where}: expected a number or nothing, got {cell!r:.40}") from error


def _read_files(reader: Reader, files: Sequence[Path]) -> dict[str, np.ndarray]:
    """Returns readings of picture files, each in its own size."""
    found: dict[str, list[float]] = {}
    for pictures in _pictures(files):
        for name, values in reader(pictures).items():
            found.setdefault(name, []).extend(map(float, values))
    return {name: np.array(values) for name, values in found.items()}


def _pictures(files: Sequence[Path]) -> Iterator[np.ndarray]:
    """Yields each picture as (1, height, width, 3) uint8."""
    for path in files:
        try:
            with Image.open(path) as image:
                width, height = ImageOps.exif_transpose(image).size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UsageError(f"the picture {path} cannot be read: {reason(error)}") from error
        yield prepare_picture(path, str(path), height, width).pixels[None]


def _path(home: Path, name: str) -> Path:
    return home / READERS / CHECKS / f"{name}.json"
