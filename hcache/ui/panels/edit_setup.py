"""The choices of the Edit page besides the direction, from widgets to recipes and from a recipe
back to the widgets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import streamlit as st

from ...cache.reading import Run
from ...directions.direction import Direction
from ...directions.store import Entry, list_moves
from ...edits.distance import DistanceEdit
from ...edits.shift import ShiftEdit
from ...errors import UsageError
from ...recipes.edits import DirectionRef
from ...recipes.masks import Mask
from ...recipes.recipe import Recipe, check_run, recipe_of
from ...recipes.window import SHAPES, Window
from .. import loaders, state
from .directions import Chosen, use_direction
from .mask import choose_mask, mask_panel

STRENGTHS = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)
DISTANCES = (-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0)
"""In the unit of strengths. Measured on toyfaces-ddpm-64 (four samples, the boundary of yaw, t =
499): asymmetrically pictures stay whole up to 4; at 8 a pair of glasses is lost and skin and hair
are others, from 12 on there is noise. What the edit does is done at 1 to 2. Symmetrically the later
steps take it back: whole at 16, and moved by less than a tenth of a spread. The samples themselves
lie within 0.35 of the middle."""

SHIFT, DISTANCE = "shift by γ", "put at distance d"
WAYS = {SHIFT: "Shift by γ", DISTANCE: "Move to distance d"}
SYMMETRIC, ASYMMETRIC = "symmetric", "asymmetric"
NOTHING = "nothing else"
PUBLISHED_T = 500.0
"""At which the boundary method edits, about."""

MOST_SAMPLES = 8
MOST_STRENGTH, MOST_SECOND, MOST_BOOST = 8.0, 8.0, 1000.0


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How a strip is made: which samples, in what way, in which steps and where, and what else is
    moved.

    ``origin``: of distances; None for a shift.
    """

    samples: tuple[int, ...]
    window: Window
    mask: Mask | None
    per_step: bool
    t_boost: float | None
    also: ShiftEdit | None
    asymmetric: bool
    origin: float | None = None

    @property
    def amounts(self) -> tuple[float, ...]:
        """What the strip runs over: strengths, or distances."""
        return STRENGTHS if self.origin is None else DISTANCES

    def edit(self, chosen: Chosen, amount: float) -> ShiftEdit | DistanceEdit:
        """The edit along the chosen direction."""
        if self.origin is not None:
            return DistanceEdit(
                direction=chosen.ref,
                distance=amount,
                origin=self.origin,
                step=self.window.first,
                resample=chosen.resample,
                mask=self.mask,
            )
        return ShiftEdit(
            direction=chosen.ref,
            strength=amount,
            window=self.window,
            per_step=self.per_step,
            resample=chosen.resample,
            mask=self.mask,
        )


def setup_panel(run: Run, chosen: Chosen) -> Setup:
    """Which samples, how, when and where."""
    ids = run.sample_ids
    left, right = st.columns(2)
    with left:
        sample = state.sample("Sample", "sample", ids, int(ids[0]))
    with right:
        ways = [SHIFT, DISTANCE] if isinstance(chosen.move, Direction) else [SHIFT]
        how = (
            state.select("How", "how", ways, help=_HOW, format_func=WAYS.get)
            if len(ways) > 1
            else SHIFT
        )
    window = _window(run, how)
    mask = None
    if chosen.move.kind != "x":
        mask = mask_panel("edit-mask", run.images[run.position(sample)], run.anatomy.h)
    count = state.slider(
        "Number of samples, from this one on", "samples", 1, min(MOST_SAMPLES, len(ids)), 1
    )
    with st.expander("More: strength over the steps, noise boost, a second direction"):
        shape, per_step, boost, asymmetric, also = _more_panel(run, chosen, count, how)
    window = replace(window, shape=shape)
    row = run.position(sample)
    samples = tuple(int(s) for s in np.roll(ids, -row)[:count])
    origin = _origin(str(run.folder), len(run), chosen, window.first) if how == DISTANCE else None
    return Setup(
        samples=samples,
        window=window,
        mask=mask,
        per_step=per_step,
        t_boost=boost,
        asymmetric=asymmetric,
        also=also and replace(also, window=window, mask=mask),
        origin=origin,
    )


_HOW = (
    "Shift: h + γ Δh, the same for every sample. Distance: c + (d - c·n) n with c = h/σ, at one"
    " step. It moves every sample to the same distance along the direction (Zhu et al. 2023,"
    " Boundary Guided Learning-Free Semantic Control with Diffusion Models). Distance 0 is the mean"
    " of the run's samples."
)


def make_rows(run: Run, chosen: Chosen, setup: Setup) -> dict[str, list[Recipe]]:
    """The rows of the strip by name: a recipe an amount. One sample is shown symmetric above
    asymmetric.
    """

    def row(sample: int, asymmetric: bool) -> list[Recipe]:
        also = [setup.also] if setup.also else []
        return [
            recipe_of(
                run,
                sample,
                [setup.edit(chosen, amount), *also],
                asymmetric=asymmetric,
                t_boost=setup.t_boost,
            )
            for amount in setup.amounts
        ]

    if len(setup.samples) == 1:
        return {SYMMETRIC: row(setup.samples[0], False), ASYMMETRIC: row(setup.samples[0], True)}
    return {f"sample {sample}": row(sample, setup.asymmetric) for sample in setup.samples}


def apply_recipe(run: Run) -> Callable[[Recipe], None]:
    """Sets the page up as a recipe says: sample, directions, steps, strength. It may be of another
    run of the home.

    Raises:
        UsageError: it moves nothing along a direction, or is more than this page can show.
    """

    def apply(recipe: Recipe) -> None:
        """Makes a recipe's choices."""
        edit, also = _moves_of(recipe)
        owner = (
            run if recipe.run == run.name else loaders.shared_run(run.folder.parent / recipe.run)
        )
        check_run(recipe, owner)
        use_direction(owner, edit.direction)
        state.choose("sample", recipe.sample)
        state.choose("samples", 1)
        choose_mask("edit-mask", edit.mask)
        state.choose("edit-boost", recipe.t_boost or 0.0)
        _choose_second(owner, also)
        if isinstance(edit, DistanceEdit):
            state.choose("how", DISTANCE)
            state.choose("distance-step", edit.step)
            state.choose("distance", float(np.clip(edit.distance, DISTANCES[0], DISTANCES[-1])))
            return
        state.choose("how", SHIFT)
        state.choose("window", f"{edit.window.first}-{edit.window.last}")
        state.choose("shape", edit.window.shape)
        state.choose("per-step", str(edit.per_step))
        state.choose("strength", float(np.clip(edit.strength, -MOST_STRENGTH, MOST_STRENGTH)))

    return apply


def _moves_of(recipe: Recipe) -> tuple[ShiftEdit | DistanceEdit, ShiftEdit | None]:
    """A recipe's move, and the shift beside it, if there is one, in the same steps and place."""
    moved = [edit for edit in recipe.edits if isinstance(edit, ShiftEdit | DistanceEdit)]
    if not moved:
        raise UsageError("this picture was not moved along a direction: drop it on the Swap page")
    first, *rest = moved
    others = [edit for edit in rest if isinstance(edit, ShiftEdit)]
    fits = len(recipe.edits) == len(moved) == 1 + len(others) <= 2 and all(
        (edit.window, edit.mask) == (first.window, first.mask)
        and not (edit.per_step or edit.resample)
        and abs(edit.strength) <= MOST_SECOND
        for edit in others
    )
    if not fits:
        raise UsageError(
            "this page sets up pictures moved along one direction, and along a second one in the"
            " same steps and place; `python -m hcache render` renders this one again"
        )
    return first, others[0] if others else None


def _choose_second(run: Run, also: ShiftEdit | None) -> None:
    """Chooses the second direction, which has to be saved with the run."""
    if also is None:
        state.choose("also", NOTHING)
        return
    name = next(
        (name for name, entry in _seconds(run).items() if entry.digest == also.direction.digest),
        None,
    )
    if name is None:
        raise UsageError(
            f"the second direction of this picture, {also.direction.name or also.direction.digest},"
            f" is not saved with run {run.name}: fit or import it there, and save it"
        )
    state.choose("also", name)
    state.choose("also-strength", also.strength)


def _seconds(run: Run) -> dict[str, Entry]:
    """The saved directions that can be moved along beside another, by name."""
    return {entry.name: entry for entry in list_moves(run) if entry.kind == Direction.kind}


def _window(run: Run, how: str) -> Window:
    t = run.timesteps
    if how == DISTANCE:
        nearest = int(np.argmin(np.abs(np.asarray(t) - PUBLISHED_T)))
        step = state.slider(
            "Step",
            "distance-step",
            0,
            len(t) - 1,
            nearest,
            help="Step 0 has most noise. The paper uses t = 500.",
        )
        st.caption(f"t = {t[step]:g}")
        return Window(first=step, last=step)
    first, last = state.window(
        "Steps", "window", len(t), help="Step 0 has most noise. Both ends are included."
    )
    st.caption(f"t from {t[first]:g} to {t[last]:g}")
    return Window(first=first, last=last)


def _more_panel(
    run: Run, chosen: Chosen, count: int, how: str
) -> tuple[str, bool, float | None, bool, ShiftEdit | None]:
    shape, per_step = SHAPES[0], False
    if how == SHIFT:
        shape = state.select("Strength over the steps", "shape", SHAPES)
        per_step = isinstance(chosen.move, Direction) and state.flag(
            "Unit length at every step",
            "per-step",
            False,
            help="Off: each step keeps the length that the data give.",
        )
    else:
        st.caption("A distance is set at one step, so there is no strength over the steps.")
    t_boost = state.number(
        "Noise boost: η = 1 below t =",
        "edit-boost",
        0.0,
        MOST_BOOST,
        0.0,
        step=10.0,
        help=(
            "Quality boosting of Asyrp (Kwon, Jeong, Uh 2022), who use 167 to 200. 0 switches it"
            " off."
        ),
    )
    asymmetric = count == 1 or state.flag(
        "Asymmetric", "edit-asymmetric", True, help="One sample is always shown both ways."
    )
    second = _second(run)
    return shape, per_step, t_boost or None, asymmetric, second


def _second(run: Run) -> ShiftEdit | None:
    """A shift along another saved direction, in the same steps and place."""
    entries = _seconds(run)
    also = state.select(
        "Second direction",
        "also",
        [NOTHING, *entries],
        format_func=lambda name: "None" if name == NOTHING else name,
    )
    if also == NOTHING:
        return None
    strength = state.number(
        "Its strength", "also-strength", -MOST_SECOND, MOST_SECOND, 1.0, step=0.5
    )
    ref = DirectionRef(digest=entries[also].digest, name=also, made_by=entries[also].made_by)
    return ShiftEdit(direction=ref, strength=strength, window=Window(first=0, last=0))


@st.cache_data(
    max_entries=64,
    show_spinner="Measuring how far the samples are …",
    hash_funcs={Chosen: lambda c: c.digest},
)
def _origin(folder: str, samples: int, chosen: Chosen, step: int) -> float:
    """``samples`` is there for the cache: the middle of a run that has grown is another."""
    from ...edits.distance import one_direction, origin_of

    run = loaders.shared_run(Path(folder))
    return origin_of(run, one_direction(chosen.on_steps_of(run)), step)
