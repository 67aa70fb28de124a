"""Label sets of a run that were not read off its images: imported from CSV, or clicked in the gallery.

A set is a CSV file in the run's ``labels`` folder. It is replaced as a whole, atomically, so that nothing is ever half
imported.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import UsageError, did_you_mean
from ..texts import read_text
from .files import commit_file
from .label_files import SAMPLE, SEED, SET_NAME, parse_labels
from .layout import LABELS, PARTIAL
from .reading import Run


def import_labels(run: Run, source: Path, label_set: str) -> list[str]:
    """Reads a CSV of labels into a set of the run; returns the labels' names. What it is of is ``sample`` or ``seed``.

    Raises:
        UsageError: naming the line: an unknown or repeated sample, a cell that is no number, a ragged line. Nothing
            is imported then.
    """
    text = read_text(source, f"the labels in {source}")
    columns = parse_labels(text, str(source), {int(s): int(s) for s in run.sample_ids},
                           {run.seed(int(s)): int(s) for s in run.sample_ids})  # fmt: skip
    save_labels(run, label_set, columns)
    return list(columns)


def save_labels(run: Run, label_set: str, columns: Mapping[str, Mapping[int, float]]) -> None:
    """Replaces a label set of a run."""
    if not SET_NAME.fullmatch(label_set):
        raise UsageError(f"a label set's name has letters, digits, spaces, dots, - and _, got {label_set!r}")
    if any(name == label_set for name in run.labels_in_shards):
        raise UsageError(
            f"the label set {label_set} was read off the images and cannot be replaced; choose another name"
        )
    samples = sorted({sample for values in columns.values() for sample in values})
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([SAMPLE, *columns])
    for sample in samples:
        writer.writerow([sample, *(repr(v[sample]) if sample in v else "" for v in columns.values())])
    path = run.folder / LABELS / f"{label_set}.csv"
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    partial.write_text(out.getvalue(), encoding="utf-8", newline="")
    commit_file(partial, path)


def export_labels(run: Run, label_set: str | None = None) -> str:
    """Every label of a run, or of one of its sets, as CSV with sample and seed."""
    sets = run.labels
    if label_set is not None and label_set not in sets:
        raise UsageError(f"no label set {label_set!r} in {run.name}{did_you_mean(label_set, sets)}")
    chosen = {label_set: sets[label_set]} if label_set is not None else sets
    columns = {
        name if len(chosen) == 1 else f"{s}.{name}": v for s, labels in chosen.items() for name, v in labels.items()
    }
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([SAMPLE, SEED, *columns])
    for row, sample in enumerate(run.sample_ids):
        cells = ["" if math.isnan(v[row]) else f"{v[row]:.9g}" for v in columns.values()]
        writer.writerow([int(sample), run.seed(int(sample)), *cells])
    return out.getvalue()


def named_labels(run: Run) -> dict[str, np.ndarray]:
    """All labels of a run by name (n,); by ``set/name`` where several sets have one of that name."""
    sets = run.labels
    often = Counter(name for labels in sets.values() for name in labels)
    return {
        name if often[name] == 1 else f"{label_set}/{name}": values
        for label_set, labels in sets.items()
        for name, values in labels.items()
    }


def find_label(run: Run, name: str) -> np.ndarray:
    """A label's values (n,), by its name or ``set/name``.

    Raises:
        UsageError: there is none; the nearest are named.
    """
    labels = named_labels(run)
    if name not in labels:
        raise UsageError(f"no label {name!r} in {run.name}{did_you_mean(name, labels)}; there are {', '.join(labels)}")
    return labels[name]
