"""The choice of a page's reader, if a run has several."""

from __future__ import annotations

from ..cache.reading import Run
from ..readers.reading import readers_of
from . import state


def choose_reader(run: Run) -> str:
    """Returns the name of the chosen reader. It is "" if the run has none.

    A widget is shown only if there are several.
    """
    known = readers_of(run)
    if len(known) < 2:
        return known[0] if known else ""
    return state.select(
        "Reader", "reader", known, help="What reads the attributes of edited pictures."
    )
