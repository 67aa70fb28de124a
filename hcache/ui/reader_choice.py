"""Which of a run's readers reads the pictures of a page: a choice where there are several."""

from __future__ import annotations

from ..cache.reading import Run
from ..readers.reading import readers_of
from . import state


def choose_reader(run: Run) -> str:
    """The name of the chosen reader; empty if the run has none. A widget only if it has several."""
    known = readers_of(run)
    if len(known) < 2:
        return known[0] if known else ""
    return state.select(
        "Reader", "reader", known, help="What reads the attributes of edited pictures."
    )
