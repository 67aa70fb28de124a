"""Measuring is a generator that yields the share done and returns a record; what is stored is not measured again."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

from ..cache.measures import Record, load_record, save_record
from ..cache.reading import Run

Measuring = Generator[float, None, Record]


def measured(
    run: Run, kind: str, parameters: Mapping[str, Any], compute: Callable[[], Generator[float, None, Any]]
) -> Measuring:
    """The stored result of these parameters, or what ``compute`` comes to, stored."""
    found = load_record(run, kind, parameters)
    if found is None:
        found = save_record(run, kind, parameters, (yield from compute()))
    yield 1.0
    return found
