"""Measuring is a generator that yields the share done and returns a record; what is stored is not measured again."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

from ..cache.measures import Record, load_record, save_record
from ..cache.reading import Run

T = TypeVar("T")
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


def part(work: Generator[float, None, T], done: float, share: float) -> Generator[float, None, T]:
    """Work that is a share of a larger one: its progress in the larger one's terms."""
    while True:
        try:
            progress = next(work)
        except StopIteration as end:
            return end.value
        yield done + share * progress
