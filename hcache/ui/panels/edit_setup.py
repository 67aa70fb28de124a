"""The choices of the Edit page besides the direction, converted from widgets to recipes and
back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import streamlit as st

from ...cache.reading import Run
from ...cache.records import state_of
from ...directions.direction import Direction, site_of
from ...directions.store import Entry, list_moves
from ...edits.shift import ShiftEdit
from ...errors import AnalysisError, UsageError
from ...recipes.edits import EDITS, DirectionRef, RecipeEdit, changed
from ...recipes.recipe import Recipe, check_run, recipe_of
from ...recipes.widgets import AmountWidget, WindowWidget
from ...recipes.window import Window
from .. import loaders, state
from ..edit_widgets import Offer, choose_edit, draw_shapes, draw_widgets, tell_problems
from .directions import Chosen, use_direction
from .edit_steps import edit_steps_panel

SYMMETRIC, ASYMMETRIC = "symmetric", "asymmetric"
NOTHING = "nothing else"

MOST_SAMPLES = 8
MOST_SECOND, MOST_BOOST = 8.0, 1000.0


@dataclass(frozen=True, kw_only=True)
class EditSetup:
    """The setup of a strip.

    ``kind``: the edit. ``choices``: its fields except the amount, field -> value. ``also``: a
    second shift, in the same steps and place.
    """

    kind: type[RecipeEdit]
    choices: Mapping[str, Any]
    samples: tuple[int, ...]
    t_boost: float | None = None
    also: ShiftEdit | None = None
    asymmetric: bool = True

    @property
    def amount(self) -> AmountWidget:
        """The amount that the strip varies."""
        if self.kind.amount is None:
            raise UsageError(f"{self.kind.title} has no amount that a strip could vary")
        return self.kind.amount

    def edit(self, amount: float) -> RecipeEdit:
        """Returns the edit with an amount."""
        return self.kind(**{**self.choices, self.amount.name: amount})

    @property
    def window(self) -> Window | None:
        """The steps in which the edit acts, or None for all."""
        return self.edit(self.amount.default).acts_in


def offered_edits() -> dict[str, type[RecipeEdit]]:
    """Returns the edits of this page by their names in links.

    They have an amount and do not belong to the Swap page.
    """
    return {
        edit.key(): edit
        for edit in EDITS.values()
        if edit.amount is not None and not edit.injections()
    }


def kind_panel() -> type[RecipeEdit]:
    """Draws the choice of an edit."""
    offered = offered_edits()
    tell_problems()
    how = state.select(
        "How",
        "how",
        list(offered),
        help=" ".join(f"{edit.title}: {edit.help}" for edit in offered.values()),
        format_func=lambda key: offered[key].title or key,
    )
    return offered[how]


def setup_panel(run: Run, kind: type[RecipeEdit], chosen: Chosen | None) -> EditSetup:
    """Draws the choice of samples, steps, place and the edit's fields.

    Raises:
        AnalysisError: the edit takes another kind of direction.
    """
    ids = run.sample_ids
    constant = chosen is None or isinstance(chosen.move, Direction)
    if kind.constant and not constant:
        _refuse_kind(kind, chosen)
    sample = state.sample("Sample", "sample", ids, int(ids[0]))
    offer = Offer(
        run=run,
        picture=run.picture(sample),
        constant=constant,
        in_x=chosen is not None and chosen.move.kind == "x",
        site=site_of(chosen.move) if chosen else "",
    )
    widgets, below = st.container(), st.container()
    if any(isinstance(each, WindowWidget) for each in kind.widgets):
        with below:  # before the slider, whose value it may set
            edit_steps_panel(run, chosen)
    with widgets:
        choices = draw_widgets(kind, offer, more=False)
    count = state.slider(
        "Number of samples, from this one on", "samples", 1, min(MOST_SAMPLES, len(ids)), 1
    )
    with st.expander("More: strength over the steps, noise boost, a second direction"):
        choices |= draw_shapes(kind, choices) | draw_widgets(kind, offer, more=True)
        boost, asymmetric = _boost_panel(count)
        also = _second(run) if kind.has("direction") else None
    if chosen is not None and kind.has("direction"):
        choices["direction"] = chosen.ref
        if kind.has("resample"):
            choices["resample"] = chosen.resample
    choices |= _prepared(str(run.folder), state_of(run), kind, chosen, choices)
    found = EditSetup(
        kind=kind,
        choices=choices,
        samples=tuple(int(s) for s in np.roll(ids, -run.position(sample))[:count]),
        t_boost=boost,
        asymmetric=asymmetric,
    )
    if also is None or found.window is None:
        return found
    return replace(found, also=changed(also, window=found.window, mask=choices.get("mask")))


def _refuse_kind(kind: type[RecipeEdit], chosen: Chosen | None) -> NoReturn:
    found = chosen.move.kind if chosen else "none"
    raise AnalysisError(
        f"{kind.title} takes one direction for all samples, but a move of kind {found} differs from"
        " sample to sample. Choose another direction, or another edit under How"
    )


def make_rows(run: Run, setup: EditSetup) -> dict[str, list[Recipe]]:
    """Returns the strip's rows by name, with one recipe per amount.

    A single sample has two rows: symmetric, then asymmetric.
    """

    def row(sample: int, asymmetric: bool) -> list[Recipe]:
        also = [setup.also] if setup.also else []
        return [
            recipe_of(
                run,
                sample,
                [setup.edit(amount), *also],
                asymmetric=asymmetric,
                t_boost=setup.t_boost,
            )
            for amount in setup.amount.values
        ]

    if len(setup.samples) == 1:
        return {SYMMETRIC: row(setup.samples[0], False), ASYMMETRIC: row(setup.samples[0], True)}
    return {f"sample {sample}": row(sample, setup.asymmetric) for sample in setup.samples}


def apply_recipe(run: Run) -> Callable[[Recipe], None]:
    """Sets the page up from a recipe.

    It sets sample, directions, steps and strength. The recipe may belong to another run of the
    same home.

    Raises:
        UsageError: the recipe moves nothing along a direction, or this page cannot show it.
    """

    def apply(recipe: Recipe) -> None:
        """Makes a recipe's choices."""
        edit, also = _moves_of(recipe)
        owner = (
            run if recipe.run == run.name else loaders.shared_run(run.folder.parent / recipe.run)
        )
        check_run(recipe, owner)
        if edit.has("direction"):
            use_direction(owner, getattr(edit, "direction"))  # noqa: B009
        state.choose("sample", recipe.sample)
        state.choose("samples", 1)
        state.choose("edit-boost", recipe.t_boost or 0.0)
        _choose_second(owner, also)
        state.choose("how", edit.key())
        choose_edit(edit)

    return apply


def _moves_of(recipe: Recipe) -> tuple[RecipeEdit, ShiftEdit | None]:
    """Returns a recipe's edit, and a second shift in the same steps and place, if there is one."""
    moved = [edit for edit in recipe.edits if edit.amount is not None]
    if not moved:
        raise UsageError("this picture was not moved along a direction: drop it on the Swap page")
    first, *rest = moved
    others = [edit for edit in rest if isinstance(edit, ShiftEdit)]
    where = (first.acts_in, getattr(first, "mask", None))
    fits = len(recipe.edits) == len(moved) == 1 + len(others) <= 2 and all(
        (edit.window, edit.mask) == where
        and not (edit.per_step or edit.resample)
        and abs(edit.strength) <= MOST_SECOND
        for edit in others
    )
    if not fits:
        raise UsageError(
            "this page sets up pictures with one edit, and with a shift along a second direction in"
            " the same steps and place; `python -m hcache render` renders this one again"
        )
    return first, others[0] if others else None


def _choose_second(run: Run, also: ShiftEdit | None) -> None:
    """Chooses the second direction, which must be saved with the run."""
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
    """Returns the saved directions that can be a second direction, by name."""
    return {entry.name: entry for entry in list_moves(run) if entry.kind == Direction.kind}


def _boost_panel(count: int) -> tuple[float | None, bool]:
    """Draws the noise boost, and whether the edited noise enters P_t only."""
    t_boost = state.number(
        "Noise boost: η = 1 below t =",
        "edit-boost",
        0.0,
        MOST_BOOST,
        0.0,
        step=10.0,
        help=(
            "Quality boosting of Asyrp (Kwon, Jeong, Uh 2022), which uses 167 to 200. 0 switches it"
            " off."
        ),
    )
    asymmetric = count == 1 or state.flag(
        "Asymmetric", "edit-asymmetric", True, help="One sample is always shown both ways."
    )
    return t_boost or None, asymmetric


def _second(run: Run) -> ShiftEdit | None:
    """Returns a shift along another saved direction, in the same steps and place."""
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
    hash_funcs={Chosen: lambda c: c.digest, dict: repr, type: repr},
)
def _prepared(
    folder: str, state: str, kind: type[RecipeEdit], chosen: Chosen | None, choices: dict
) -> dict[str, Any]:
    """Returns fields that follow from the run. ``state`` identifies its samples, because a run may
    grow, or be extracted anew.
    """
    run = loaders.shared_run(Path(folder))
    return kind.prepared(run, chosen.on_steps_of(run) if chosen else None, choices)
