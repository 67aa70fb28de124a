"""The choice of similarities for the small tables of distances."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from ..similarities.opening import between_pictures
from ..similarities.registry import SIMILARITIES
from . import state
from .text import literal


def choose_similarities(page: str, cheap_chosen: bool = True) -> tuple[str, ...]:
    """Returns the names of the similarities to measure.

    Pixels, structure and embedding are measured always. At first, those without weights are
    chosen, or none.
    """
    known = between_pictures()
    told = "; ".join(f"{SIMILARITIES[name].title}: {SIMILARITIES[name].rewards}" for name in known)
    found = state.many(
        "More distances",
        f"{page}-similarities",
        list(known),
        [name for name, cheap in known.items() if cheap and cheap_chosen],
        format_func=lambda name: SIMILARITIES[name].title,
        help=f"{told} Those of an encoder take that of the run's reader.",
    )
    return tuple(found)


def say_missing(lines: Iterable[str]) -> None:
    """Says which similarities are missing, in one line each."""
    for line in lines:
        st.caption(literal(line))
