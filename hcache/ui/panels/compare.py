"""Compare: A and B, samples or rendered pictures, of one run or two: side by side, their
difference, by turns; and of two runs how alike their sites are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from ...analysis.similarity import WINDOW, pixel_distance, ssim
from ...cache.layout import run_folder, run_names
from ...cache.reading import Run
from ...errors import UsageError
from ...figures.differences import CHANNELS, draw_difference, signed_difference
from ...figures.palette import DIVERGING
from ...figures.pictures import data_uri
from ...images.pngs import pixels_digest
from ...readers.likeness import COMPARED, apart, distances_of
from ...readers.reading import reader_of, readers_of
from .. import loaders, state
from ..similarity_choice import choose_similarities, distances_with, say_missing, two_samples
from ..text import literal, sentence
from ..viewer import FASTEST, SLOWEST, show_pictures
from .alike import alike_panel
from .pins import SIDES, Pinned, pinned

BESIDE, ALONE, TURNS = "side by side", "difference", "by turns (blink)"
LARGE, SMALL = 400, 480
"""The width of pictures in pixels of the screen."""
KEYS = "Zoom all panes with the wheel or + and −. Drag or use the arrow keys to move. 0 resets."
SCALES = {
    "the largest difference": 0.0,
    "±16": 16.0,
    "±32": 32.0,
    "±64": 64.0,
    "±128": 128.0,
    "±255": 255.0,
}


def compare_panel(run: Run) -> None:
    """Draws the two sides, the pictures and the numbers."""
    found = []
    for number, (side, column) in enumerate(zip(SIDES, st.columns(2, gap="large"), strict=True)):
        with column:
            found.append(_side(side, run, number))
    a, b = found
    same_size = a.picture.shape == b.picture.shape
    views = [BESIDE, ALONE, TURNS] if same_size else [BESIDE]
    one, two, three = st.columns(3)
    with one:
        view = state.select("View", "view", views, format_func=sentence)
    channel, scale, rate = next(iter(CHANNELS)), 0.0, 1.0
    if view == TURNS:
        with two:
            rate = state.amount("Changes per second", "blink-rate", SLOWEST, FASTEST, 1.0, 0.5)
    elif same_size:
        with two:
            channel = state.select("Difference in", "channel", list(CHANNELS), format_func=sentence)
        with three:
            scale = SCALES[
                state.select("Scale (of 255)", "scale", list(SCALES), format_func=sentence)
            ]
    _pictures(a, b, view, channel, scale, rate)
    if not same_size:
        st.info(
            f"A has {_size(a)} pixels and B has {_size(b)}, so only their readings can be compared."
        )
    _numbers(a, b, same_size)
    if same_size:
        _distances(a, b)
    if a.run.name != b.run.name:
        alike_panel(a.run, b.run)


def _side(side: str, run: Run, number: int) -> Pinned:
    """Returns the run and sample of a side, and whether it is unedited or rendered."""
    home = run.home
    names = run_names(home)
    left, middle = st.columns([3, 2])
    with left:
        name = state.select(f"Run of {side}", f"{side}-run", names, default=run.name)
    own = loaders.shared_run(run_folder(home, name))
    if not len(own):
        raise UsageError(f"run {name} has no samples yet; choose another for {side}")
    ids = own.sample_ids
    with middle:
        sample = state.sample("Sample", f"{side}-sample", ids, int(ids[min(number, len(ids) - 1)]))
    found = pinned(side, own, sample)
    with st.container(horizontal=True, vertical_alignment="center"):
        if found.recipe is not None:
            st.markdown(literal(_recipe_in_words(found)), width="content")
            st.button(
                "Show the unedited sample",
                key=f"{side}-unpin",
                type="tertiary",
                on_click=state.choose,
                args=(f"{side}-render", ""),
            )
        else:
            gone = "The pinned picture is no longer stored. " if found.gone else ""
            st.caption(f"{gone}Unedited sample, seed {own.seed(sample)}.")
    return found


def _recipe_in_words(found: Pinned) -> str:
    edits = found.recipe.edits if found.recipe else ()
    return ", ".join([found.title, *filter(None, (edit.in_words for edit in edits))])


def _pictures(a: Pinned, b: Pinned, view: str, channel: str, scale: float, rate: float) -> None:
    pair = [
        {"uri": data_uri(side.picture), "title": f"{name}: {side.title}"}
        for name, side in zip(SIDES, (a, b), strict=True)
    ]
    if view == TURNS:
        show_pictures("compare-turns", pair, LARGE, rate)
        st.caption(f"{KEYS} Space pauses; A and B show one of the two.")
        return
    if a.picture.shape != b.picture.shape:
        show_pictures("compare-pictures", pair, LARGE)
        return
    difference = signed_difference(a.picture, b.picture, channel)
    largest = float(np.abs(difference).max())
    scale = scale or max(1.0, float(np.ceil(largest)))
    drawn = {
        "uri": data_uri(draw_difference(difference, scale)),
        "legend": True,
        "title": f"B − A in {channel}",
    }
    legend = {
        "colours": [colour for _, colour in DIVERGING],
        "ends": [f"−{scale:g}", "0", f"+{scale:g} of 255"],
    }
    show_pictures(
        "compare-pictures",
        [drawn] if view == ALONE else [*pair, drawn],
        LARGE if view == ALONE else SMALL,
        legend=legend,
    )
    beyond = float((np.abs(difference) > scale).mean())
    clipped = f"{beyond:.1%} of the pixels exceed the scale. " if beyond else ""
    st.caption(f"Largest difference {largest:.0f} of 255. {clipped}{KEYS}")


def _numbers(a: Pinned, b: Pinned, same_size: bool) -> None:
    left, right = st.columns([1, 2])
    with left:
        if same_size:
            pair = a.picture[None], b.picture[None]
            rmse = float(pixel_distance(*pair)[0])
            st.metric(
                "Pixel RMSE",
                f"{255 * rmse:.1f} of 255",
                help="Root mean square difference over pixels and colours.",
            )
            if min(a.picture.shape[:2]) >= WINDOW:
                st.metric(
                    "SSIM",
                    f"{float(ssim(*pair)[0]):.3f}",
                    help=(
                        "Structural similarity of the brightness, 1 for "
                        "the same picture (Wang, Bovik, Sheikh, Simoncelli 2004)."
                    ),
                )
            for name, value in _cosines(a, b).items():
                st.metric(
                    f"Cosine of {name}",
                    f"{value:.3f}",
                    help="Of the embeddings by the image encoder of A's reader; 1 for the same.",
                )
    with right:
        name = _common_reader(a, b)
        readings = [_readings(side, name) for side in (a, b)]
        if not all(readings):
            st.caption(
                "Readings appear here when both runs have an attribute reader; add one in the"
                " Gallery."
            )
            return
        st.dataframe(_table(*readings, loaders.labels_of(a.run)), hide_index=True, width="stretch")
        st.caption("Values of the attribute reader. Spreads are standard deviations over A's run.")


def _distances(a: Pinned, b: Pinned) -> None:
    """Shows the distances of both pictures beside those of two different samples of A's run."""
    names = choose_similarities("compare")
    reader = next(iter(readers_of(a.run)), "")
    digests = (pixels_digest(a.picture), pixels_digest(b.picture))
    found, missing = _apart(str(a.run.folder), reader, names, digests, a.picture, b.picture)
    with st.spinner("Comparing samples of the run …"):
        others = two_samples(a.run, distances_with(a.run, reader, names).distances)
    rows = [
        {
            "Distance": name,
            "A and B": f"{value:.3f}",
            "Two samples": f"{others[name]:.3f}" if name in others else "",
        }
        for name, value in found.items()
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")
    st.caption(
        "0 for the same picture. Pixels: root mean square difference, as a share of the range;"
        " structure: 1 − SSIM; embedding: 1 − cosine. Two samples: the mean over up to"
        f" {COMPARED} pairs of different samples of A's run, which is what chance gives."
    )
    say_missing(missing)


@st.cache_data(max_entries=256, show_spinner="Comparing the pictures …")
def _apart(
    folder: str,
    reader: str,
    names: tuple[str, ...],
    digests: tuple[str, str],
    _a: np.ndarray,
    _b: np.ndarray,
) -> tuple[dict[str, float], tuple[str, ...]]:
    run = loaders.shared_run(Path(folder))
    far = distances_with(run, reader, names)
    found = apart(_a[None], _b[None], far.distances)
    return {name: float(values[0]) for name, values in found.items()}, far.missing


def _common_reader(a: Pinned, b: Pinned) -> str:
    """Returns a reader that both runs have, so that their values are comparable. If there are
    several, the user chooses one. It is empty if there is none.
    """
    common = [name for name in readers_of(a.run) if name in readers_of(b.run)]
    if len(common) < 2:
        return common[0] if common else ""
    return state.select(
        "Reader", "compare-reader", common, help="The attribute reader that reads both pictures."
    )


def _cosines(a: Pinned, b: Pinned) -> dict[str, float]:
    """Returns the cosine of both pictures' embeddings, if A's reader has an image encoder."""
    known = readers_of(a.run)
    if not known:
        return {}
    folder, digests = str(a.run.folder), (pixels_digest(a.picture), pixels_digest(b.picture))
    return _cosine(folder, known[0], digests, a.picture, b.picture)


@st.cache_data(max_entries=256, show_spinner="Comparing the pictures …")
def _cosine(
    folder: str, reader: str, digests: tuple[str, str], _a: np.ndarray, _b: np.ndarray
) -> dict[str, float]:
    found = distances_of(reader_of(loaders.shared_run(Path(folder)), reader))
    return {name: 1 - float(far(_a[None], _b[None])[0]) for name, far in found.items()}


def _readings(side: Pinned, common: str) -> dict[str, float]:
    """Returns the readings by the common reader or the run's own; empty if it has none."""
    known = [common] if common else readers_of(side.run)
    if not known:
        return {}
    stored = side.run.labels.get(known[0])
    if side.recipe is None and stored:
        row = side.run.position(side.sample)
        return {name: float(values[row]) for name, values in stored.items()}
    return _read(str(side.run.folder), known[0], pixels_digest(side.picture), side.picture)


@st.cache_data(max_entries=256, show_spinner="Reading the picture …")
def _read(folder: str, reader: str, digest: str, _picture: np.ndarray) -> dict[str, float]:
    found = reader_of(loaders.shared_run(Path(folder)), reader)
    return (
        {name: float(values[0]) for name, values in found(_picture[None]).items()} if found else {}
    )


def _table(
    a: Mapping[str, float], b: Mapping[str, float], labels: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    rows = []
    for name in (name for name in a if name in b):
        change, spread = (
            b[name] - a[name],
            float(np.nanstd(labels[name])) if name in labels else 0.0,
        )
        rows.append(
            {
                "Reading": name.replace("_", " "),
                "A": f"{a[name]:.2f}",
                "B": f"{b[name]:.2f}",
                "B − A": _signed(change),
                "In spreads": _signed(change / spread) if spread else "",
            }
        )
    return pd.DataFrame(rows)


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"  # + 0.0: no -0.00


def _size(side: Pinned) -> str:
    return f"{side.picture.shape[1]} × {side.picture.shape[0]}"
