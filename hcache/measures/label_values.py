"""Which values a label had when something was measured: other values under the same name are
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
    """Hex digits that name a label's values (n,)."""
    return hashlib.sha256(np.ascontiguousarray(values, np.float64).tobytes()).hexdigest()[:12]


def values_of(run: Run, names: Iterable[str]) -> dict[str, str]:
    """The digests of some labels' values, by name.

    Of those that there are.
    """
    labels = named_labels(run)
    return {name: values_digest(labels[name]) for name in names if name in labels}


def current_records(run: Run) -> list[Record]:
    """The results of a run that are of today's labels."""
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
    """The labels that a result is of, with their digests."""
    found = record.parameters.get("values", {})
    return {record.parameters["label"]: found} if isinstance(found, str) else found
