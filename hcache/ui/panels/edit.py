"""Edit: what moving along a direction does, at one step and all the way."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from ...cache.reading import Run
from ...edits.recipe import Recipe
from ...edits.renders import render_kept
from ...edits.window import Window
from ...figures.pictures import png_bytes
from ...figures.strips import draw_strip
from ...readers.reading import reader_of
from .. import loaders, state
from ..frame import errors_shown
from ..reader_choice import choose_reader
from ..work import run_button
from .directions import Chosen, profile_caption
from .edit_setup import DISTANCES, MOST_STRENGTH, Setup, apply_recipe, make_rows
from .pins import pin_cells
from .recipes import recipe_drop
from .sheets import sheet_download


def drop_panel(run: Run) -> None:
    """A picture that was made here sets the page up again."""
    recipe_drop(run, apply_recipe(run))


def strip_panel(run: Run, chosen: Chosen, setup: Setup) -> None:
    """Samples over strengths, with the reader's values under every picture: one sample symmetric above asymmetric,
    several a row each."""
    st.subheader("Full edit")
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
        return
    cells, readings = result
    n = len(amounts)
    pictures = {name: np.stack([cell.picture for cell in cells[i * n : (i + 1) * n]]) for i, name in enumerate(rows)}
    read = {name: {key: values[i * n : (i + 1) * n] for key, values in readings.items()} for i, name in enumerate(rows)}
    spreads = {name: float(np.nanstd(values)) for name, values in loaders.labels_of(run).items()}
    if len(rows) > 2 and chosen.target:
        read = {
            name: {chosen.target: values[chosen.target]} for name, values in read.items() if chosen.target in values
        }
    what = "strength" if setup.origin is None else "distance"
    st.html(draw_strip(pictures, amounts, read, spreads, chosen.target, f"{what} {'γ' if what == 'strength' else 'd'}"))
    st.caption(f"{_UNITS[what]} {_READING.format(what=what)}")
    titles = [f"{name}, {what} {amount:+g}" for name in rows for amount in amounts]
    sheet_download("Download the strip", f"{run.name}-strip.png", cells, titles, n)
    pin_cells(run, cells, titles)


_UNITS = {
    "strength": "Strength 1: root mean square of Δh/σ is 1 over all steps, channels and places.",
    "distance": "Distance 1 is as long as strength 1 at one step, counted from the middle of the run's samples; every "
    "sample is put there, so distance 0 is not the picture as it was.",
}
_READING = (
    "Under each picture what the attribute reader sees; tinted by the change from {what} 0, full tint at 2.5 of the "
    "attribute's spreads. Symmetric: the edited noise enters P_t and D_t (Haas et al. 2023); asymmetric: P_t only "
    "(Asyrp: Kwon, Jeong, Uh 2022)."
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
    st.subheader("One-step preview")
    with errors_shown():
        _show_preview(run, chosen, setup)


def _show_preview(run: Run, chosen: Chosen, setup: Setup) -> None:
    if chosen.move.kind == "x":
        st.caption("This direction moves x_t, not h: there is nothing to decode at one step. Render the strip.")
        return
    sample = setup.samples[0]
    left, middle, right = st.columns([3, 1, 1])
    with left:
        if setup.origin is None:
            step = state.slider("Step", "step", 0, run.spec.steps - 1, run.spec.steps // 2)
            amount = state.amount("Strength γ", "strength", -MOST_STRENGTH, MOST_STRENGTH, 2.0, 0.5)
        else:
            step = setup.window.first
            amount = state.amount("Distance d", "distance", DISTANCES[0], DISTANCES[-1], 1.0, 0.5)
        st.caption(
            f"Sample {sample}, t = {run.timesteps[step]:g}. Cached h, moved, and cached skips through the decoder "
            f"half; skips that are not stored are computed once a step. {profile_caption(chosen.move)}"
        )
    with st.spinner("Loading the model …", show_time=True):
        before, after = _preview(run, sample, step, chosen, setup, amount)
    middle.image(png_bytes(before), caption="predicted x_0", alt="predicted x_0", width="stretch")
    name = "γ" if setup.origin is None else "d"
    said = f"with {name} = {amount:+g}"
    right.image(png_bytes(after), caption=said, alt=f"predicted x_0 {said}", width="stretch")


def _preview(
    run: Run, sample: int, step: int, chosen: Chosen, setup: Setup, amount: float
) -> tuple[np.ndarray, np.ndarray]:
    from ...edits.bind import Binder
    from ...sampling.loop import Moment, predict

    model = loaders.model_of(run)
    features, x_t, before = _preview_start(str(run.folder), sample, step)
    edit = replace(setup, window=Window(first=step, last=step)).edit(chosen, amount)
    bound = Binder(model, run, run.folder.parent.parent, {chosen.digest: chosen.move})([edit])
    t = run.timesteps[step]
    moved = {branch: bound(part, Moment(index=step, t=t, branch=branch)) for branch, part in features.items()}
    after = predict(model, moved, x_t, step, run.spec.steps, run.spec.conditioning.rows([sample]))
    return before, model.to_images(after).numpy()[0]


@st.cache_resource(max_entries=64, show_spinner=False)
def _preview_start(folder: str, sample: int, step: int) -> tuple[Any, Any, np.ndarray]:
    """Features, x_t and predicted picture of a sample at a step, read (and what is not stored, computed) once."""
    from ...cache.reading import open_run
    from ...edits.cached import cached_branches, cached_x
    from ...sampling.loop import predict

    run = open_run(folder)
    model = loaders.model_of(run)
    features, x_t = cached_branches(model, run, sample, step), cached_x(model, run, sample, step)
    predicted = predict(model, features, x_t, step, run.spec.steps, run.spec.conditioning.rows([sample]))
    return features, x_t, model.to_images(predicted).numpy()[0]
