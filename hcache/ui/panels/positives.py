"""The samples that a new direction is fitted to: of a label, the selection, or picked pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st

from ...cache.labels import find_label
from ...cache.reading import Run
from ...directions.supervised import both_ends
from .. import loaders, selection, state
from ..grid import picture_grid

FROM_LABEL, FROM_PICTURES, FROM_SELECTION = "a label", "pictures I pick", "the selection"
SOURCES = {FROM_LABEL: "A label", FROM_PICTURES: "Pictures I pick", FROM_SELECTION: "The selection"}
MOST_SHOWN = 256


def choose_samples(run: Run, both: bool) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    """Returns positives, negatives and their label.

    Without ``both`` there are no negatives. The label is "" if they do not come from one.
    """
    labels = loaders.labels_of(run)
    sources = [*([FROM_LABEL] if labels else []), FROM_PICTURES, FROM_SELECTION]
    first, *others = [column for _ in range(2) for column in st.columns(2)]
    with first:
        source = state.select("Positives from", "source", sources, format_func=SOURCES.get)
    if source == FROM_SELECTION:
        return *_from_selection(run, both), ""
    if source == FROM_LABEL:
        return _from_label(run, labels, both, others)
    positives = _from_pictures(run, "positives")
    negatives = _from_pictures(run, "negatives") if both else []
    return tuple(positives), tuple(negatives), ""


def _from_label(
    run: Run, labels: dict[str, np.ndarray], both: bool, columns: Sequence[Any]
) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    left, middle, right = columns
    with left:
        name = state.select(
            "Label", "label", list(labels), format_func=lambda text: text.replace("_", " ")
        )
    with middle:
        end = state.select(
            "Positives are the", "end", ["highest", "lowest"], format_func=str.capitalize
        )
    with right:
        most = max(2, len(run) // 2)
        count = state.slider(
            "Number of positives", "positives", 2, most, min(max(4, len(run) // 8), most)
        )
    values = find_label(run, name)
    positives, negatives = both_ends(run, values, count, end == "highest")
    with st.expander(
        f"The {len(positives)} positives" + (f" and {len(negatives)} negatives" if both else "")
    ):
        for what, chosen in (
            ("positives", positives),
            *([("negatives", negatives)] if both else []),
        ):
            rows = [run.position(sample) for sample in chosen]
            captions = [f"{s} · {values[r]:.2f}" for s, r in zip(chosen, rows, strict=True)]
            uris = loaders.uris_of(run)
            st.caption(what)
            picture_grid(what, chosen, [uris[r] for r in rows], captions, size=64)
    return tuple(positives), tuple(negatives) if both else (), name


def _from_selection(run: Run, both: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Uses the selection of the Gallery and PCA. The other samples are the negatives."""
    chosen = selection.mask(run)
    selection.publish(run)
    positives, others = (tuple(run.sample_ids[flags].tolist()) for flags in (chosen, ~chosen))
    with st.expander(
        f"The {len(positives)} selected"
        + (f"; negatives are the {len(others)} others" if both else "")
    ):
        uris, shown = loaders.uris_of(run), np.flatnonzero(chosen)[:MOST_SHOWN]
        picture_grid(
            "selected",
            run.sample_ids[shown],
            [uris[r] for r in shown],
            [str(i) for i in run.sample_ids[shown]],
            size=64,
        )
        st.page_link(
            "pages/gallery.py",
            label="Change the selection in the Gallery",
            icon=":material/grid_view:",
        )
    return positives, others if both else ()


def _from_pictures(run: Run, what: str) -> list[int]:
    name = f"picked-{what}-{run.name}"
    picked = set(selection.from_text(state.recall(name, ""), run.sample_ids))
    st.caption(f"Click pictures to add them to the {what}, or remove them.")
    ids = run.sample_ids[:MOST_SHOWN]
    with st.container(height=300):
        clicked = picture_grid(
            f"pick-{what}",
            ids,
            loaders.uris_of(run)[: len(ids)],
            [str(i) for i in ids],
            marked=sorted(picked),
            size=64,
        )
    if clicked is not None:
        picked.symmetric_difference_update({clicked})
        state.choose(name, selection.to_text(sorted(picked)))
        st.rerun()
    state.keep(name, selection.to_text(sorted(picked)), "")
    return sorted(picked)
