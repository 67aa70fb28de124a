"""The Gallery page: the finished pictures with their labels, the selection, and one picture in
full.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from ...cache.labels import mark_sample
from ...cache.reading import Run
from ...figures.pictures import png_bytes
from ...figures.strips import draw_film
from .. import address, loaders, selection, state
from ..frame import errors_shown
from ..grid import Click, picture_grid, selection_grid
from ..text import literal
from .attention import attention_panel
from .pins import pin_buttons
from .selection import selection_bar

PER_PAGE = 128
PICTURE = 170
"""The width of the chosen sample, in pixels."""

HAND = "by hand"
HIGHEST, LOWEST = "highest first", "lowest first"
SELECTS, SHOWS = "Select", "Show only"
CLICKS = {SELECTS: None, SHOWS: None, "Label as 1": 1.0, "Label as 0": 0.0}


def gallery_page(run: Run) -> None:
    """Draws the pictures, the last clicked one, and its trajectory."""
    left, right = st.columns([9, 4], gap="medium")
    with left, errors_shown():
        gallery_panel(run)
    with right, st.container(key="result"):
        ids = run.sample_ids
        sample = state.sample("Sample", "sample", ids, int(ids[0]))
        with errors_shown():
            sample_panel(run, sample)
    with errors_shown():
        trajectory_panel(run, sample)
    attention_panel(run, sample)


def gallery_panel(run: Run) -> None:
    """Draws pictures sorted and filtered by a label, in pages.

    A click shows and selects a picture.
    """
    labels = loaders.labels_of(run)
    order, values = _sorted_rows(run, labels)
    ids = run.sample_ids
    selection_bar(run, ids[order].tolist())
    pages = max(1, -(-len(order) // PER_PAGE))
    left, right = (
        st.columns([1, 2], vertical_alignment="bottom") if pages > 1 else 2 * [st.container()]
    )
    with left:
        page = state.slider("Page", "page", 1, pages, 1) - 1
    with right:
        does, name, given = _marking_panel(run)
    rows = order[page * PER_PAGE : (page + 1) * PER_PAGE]
    uris = loaders.uris_of(run)
    captions = [f"{ids[r]}" if values is None else f"{ids[r]} · {values[r]:.2f}" for r in rows]
    chosen = int(state.recall("sample", int(ids[0]), int))
    origin = "real pictures, inverted" if run.real else "samples"
    st.caption(
        f"{len(order)} of {len(run)} {origin}. Click a picture to select and show it; click again"
        " to deselect it. Shift-click selects a range. Arrow keys move, Enter clicks."
    )
    pictures = ids[rows], [uris[r] for r in rows], captions, chosen
    with st.container(key="gallery-pictures"):
        if does == SELECTS:
            selection_grid(
                "gallery",
                *pictures,
                selection.selected(run),
                lambda clicks: take_clicks(run, clicks),
            )
            return
        picked = picture_grid(
            "gallery-marks", *pictures, marked=[s for s, value in given.items() if value == 1]
        )
    mark = CLICKS[does]
    if picked is not None and mark is not None:
        _toggle(run, name, picked, mark)
    elif picked is not None and picked != chosen:
        state.choose("sample", picked)
        st.rerun()


def take_clicks(run: Run, clicks: list[Click]) -> None:
    """Handles clicks in the gallery.

    Each click shows its sample, and selects or deselects it. A range is selected.
    """
    with address.together():  # Back undoes both the sample and the selection
        for click in clicks:
            if click.range:
                selection.select(run, click.ids, selection.ADD)
            else:
                selection.toggle(run, click.sample)
            if click.sample in run.sample_ids:
                state.choose("sample", click.sample)
        selection.publish(run)


def _marking_panel(run: Run) -> tuple[str, str, dict[int, float]]:
    """Returns the click action (a key of ``CLICKS``), the label that it gives, and the values given
    so far.
    """
    with st.expander("Click action: select, show or label by hand"):
        left, right = st.columns(2)
        name = left.text_input(
            "Label", "chosen", key="hand-label", help=f"Stored in the run's label set {HAND}."
        ).strip()
        does = right.segmented_control(
            "Click action", [*CLICKS], default=next(iter(CLICKS)), key="hand-click"
        )
        given = run.labels.get(HAND, {}).get(name, np.full(len(run), np.nan))
        values = {
            int(s): float(v) for s, v in zip(run.sample_ids, given, strict=True) if np.isfinite(v)
        }
        ones, zeros = (sum(v == given for v in values.values()) for given in (1, 0))
        st.caption(
            f"{ones} samples labelled 1, {zeros} labelled 0. A second click removes the mark. "
            "The label is available on all pages."
        )
    return does or SELECTS, name, values


def _toggle(run: Run, name: str, sample: int, mark: float) -> None:
    """Marks a sample or removes its mark. This is written at once, so a crash loses no click."""
    mark_sample(run, HAND, name, sample, mark)
    st.rerun()


def sample_panel(run: Run, sample: int) -> None:
    """Draws the chosen sample.

    It shows its picture, all its labels, and pins for the Compare page.
    """
    row = run.position(sample)
    if run.real:
        sides = st.columns(2)
        for side, picture, said in (
            (sides[0], run.original(sample), f"real picture {sample}"),
            (sides[1], run.picture(sample), "its inversion, denoised again"),
        ):
            if picture is not None:
                side.image(png_bytes(picture), caption=said.capitalize(), alt=said, width="stretch")
    else:
        said = f"sample {sample}, seed {run.seed(sample)}"
        st.image(png_bytes(run.picture(sample)), caption=said, alt=said, width=PICTURE)
    labels = loaders.labels_of(run)
    if labels:
        st.dataframe(_label_table(labels, row), hide_index=True, width="stretch", row_height=28)
    else:
        st.caption("This model has no attribute reader, so its samples have no labels.")
    pin_buttons(run, sample)


def trajectory_panel(run: Run, sample: int) -> None:
    """Draws the predicted x_0 of a sample over the steps."""
    st.markdown(
        f"**Predicted x_0 of sample {sample} over the steps**, from most noise to the finished"
        " picture"
    )
    film = run.trajectory(sample)
    st.html(draw_film(film, [f"{i} · t={t}" for i, t in enumerate(run.timesteps)]))


def _sorted_rows(run: Run, labels: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the rows to show, in order, and their sort values."""
    sort, direction, low_high = st.columns([2, 1, 3], vertical_alignment="bottom")
    with sort:
        name = state.select("Sort by", "sort", ["sample", *labels], format_func=_words)
    if name == "sample":
        return np.arange(len(run)), None
    values = labels[name]
    with direction:
        descending = (
            state.select("Order", "order", [HIGHEST, LOWEST], format_func=str.capitalize) == HIGHEST
        )
    finite = values[np.isfinite(values)]
    if not finite.size:
        st.caption(f"No sample has a value for {literal(_words(name))}.")
        return np.arange(len(run)), values
    low, high = (
        float(np.floor(finite.min() * 100) / 100),
        float(np.ceil(finite.max() * 100) / 100),
    )
    if low >= high:
        return np.flatnonzero(np.isfinite(values)), values
    with low_high:
        chosen = state.span(f"Filter by {literal(_words(name))}", f"filter-{name}", low, high)
    rows = np.flatnonzero((values >= chosen[0]) & (values <= chosen[1]))
    order = np.argsort(values[rows], kind="stable")
    return rows[order[::-1] if descending else order], values


def _label_table(labels: dict[str, np.ndarray], row: int) -> pd.DataFrame:
    """Returns a table of a sample's labels, with its rank among all samples."""
    return pd.DataFrame(
        [
            {
                "Label": _words(name),
                "Value": round(float(values[row]), 3),
                "Higher than": f"{np.mean(values < values[row]):.0%} of samples",
            }
            for name, values in labels.items()
        ]
    )


def _words(name: str) -> str:
    return name.replace("_", " ")
