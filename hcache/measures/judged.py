"""Describes for pages how a label's direction compares with random ones.

Nothing is computed. Measured results are given with their null, and missing ones are mentioned.
"""

from __future__ import annotations

from typing import Any

from ..cache.reading import Run
from ..cache.records import Record, list_records
from ..directions.differences import EQUAL, OWN, REST
from .kinds import DIRECTION, PREVIEWS

_KINDS = {
    "samples": "to random positives, of equal length",
    "noise": "of noise in h, of equal length",
}


def null_in_words(run: Run, label: str) -> str:
    """Describes how much a direction changes its label, beside random ones.

    It also says which random directions these are.
    """
    said = filter(None, (_by_previews(run, label), _by_renders(run, label)))
    return " ".join(said) or (
        f"The direction of {label} was not compared with a null. Any direction changes readings,"
        f" even one to random positives: `python -m hcache measure {run.name} --what random` says"
        " how far."
    )


def _by_previews(run: Run, label: str) -> str:
    record = _largest(run, PREVIEWS, label)
    if record is None:
        return ""
    found = record.result["readings"][label]
    words = {
        EQUAL: "at equal length",
        OWN: "at its own length",
        REST: f"without the first {record.parameters['components']} components",
    }
    told = ", ".join(f"{_times(found[at])} {text}" for at, text in words.items())
    return (
        f"Beside {record.parameters['nulls']} directions to random positives, by previews of step"
        f" {record.parameters['step']}, that of {label} (from the label's two ends) moves it"
        f" {told}."
    )


def _by_renders(run: Run, label: str) -> str:
    record = _largest(run, DIRECTION, label)
    if record is None:
        return ""
    kind = _KINDS.get(str(record.parameters["null"]), "")
    times = _times(record.result["readings"][label]["controllability"])
    return (
        f"In full renders, beside {record.parameters['nulls']} random directions {kind}: {times}."
    )


def _times(found: dict[str, Any] | None) -> str:
    if found is None:
        return "as far as no random direction does"
    return f"{abs(found['effect']['value']):.1f} times as far (p {found['p']:.2g})"


def _largest(run: Run, kind: str, label: str) -> Record | None:
    """Returns the result with the most random directions for a label's direction, or None."""
    known = [
        record
        for record in list_records(run, kind)
        if record.parameters.get("name") == label and label in record.result["readings"]
    ]
    return max(known, key=lambda record: int(record.parameters["nulls"]), default=None)
