"""The values that a label had when something was measured. Other values under the same name make
another label.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from ..cache.labels import named_labels
from ..cache.reading import Run
from ..cache.records import Record, list_records


def values_digest(values: np.ndarray) -> str:
    """Returns hex digits that identify a label's values (n,)."""
    return hashlib.sha256(np.ascontiguousarray(values, np.float64).tobytes()).hexdigest()[:12]


def values_of(run: Run, names: Iterable[str]) -> dict[str, str]:
    """Returns the digests of some labels' values, by name.

    Labels that do not exist are left out.
    """
    labels = named_labels(run)
    return {name: values_digest(labels[name]) for name in names if name in labels}


def current_records(run: Run) -> list[Record]:
    """Returns the results of a run for the present labels."""
    records = list_records(run)
    now = (
        values_of(run, named_labels(run))
        if any("values" in record.parameters for record in records)
        else {}
    )
    return [
        record
        for record in records
        if all(now.get(name) == digest for name, digest in _values(record).items())
    ]


def _values(record: Record) -> dict[str, str]:
    """Returns the labels of a result, with their digests."""
    found = record.parameters.get("values", {})
    return {record.parameters["label"]: found} if isinstance(found, str) else found
