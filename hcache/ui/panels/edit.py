"""Edit: what moving along a direction does, at one step and all the way."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from ...cache.reading import Run
from ...edits.render_store import render_kept
from ...figures.pictures import png_bytes
from ...figures.strips import draw_strip
from ...readers.reading import reader_of
from ...recipes.recipe import Recipe
from ...recipes.window import Window
from .. import loaders, state
from ..frame import beside, errors_shown
from ..kept import kept
from ..reader_choice import choose_reader
from ..work import run_button
from .directions import Chosen, direction_panel, profile_caption
from .edit_setup import DISTANCES, MOST_STRENGTH, Setup, apply_recipe, make_rows, setup_panel
from .pins import pin_cells
from .recipes import recipe_drop
from .sheets import sheet_download


def edit_panel(run: Run) -> None:
    """The direction and what to do with it on one side; on the other what comes of it, at one
    step and all the way.
    """
    controls, result = beside()
    with controls:
        choices, drop = st.container(), st.container()
        with drop, errors_shown():
            recipe_drop(
                run, apply_recipe(run)
            )  # a picture that was made here sets the page up again
        with choices:
            chosen = direction_panel(run)
            setup = setup_panel(run, chosen) if chosen is not None else None
    with result:
        if chosen is None or setup is None:
            st.info(
                "The edited pictures appear here. First choose a saved direction, or fit one with"
                " the controls on the left.",
                icon=":material/tune:",
            )
            return
        with errors_shown():
            preview_panel(run, chosen, setup)
        with errors_shown():
            strip_panel(run, chosen, setup)


def strip_panel(run: Run, chosen: Chosen, setup: Setup) -> None:
    """Samples over strengths, with the reader's values under every picture: one sample symmetric
    above asymmetric, several a row each."""
    rows, amounts = make_rows(run, chosen, setup), setup.amounts
    recipes = [recipe for row in rows.values() for recipe in row]
    reader_name = choose_reader(run)
    result = run_button(
        "Render the strip",
        "strip",
        (reader_name, *(recipe.digest for recipe in recipes)),
        lambda: _render(run, chosen, recipes, reader_name),
    )
    if result is None:
        st.caption(
            f"A strip of {len(amounts)} pictures in {len(rows)} rows, edited over all steps, from "
            f"{amounts[0]:+g} to {amounts[-1]:+g}. The first time, the model has to be loaded."
        )
        return
    cells, readings = result
    n = len(amounts)
    pictures = {
        name: np.stack([cell.picture for cell in cells[i * n : (i + 1) * n]])
        for i, name in enumerate(rows)
    }
    read = {
        name: {key: values[i * n : (i + 1) * n] for key, values in readings.items()}
        for i, name in enumerate(rows)
    }
    spreads = {name: float(np.nanstd(values)) for name, values in loaders.labels_of(run).items()}
    if len(rows) > 2 and chosen.target:
        read = {
            name: {chosen.target: values[chosen.target]}
            for name, values in read.items()
            if chosen.target in values
        }
    what = "strength" if setup.origin is None else "distance"
    st.html(
        draw_strip(
            pictures,
            amounts,
            read,
            spreads,
            chosen.target,
            f"{what} {'γ' if what == 'strength' else 'd'}",
        )
    )
    st.caption(f"{_UNITS[what]} {_READING.format(what=what)}")
    titles = [f"{name}, {what} {amount:+g}" for name in rows for amount in amounts]
    sheet_download("Download the strip", f"{run.name}-strip.png", cells, titles, n)
    pin_cells(run, cells, titles)


_UNITS = {
    "strength": (
        "At strength 1 the root mean square of Δh/σ over all steps, channels and places is 1."
    ),
    "distance": (
        "Distance 1 is as long as strength 1 at one step. It is measured from the mean of the run's"
        " samples. Every sample is moved to that distance, so distance 0 is not the unedited"
        " picture."
    ),
}
_READING = (
    "The values under each picture come from the attribute reader. The tint shows the change from"
    " {what} 0; it is full at 2.5 standard deviations of the attribute over the run. Symmetric: the"
    " edited noise enters P_t and D_t (Haas et al. 2023). Asymmetric: it enters P_t only (Asyrp:"
    " Kwon, Jeong, Uh 2022)."
)


def _render(
    run: Run, chosen: Chosen, recipes: list[Recipe], reader_name: str
) -> Generator[float, None, tuple[list[Any], dict[str, np.ndarray]]]:
    """The cells, and what the reader sees in them: attribute -> (n,)."""
    moves = {chosen.digest: chosen.move}
    home = run.folder.parent.parent
    cells = yield from render_kept(lambda: loaders.model_of(run), run, recipes, home, moves)
    reader = reader_of(run, reader_name)
    return cells, reader(np.stack([cell.picture for cell in cells])) if reader else {}


@st.fragment
def preview_panel(run: Run, chosen: Chosen, setup: Setup) -> None:
    """Predicted x_0 of one step with h moved: the decoder alone, so it follows the slider."""
    with errors_shown():
        _show_preview(run, chosen, setup)


def _show_preview(run: Run, chosen: Chosen, setup: Setup) -> None:
    if chosen.move.kind == "x":
        st.caption(
            "This direction moves x_t, not h: there is nothing to decode at one step. Render the"
            " strip."
        )
        return
    sample = setup.samples[0]
    first, second, middle, right = st.columns([5, 5, 3, 3])
    help_text = (
        f"The predicted x_0 of sample {sample} at one step, from the stored h, moved, and the"
        " stored skips, through the decoder half alone. Skips that are not stored are computed"
        f" once a step. {profile_caption(chosen.move)}"
    )
    with first:
        if setup.origin is None:
            step = state.slider(
                "Step of the preview",
                "step",
                0,
                run.spec.steps - 1,
                run.spec.steps // 2,
                help="Step 0 has most noise.",
            )
        else:
            step = setup.window.first
        st.caption(f"Sample {sample}, t = {run.timesteps[step]:g}", help=help_text)
    with second:
        if setup.origin is None:
            amount = state.amount(
                "Strength γ",
                "strength",
                -MOST_STRENGTH,
                MOST_STRENGTH,
                2.0,
                0.5,
                help="Of the preview. The strip below shows several strengths.",
            )
        else:
            amount = state.amount(
                "Distance d",
                "distance",
                DISTANCES[0],
                DISTANCES[-1],
                1.0,
                0.5,
                help="Of the preview. The strip below shows several distances.",
            )
    with st.spinner("Loading the model …", show_time=True):
        before, after = _preview(run, sample, step, chosen, setup, amount)
    middle.image(png_bytes(before), caption="Predicted x_0", alt="predicted x_0", width="stretch")
    name = "γ" if setup.origin is None else "d"
    said = f"with {name} = {amount:+g}"
    right.image(
        png_bytes(after), caption=said.capitalize(), alt=f"predicted x_0 {said}", width="stretch"
    )


def _preview(
    run: Run, sample: int, step: int, chosen: Chosen, setup: Setup, amount: float
) -> tuple[np.ndarray, np.ndarray]:
    from ...edits.resolve import Binder
    from ...sampling.loop import Moment, predict

    model = loaders.model_of(run)
    features, x_t, before = _preview_start(str(run.folder), sample, step)
    edit = replace(setup, window=Window(first=step, last=step)).edit(chosen, amount)
    bound = Binder(model, run, run.folder.parent.parent, {chosen.digest: chosen.move})([edit])
    t = run.timesteps[step]
    moved = {
        branch: bound(part, Moment(index=step, t=t, branch=branch))
        for branch, part in features.items()
    }
    after = predict(model, moved, x_t, step, run.spec.steps, run.spec.conditioning.rows([sample]))
    return before, model.to_images(after).numpy()[0]


@kept()
def _preview_start(folder: str, sample: int, step: int) -> tuple[Any, Any, np.ndarray]:
    """Features, x_t and predicted picture of a sample at a step, read (and what is not stored,
    computed) once.
    """
    from ...cache.reading import open_run
    from ...edits.cached import cached_branches, cached_x
    from ...sampling.loop import predict

    run = open_run(folder)
    model = loaders.model_of(run)
    features, x_t = cached_branches(model, run, sample, step), cached_x(model, run, sample, step)
    predicted = predict(
        model, features, x_t, step, run.spec.steps, run.spec.conditioning.rows([sample])
    )
    return features, x_t, model.to_images(predicted).numpy()[0]
