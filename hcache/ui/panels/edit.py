"""The Edit page: the effect of moving along a direction, at one step and over all steps."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ...cache.reading import Run
from ...cache.records import state_of
from ...directions.direction import Move
from ...edits.render_store import render_kept
from ...figures.pictures import png_bytes
from ...figures.strips import draw_strip
from ...readers.checks import error_of
from ...readers.likeness import apart
from ...readers.reading import reader_of
from ...recipes.recipe import Recipe
from .. import loaders, state
from ..edit_widgets import draw_amount
from ..frame import beside, errors_shown
from ..kept import kept
from ..reader_choice import choose_reader
from ..similarity_choice import choose_similarities, distances_with, say_missing, two_samples
from ..text import literal
from ..work import run_button
from .directions import Chosen, direction_panel, profile_caption
from .edit_setup import EditSetup, apply_recipe, kind_panel, make_rows, setup_panel
from .pins import pin_cells
from .recipes import recipe_drop
from .sheets import sheet_download

if TYPE_CHECKING:
    from ...edits.executor import Start


Apart = tuple[dict[str, np.ndarray], dict[str, float]]
"""Distances of pictures from the unedited ones by name, and between two samples."""


def edit_panel(run: Run) -> None:
    """Draws the edit and its choices, with the results beside them.

    The results are the prediction at one step, and a strip over all steps.
    """
    controls, result = beside()
    with controls:
        choices, drop = st.container(), st.container()
        with drop, errors_shown():
            recipe_drop(run, apply_recipe(run))  # a picture from this page sets the page up again
        chosen, setup = None, None
        with choices, errors_shown():
            kind = kind_panel()
            chosen = direction_panel(run) if kind.has("direction") else None
            if chosen is not None or not kind.has("direction"):
                setup = setup_panel(run, kind, chosen)
    with result:
        if setup is None:
            st.info(
                "The edited pictures appear here. First choose a saved direction, or fit one with"
                " the controls on the left.",
                icon=":material/tune:",
            )
            return
        with errors_shown():
            preview_panel(run, chosen, setup)
        strip = st.container()
        names = choose_similarities("edit", cheap_chosen=False)  # below the strip
        with strip, errors_shown():
            strip_panel(run, chosen, setup, names)


def strip_panel(run: Run, chosen: Chosen | None, setup: EditSetup, names: tuple[str, ...]) -> None:
    """Draws samples over strengths, with the reader's values.

    Values are below every picture. One sample is shown symmetric above asymmetric, and several
    samples have one row each. ``names``: the similarities to measure.
    """
    rows, amount = make_rows(run, setup), setup.amount
    amounts, target = amount.values, chosen.target if chosen else None
    recipes = [recipe for row in rows.values() for recipe in row]
    reader_name = choose_reader(run)
    result = run_button(
        "Render the strip",
        "strip",
        (reader_name, names, *(recipe.digest for recipe in recipes)),
        lambda: _render(run, chosen, recipes, reader_name, names),
    )
    if result is None:
        st.caption(
            f"A strip of {len(amounts)} pictures in {len(rows)} rows, edited over all steps, from "
            f"{amounts[0]:+g} to {amounts[-1]:+g}. The first time, the model has to be loaded."
        )
        return
    cells, readings, (distances, others), missing = result
    n = len(amounts)
    pictures = {
        name: np.stack([cell.picture for cell in cells[i * n : (i + 1) * n]])
        for i, name in enumerate(rows)
    }
    read = {
        name: {key: values[i * n : (i + 1) * n] for key, values in readings.items()}
        for i, name in enumerate(rows)
    }
    moved = {
        name: {key: values[i * n : (i + 1) * n] for key, values in distances.items()}
        for i, name in enumerate(rows)
    }
    spreads = {name: float(np.nanstd(values)) for name, values in loaders.labels_of(run).items()}
    if len(rows) > 2 and target:
        read = {name: {target: values[target]} for name, values in read.items() if target in values}
    what = amount.name
    st.html(
        draw_strip(
            pictures,
            amounts,
            read,
            spreads,
            target,
            f"{what} {amount.symbol}",
            moved if len(rows) <= 2 else None,
            others,
        )
    )
    st.caption(f"{amount.unit} {_READING.format(what=what)} {_apart_in_words(others)}")
    say_missing(missing)
    if known := _errors_in_words(run, reader_name, readings):
        st.caption(literal(known))
    titles = [f"{name}, {what} {amount:+g}" for name in rows for amount in amounts]
    sheet_download("Download the strip", f"{run.name}-strip.png", cells, titles, n)
    pin_cells(run, cells, titles)


_READING = (
    "The values under each picture come from the attribute reader. The tint shows the change from"
    " {what} 0; it is full at 2.5 standard deviations of the attribute over the run. Symmetric: the"
    " edited noise enters P_t and D_t (Haas et al. 2023). Asymmetric: it enters P_t only (Asyrp:"
    " Kwon, Jeong, Uh 2022)."
)


def _apart_in_words(others: dict[str, float]) -> str:
    """Explains the distances below the readings, with those of two different samples."""
    told = ", ".join(f"{name} {value:.3f}" for name, value in others.items())
    return (
        "The distances are from the unedited sample: pixels as a share of the range, structure"
        f" 1 − SSIM, embedding 1 − cosine. Distances between two different samples: {told}."
    )


def _errors_in_words(run: Run, reader_name: str, attributes: Iterable[str]) -> str:
    """Describes the known error of the reader of the shown values; empty if nothing is known."""
    known = {name: said for name in attributes if (said := error_of(run, reader_name, name))}
    said = "; ".join(f"{name}: {error}" for name, error in known.items())
    return f"Error of the reader {reader_name}: {said}" if known else ""


def _render(
    run: Run,
    chosen: Chosen | None,
    recipes: list[Recipe],
    reader_name: str,
    names: Sequence[str],
) -> Generator[float, None, tuple[list[Any], dict[str, np.ndarray], Apart, tuple[str, ...]]]:
    """Renders the cells. Returns their readings, attribute -> (n,); their distances from the
    unedited samples, distance -> (n,), with those between two different samples; and a line for
    each similarity that is missing.
    """
    cells = yield from render_kept(
        lambda: loaders.model_of(run), run, recipes, run.home, _known(chosen)
    )
    reader = reader_of(run, reader_name)
    pictures = np.stack([cell.picture for cell in cells])
    readings = reader(pictures) if reader else {}
    own = run.images[[run.position(recipe.sample) for recipe in recipes]]
    far = distances_with(run, reader_name, names)
    found = apart(pictures, own, far.distances)
    return cells, readings, (found, two_samples(run, far.distances)), far.missing


def _known(chosen: Chosen | None) -> dict[str, Move]:
    """Returns the chosen direction by digest, so that it need not be saved."""
    return {chosen.digest: chosen.move} if chosen else {}


@st.fragment
def preview_panel(run: Run, chosen: Chosen | None, setup: EditSetup) -> None:
    """Draws the predicted x_0 of one step under the edit.

    It uses only the decoder half, so it follows the slider.
    """
    with errors_shown():
        _show_preview(run, chosen, setup)


def _show_preview(run: Run, chosen: Chosen | None, setup: EditSetup) -> None:
    if chosen is not None and chosen.move.kind == "x":
        st.caption(
            "This direction moves x_t, not h: there is nothing to decode at one step. Render the"
            " strip."
        )
        return
    sample = setup.samples[0]
    first, second, middle, right = st.columns([5, 5, 3, 3])
    help_text = (
        f"The predicted x_0 of sample {sample} at one step, from the stored activations, edited,"
        " through the decoder half alone. Sites that are not stored are computed once per step."
        f" {profile_caption(chosen.move) if chosen else ''}"
    )
    with first:
        step = _step_of(run, setup)
        st.caption(f"Sample {sample}, t = {run.timesteps[step]:g}", help=help_text)
    with second:
        amount = draw_amount(setup.kind, setup.amount)
    with st.spinner("Loading the model …", show_time=True):
        before, after = _preview(run, sample, step, chosen, setup, amount)
    middle.image(png_bytes(before), caption="Predicted x_0", alt="predicted x_0", width="stretch")
    said = f"with {setup.amount.symbol} = {amount:+g}"
    right.image(
        png_bytes(after), caption=said.capitalize(), alt=f"predicted x_0 {said}", width="stretch"
    )


def _step_of(run: Run, setup: EditSetup) -> int:
    """Returns the step of the preview: the edit's single step, or a chosen one."""
    if setup.kind.has("step"):
        return int(setup.choices["step"])
    steps = run.spec.steps
    return state.slider(
        "Step of the preview", "step", 0, steps - 1, steps // 2, help="Step 0 has the most noise."
    )


def _preview(
    run: Run, sample: int, step: int, chosen: Chosen | None, setup: EditSetup, amount: float
) -> tuple[np.ndarray, np.ndarray]:
    from ...edits.executor import Executor

    start = _preview_start(str(run.folder), state_of(run), sample, step)
    edit = setup.edit(amount).at_step(step)
    executor = Executor(loaders.model_of(run), run, moves=_known(chosen))
    return start.predicted, executor.preview(start, [edit])


@kept()
def _preview_start(folder: str, samples: str, sample: int, step: int) -> Start:
    """Reads a sample at a step once, and computes what is not stored. ``samples``, the digest
    of the run's samples, is part of the key of what is kept.
    """
    from ...cache.reading import open_run
    from ...edits.executor import Executor

    run = open_run(folder)
    return Executor(loaders.model_of(run), run).start(sample, step)
