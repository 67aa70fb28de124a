"""The choice of similarities for the small tables of distances, and their null."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import streamlit as st

from ..analysis.swaps import Distance
from ..cache.reading import Run
from ..cache.records import state_of
from ..readers.likeness import distances_of, samples_apart
from ..readers.reading import reader_of
from ..similarities.opening import ChosenDistances, between_pictures, chosen_distances
from ..similarities.registry import SIMILARITIES
from . import loaders, state
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


def distances_with(run: Run, reader: str, names: Sequence[str]) -> ChosenDistances:
    """Opens a reader's distances and the named similarities."""
    chosen = chosen_distances(run, reader, names)
    own = distances_of(reader_of(run, reader))
    return ChosenDistances(distances={**own, **chosen.distances}, missing=chosen.missing)


def two_samples(run: Run, distances: Mapping[str, Distance]) -> dict[str, float]:
    """Returns the mean distances of two different samples of a run.

    They are the null of a table of distances. They are kept for all pages, because they take longer
    than the distances of a few pictures. A distance of an encoder has its digest in its name, so
    that of another encoder is measured anew.
    """
    return dict(_two_samples(str(run.folder), state_of(run), tuple(distances), distances))


@st.cache_data(max_entries=64, show_spinner=False)
def _two_samples(
    folder: str, state: str, names: tuple[str, ...], _distances: Mapping[str, Distance]
) -> dict[str, float]:
    return samples_apart(loaders.shared_run(Path(folder)), _distances)


def say_missing(lines: Iterable[str]) -> None:
    """Says which similarities are missing, in one line each."""
    for line in lines:
        st.caption(literal(line))
