"""Edit: what moving along a direction does, at one step and all the way."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import streamlit as st

from ...cache.reading import Run
from ...cards import find_card
from ...directions.direction import Direction, digest_of
from ...edits.kinds import DirectionRef, ShiftEdit
from ...edits.recipe import Recipe, check_run, recipe_of
from ...edits.renders import render_kept
from ...edits.window import SHAPES, Window
from ...errors import UsageError
from ...figures.pictures import png_bytes
from ...figures.strips import draw_strip
from ...readers import find_reader
from .. import loaders, state
from ..frame import errors_shown
from ..work import run_button
from .directions import Chosen, profile_caption, saved_move, use_direction
from .pins import pin_cells
from .recipes import recipe_drop
from .sheets import sheet_download

STRENGTHS = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)
SYMMETRIC, ASYMMETRIC = "symmetric", "asymmetric"
NOTHING = "nothing else"
MOST_SAMPLES = 8
MOST_STRENGTH, MOST_BOOST = 8.0, 1000.0


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How a strip is made: which samples, in which steps, and what else is moved."""

    samples: tuple[int, ...]
    window: Window
    per_step: bool
    t_boost: float | None
    also: ShiftEdit | None
    asymmetric: bool


def strip_panel(run: Run, chosen: Chosen) -> None:
    """Samples over strengths, with the reader's values under every picture: one sample symmetric above asymmetric,
    several a row each."""
    st.subheader("Full edit")
    setup = _setup_panel(run, chosen)
    rows = _recipes(run, chosen, setup)
    recipes = [recipe for row in rows.values() for recipe in row]
    result = run_button(
        "Render the strip",
        "strip",
        tuple(recipe.digest for recipe in recipes),
        lambda: _render(run, chosen, setup, recipes),
    )
    if result is None:
        return
    cells, readings = result
    n = len(STRENGTHS)
    pictures = {name: np.stack([cell.picture for cell in cells[i * n : (i + 1) * n]]) for i, name in enumerate(rows)}
    read = {name: {key: values[i * n : (i + 1) * n] for key, values in readings.items()} for i, name in enumerate(rows)}
    spreads = {name: float(np.nanstd(values)) for name, values in loaders.labels_of(run).items()}
    if len(rows) > 2 and chosen.target:
        read = {
            name: {chosen.target: values[chosen.target]} for name, values in read.items() if chosen.target in values
        }
    st.html(draw_strip(pictures, STRENGTHS, read, spreads, chosen.target))
    st.caption(
        "Strength 1: root mean square of Δh/σ is 1 over all steps, channels and places. Under each picture what the "
        "attribute reader sees; tinted by the change from strength 0, full tint at 2.5 of the attribute's spreads. "
        "Symmetric: the edited noise enters P_t and D_t (Haas et al. 2023); asymmetric: P_t only (Asyrp: Kwon, Jeong, "
        "Uh 2022)."
    )
    titles = [f"{name}, strength {s:+g}" for name in rows for s in STRENGTHS]
    sheet_download("Download the strip", f"{run.name}-strip.png", cells, titles, len(STRENGTHS))
    pin_cells(run, cells, titles)


def drop_panel(run: Run) -> None:
    """A picture that was made here sets the page up again."""
    recipe_drop(run, apply_recipe(run))


def apply_recipe(run: Run) -> Callable[[Recipe], None]:
    """Sets the page up as a recipe says: sample, direction, steps, strength. It may be of another run of the home.

    Raises:
        UsageError: it moves nothing along a direction, or more than this page can show.
    """

    def apply(recipe: Recipe) -> None:
        shifts = [edit for edit in recipe.edits if isinstance(edit, ShiftEdit)]
        if not shifts:
            raise UsageError("this picture was not moved along a direction: drop it on the Swap page")
        if len(shifts) < len(recipe.edits) or len(shifts) > 1 or shifts[0].mask is not None:
            raise UsageError(
                "this page sets up pictures moved along one direction, without a mask; "
                "`python -m hcache render` renders this one again"
            )
        owner = run if recipe.run == run.name else loaders.shared_run(run.folder.parent / recipe.run)
        check_run(recipe, owner)
        (shift,) = shifts
        use_direction(owner, shift.direction)
        state.choose("sample", recipe.sample)
        state.choose("samples", 1)
        state.choose("window", f"{shift.window.first}-{shift.window.last}")
        state.choose("shape", shift.window.shape)
        state.choose("per-step", str(shift.per_step))
        state.choose("edit-boost", recipe.t_boost or 0.0)
        state.choose("also", NOTHING)
        state.choose("strength", float(np.clip(shift.strength, -MOST_STRENGTH, MOST_STRENGTH)))

    return apply


def _setup_panel(run: Run, chosen: Chosen) -> Setup:
    ids = run.sample_ids
    left, middle, right = st.columns([1, 1, 2])
    with left:
        sample = state.sample("Sample to edit", "sample", ids, int(ids[0]))
    with middle:
        count = state.slider("Samples, from that one on", "samples", 1, min(MOST_SAMPLES, len(ids)), 1)
    with right:
        first, last = state.window("Steps in which to edit", "window", run.spec.steps, help="0 has most noise.")
    with st.expander("More: strength over the steps, noise boost, a second direction"):
        shape, per_step, boost, asymmetric, also = _more_panel(run, chosen, count)
    window = Window(first=first, last=last, shape=shape)
    row = run.position(sample)
    samples = tuple(int(s) for s in np.roll(ids, -row)[:count])
    return Setup(samples=samples, window=window, per_step=per_step, t_boost=boost, asymmetric=asymmetric,
                 also=also and replace(also, window=window))  # fmt: skip


def _more_panel(run: Run, chosen: Chosen, count: int) -> tuple[str, bool, float | None, bool, ShiftEdit | None]:
    from ...directions.store import list_moves

    left, middle, right = st.columns(3)
    with left:
        shape = state.select("Strength over these steps", "shape", SHAPES)
        per_step = isinstance(chosen.move, Direction) and state.flag(
            "Unit length at every step", "per-step", False, help="Off: as long at each step as the data have it."
        )
    with middle:
        t_boost = state.number("Noise boost: η = 1 below t =", "edit-boost", 0.0, MOST_BOOST, 0.0, step=10.0, help=(
            "Quality boosting of Asyrp (Kwon, Jeong, Uh 2022): published 167 to 200; 0 for none."))  # fmt: skip
        asymmetric = count == 1 or state.flag(
            "Asymmetric", "edit-asymmetric", True, help="One sample is shown both ways."
        )
    with right:
        names = [entry.name for entry in list_moves(run) if entry.kind == Direction.kind]
        also = state.select("Move along a second direction too", "also", [NOTHING, *names])
        strength = 0.0 if also == NOTHING else state.number("by", "also-strength", -8.0, 8.0, 1.0, step=0.5)
    second = None
    if also != NOTHING:
        move = saved_move(run, also)
        ref = DirectionRef(digest=digest_of(move), name=also, made_by=move.made_by)
        second = ShiftEdit(direction=ref, strength=strength, window=Window(first=0, last=0))
    return shape, per_step, t_boost or None, asymmetric, second


def _recipes(run: Run, chosen: Chosen, setup: Setup) -> dict[str, list[Recipe]]:
    """The rows of the strip by name: a recipe a strength."""

    def row(sample: int, asymmetric: bool) -> list[Recipe]:
        found = []
        for strength in STRENGTHS:
            own = ShiftEdit(direction=chosen.ref, strength=strength, window=setup.window, per_step=setup.per_step,
                            resample=chosen.resample)  # fmt: skip
            edits = [own]
            edits += [setup.also] if setup.also else []
            found.append(recipe_of(run, sample, edits, asymmetric=asymmetric, t_boost=setup.t_boost))
        return found

    if len(setup.samples) == 1:
        return {SYMMETRIC: row(setup.samples[0], False), ASYMMETRIC: row(setup.samples[0], True)}
    return {f"sample {sample}": row(sample, setup.asymmetric) for sample in setup.samples}


def _render(
    run: Run, chosen: Chosen, setup: Setup, recipes: list[Recipe]
) -> Generator[float, None, tuple[list[Any], dict[str, np.ndarray]]]:
    """The cells, and what the reader sees in them: attribute -> (n,)."""
    moves = {chosen.digest: chosen.move}
    home = run.folder.parent.parent
    cells = yield from render_kept(lambda: loaders.model_of(run), run, recipes, home, moves)
    reader = find_card(run.spec.model).reader
    return cells, find_reader(reader)(np.stack([cell.picture for cell in cells])) if reader else {}


@st.fragment
def preview_panel(run: Run, chosen: Chosen) -> None:
    """Predicted x_0 of one step with h moved: the decoder alone, so it follows the slider."""
    st.subheader("One-step preview")
    with errors_shown():
        _show_preview(run, chosen)


def _show_preview(run: Run, chosen: Chosen) -> None:
    if chosen.move.kind == "x":
        st.caption("This direction moves x_t, not h: there is nothing to decode at one step. Render the strip.")
        return
    ids = run.sample_ids
    sample = int(state.recall("sample", int(ids[0]), int))
    sample = sample if sample in ids else int(ids[0])
    left, middle, right = st.columns([3, 1, 1])
    with left:
        step = state.slider("Step", "step", 0, run.spec.steps - 1, run.spec.steps // 2)
        strength = state.amount("Strength γ", "strength", -MOST_STRENGTH, MOST_STRENGTH, 2.0, 0.5)
        st.caption(
            f"Sample {sample}, t = {run.timesteps[step]}. Cached h, moved, and cached skips through the decoder half; "
            f"skips that are not stored are computed once a step. {profile_caption(chosen.move)}"
        )
    with st.spinner("Loading the model …", show_time=True):
        before, after = _preview(run, sample, step, chosen, strength)
    middle.image(png_bytes(before), caption="predicted x_0", width="stretch")
    right.image(png_bytes(after), caption=f"with γ = {strength:+g}", width="stretch")


def _preview(run: Run, sample: int, step: int, chosen: Chosen, strength: float) -> tuple[np.ndarray, np.ndarray]:
    from ...edits.shift import Shift
    from ...sampling.loop import Moment, predict

    model = loaders.model_of(run)
    features, x_t, before = _preview_start(str(run.folder), sample, step)
    shift = Shift(chosen.on_steps_of(run), [strength], Window(first=0, last=run.spec.steps - 1), model)
    t = run.timesteps[step]
    moved = {branch: shift(part, Moment(index=step, t=t, branch=branch)) for branch, part in features.items()}
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
