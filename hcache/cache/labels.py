"""Label sets of a run that were not read from its images: imported from CSV, or clicked in the
gallery.

A set is a CSV file in the run's ``labels`` folder. It is replaced as a whole and atomically, so no
import is ever partial. Code that reads, changes and writes a set holds the lock of that folder.
:mod:`label_records` detects whether a file was changed since.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..atomic import free_name, is_there, make_folder, read_file, write_bytes
from ..errors import CacheError, UsageError, did_you_mean
from ..foreign import is_foreign, same_but_for_case
from ..texts import read_text
from .kept_labels import kept_label_files
from .label_files import (
    SAMPLE,
    SEED,
    SET_NAME,
    parse_any_samples,
    parse_labels,
    read_table,
    table_paths,
)
from .label_records import MOST_BYTES, record_path, values_digest, write_record
from .layout import LABELS
from .locks import part_lock
from .reading import Run


def import_labels(run: Run, source: Path, label_set: str) -> list[str]:
    """Imports a CSV of labels into a set of the run.

    Returns the names of the labels. The CSV identifies samples by a column ``sample`` or ``seed``.

    Raises:
        UsageError: an unknown or repeated sample, a cell that is not a number, or a ragged line.
            The message names the line, and nothing is imported.
    """
    text = read_text(source, f"the labels in {source}")
    columns = parse_labels(
        text,
        str(source),
        {int(s): int(s) for s in run.sample_ids},
        {run.seed(int(s)): int(s) for s in run.sample_ids},
    )
    save_labels(run, label_set, columns)
    return list(columns)


def save_labels(run: Run, label_set: str, columns: Mapping[str, Mapping[int, float]]) -> None:
    """Replaces a label set of a run.

    If the file is damaged or was changed by hand, it is kept as ``*.csv.bad``.

    Raises:
        UsageError: the name of the set or of a label is not allowed, a value is not finite, or the
            set was read from the images.
        RunBusyError: another process has been writing labels of this run for a long time.
        OSError: it cannot be written. The set is unchanged.
    """
    _check_set(run, label_set)
    make_folder(run.folder / LABELS, parents=False)
    with part_lock(run.folder / LABELS):
        _write(run, label_set, columns)


def mark_sample(run: Run, label_set: str, name: str, sample: int, value: float) -> None:
    """Gives a sample a value of a label, or removes it.

    The value is removed if the sample already has it. Other processes that mark samples of the same
    set lose nothing.

    Raises:
        As :func:`save_labels`; CacheError: the set's file is damaged.
    """
    _check_set(run, label_set)
    make_folder(run.folder / LABELS, parents=False)
    with part_lock(run.folder / LABELS):
        found = run.label_files
        if problem := _problem(run, label_set):
            raise CacheError(problem)
        columns = {
            other: {
                int(s): float(v)
                for s, v in zip(run.sample_ids, values, strict=True)
                if np.isfinite(v)
            }
            for other, values in found.sets.get(label_set, {}).items()
        }
        marked = columns.setdefault(name, {})
        if marked.get(sample) == value:
            del marked[sample]
        else:
            marked[sample] = value
        _write(run, label_set, columns)


def _check_set(run: Run, label_set: str) -> None:
    if not SET_NAME.fullmatch(label_set) or is_foreign(label_set):
        raise UsageError(
            f"a label set's name has letters, digits, spaces, dots, - and _, got {label_set!r}"
        )
    if other := same_but_for_case(label_set, (path.stem for path in table_paths(run.folder))):
        raise UsageError(
            f"{run.name} has a label set {other!r}, and many disks do not distinguish"
            f" {label_set!r} from it; choose another name"
        )
    if any(name == label_set for name in run.labels_in_shards):
        raise UsageError(
            f"the label set {label_set} was read from the images and cannot be replaced; choose"
            " another name"
        )


def _write(run: Run, label_set: str, columns: Mapping[str, Mapping[int, float]]) -> None:
    samples = sorted({sample for values in columns.values() for sample in values})
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([SAMPLE, *columns])
    for sample in samples:
        writer.writerow(
            [sample, *(repr(float(v[sample])) if sample in v else "" for v in columns.values())]
        )
    text = out.getvalue()
    values = parse_any_samples(text, f"the label set {label_set}")  # these could not be read again
    path = run.folder / LABELS / f"{label_set}.csv"
    before, now = _record_bytes(path), _digest_now(path)
    if not now and is_there(path):  # keep somebody's edits, or the rest of a damaged table
        write_bytes(free_name(path), read_file(path))
    try:
        write_record(path, values, also=now)
        write_bytes(path, text.encode())
    except OSError:
        with suppress(OSError):
            _put_back(path, before)
        raise
    with suppress(OSError):  # the existing record already allows the new values
        write_record(path, values)


def _digest_now(path: Path) -> tuple[str, ...]:
    """Returns the digest of the current values of a label set, or nothing if somebody changed
    them.
    """
    try:
        table = read_table(path)
    except (OSError, UsageError, UnicodeDecodeError):
        return ()
    return () if table.is_changed else (values_digest(table.columns),)


def _record_bytes(path: Path) -> bytes | None:
    """Returns the contents of the record of a label set, or None if it has none."""
    try:
        return read_file(record_path(path), MOST_BYTES)
    except FileNotFoundError:
        return None


def _put_back(path: Path, before: bytes | None) -> None:
    """Restores the former record of a label set."""
    if before is None:
        record_path(path).unlink(missing_ok=True)
    elif _record_bytes(path) != before:
        write_bytes(record_path(path), before)


def accept_labels(run: Run, label_set: str) -> list[str]:
    """Accepts the values in a label set's file as valid.

    Use this for a file that somebody edited or removed on purpose. A file without a record gets
    one. Returns the names of the labels.

    Raises:
        UsageError: the set does not exist, or its file is not a table of labels.
        RunBusyError: another process has been writing labels of this run for a long time.
        OSError: it cannot be read, or its record cannot be written.
    """
    path = run.folder / LABELS / f"{label_set}.csv"
    known = SET_NAME.fullmatch(label_set) and (is_there(path) or is_there(record_path(path)))
    if not known:
        sets = {*run.label_files.sets, *run.label_files.problems}
        raise UsageError(f"no label set {label_set!r} in {run.name}{did_you_mean(label_set, sets)}")
    with part_lock(run.folder / LABELS):
        try:
            columns = read_table(path).columns
        except FileNotFoundError:
            record_path(path).unlink(missing_ok=True)
            return []
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is no table of labels: {error}") from error
        write_record(path, columns)
        return list(columns)


def _problem(run: Run, label_set: str) -> str:
    """Returns why a label set cannot be used, as a sentence, or "" if it can."""
    found, what = run.label_files, f"the label set {label_set} of {run.name}"
    if why := found.changed.get(label_set):
        return f"{what} cannot be used: {why}"
    why = found.problems.get(label_set)
    return f"{what} cannot be used ({why}); correct its file, or remove it" if why else ""


def export_labels(run: Run, label_set: str | None = None) -> str:
    """Returns the labels of a run, or of one set, as CSV.

    The CSV has the columns sample and seed.
    """
    sets = run.labels
    if label_set is not None and label_set not in sets:
        _refuse_damaged(run, label_set)
        raise UsageError(f"no label set {label_set!r} in {run.name}{did_you_mean(label_set, sets)}")
    chosen = {label_set: sets[label_set]} if label_set is not None else sets
    columns = {
        name if len(chosen) == 1 else f"{s}.{name}": v
        for s, labels in chosen.items()
        for name, v in labels.items()
    }
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([SAMPLE, SEED, *columns])
    for row, sample in enumerate(run.sample_ids):
        cells = ["" if math.isnan(v[row]) else f"{v[row]:.9g}" for v in columns.values()]
        writer.writerow([int(sample), run.seed(int(sample)), *cells])
    return out.getvalue()


def named_labels(run: Run) -> dict[str, np.ndarray]:
    """Returns all labels of a run by name, each (n,).

    If several sets have a label of the same name, the key is ``set/name``.
    """
    sets = run.labels
    often = Counter(name for labels in sets.values() for name in labels)
    return {
        name if often[name] == 1 else f"{label_set}/{name}": values
        for label_set, labels in sets.items()
        for name, values in labels.items()
    }


def label_names(run: Run) -> list[str]:
    """Returns the keys of :func:`named_labels` without reading values. Only one shard is opened."""
    sets = {**run.names_in_shards, **kept_label_files(run.folder, run.sample_ids).sets}
    often = Counter(name for names in sets.values() for name in names)
    return [
        name if often[name] == 1 else f"{label_set}/{name}"
        for label_set, names in sets.items()
        for name in names
    ]


def label_name(run: Run, name: str) -> str:
    """Returns the key of a label in :func:`named_labels`.

    ``set/name`` is always accepted.

    Raises:
        UsageError: there is no such label. The message names the nearest.
    """
    labels = named_labels(run)
    label_set, _, alone = name.partition("/")
    if name not in labels and alone in run.labels.get(label_set, {}):
        return alone
    if name not in labels:
        _refuse_damaged(run, name.partition("/")[0])
        raise UsageError(
            f"no label {name!r} in {run.name}{did_you_mean(name, labels)}; there are"
            f" {', '.join(labels)}"
        )
    return name


def find_label(run: Run, name: str) -> np.ndarray:
    """Returns a label's values (n,) by its name or ``set/name``.

    Raises:
        UsageError: there is no such label. The message names the nearest.
    """
    return named_labels(run)[label_name(run, name)]


def _refuse_damaged(run: Run, label_set: str) -> None:
    """Raises an error that says why an existing set cannot be used."""
    if problem := _problem(run, label_set):
        raise CacheError(problem)
