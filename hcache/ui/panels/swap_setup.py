"""The choices of the Swap page, from widgets to recipes and from a recipe back to the widgets.

The page knows no edit by its class. Each edit declares its own titles, widgets and buttons: see
:class:`~hcache.recipes.edits.RecipeEdit`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import streamlit as st

from ...cache.reading import Run
from ...errors import UsageError
from ...recipes.edits import EDITS, DonorRef, RecipeEdit, changed
from ...recipes.recipe import Recipe, recipe_of
from ...recipes.widgets import Variant
from .. import state
from ..edit_widgets import Offer, choose_edit, draw_amount, draw_widgets, tell_problems
from ..text import sentence

MOST_BOOST = 1000.0
DIFFERENT = "the pictures of this sheet differ in more than their sites; choose one of them"


@dataclass(frozen=True, kw_only=True)
class Injection:
    """An edit, and one way to make pictures with it."""

    kind: type[RecipeEdit]
    variant: Variant


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The choices for an injection.

    ``fields``: the edit's fields except the donor. ``beside``: edits of the network, such as FreeU.
    """

    injection: Injection
    fields: Mapping[str, Any]
    beside: tuple[RecipeEdit, ...]
    asymmetric: bool
    t_boost: float | None

    @property
    def button(self) -> str:
        """The text of the page's button."""
        return self.injection.variant.button

    def edits(self, donor: DonorRef) -> list[RecipeEdit]:
        """Returns the edits, one for each picture."""
        kind, each = self.injection.kind, self.injection.variant.each
        given = {"donor": donor} if kind.has("donor") else {}
        if not each:
            return [kind(**self.fields, **given)]
        return [kind(**{**self.fields, each: (value,)}, **given) for value in self.fields[each]]


def injections() -> dict[str, Injection]:
    """Lists what the page can do, by the title of each variant."""
    found: dict[str, Injection] = {}
    for kind in EDITS.values():
        for variant in kind.injections():
            taken = variant.title in found
            title = f"{variant.title} ({kind.kind})" if taken else variant.title
            found[title] = Injection(kind=kind, variant=variant)
    return found


def network_edits() -> list[type[RecipeEdit]]:
    """Lists the edits of the network, which are offered beside any injection."""
    return [kind for kind in EDITS.values() if kind.network and not kind.injections()]


def setup_panel(run: Run, picture: np.ndarray) -> Setup:
    """Draws the kind, place, steps and strength of the swap.

    ``picture``: the recipient's picture, for painting a mask.
    """
    tell_problems()
    offered = injections()
    kinds = dict.fromkeys(injection.kind for injection in offered.values())
    how = state.select(
        "Inject",
        "inject",
        list(offered),
        format_func=sentence,
        help=" ".join(f"{kind.title}: {kind.help}" for kind in kinds),
    )
    injection, offer = offered[how], Offer(run=run, picture=picture, shapes=True)
    kind = injection.kind
    fields = draw_widgets(kind, offer, more=False)
    if kind.amount:
        fields[kind.amount.name] = draw_amount(kind, kind.amount)
    with st.expander(_title_of_more(run)):
        asymmetric, t_boost = _asymmetry_and_boost(injection)
        beside = [found for each in network_edits() if (found := _network_edit(offer, each))]
        fields |= draw_widgets(kind, offer, more=True)
    return Setup(
        injection=injection,
        fields=fields,
        beside=tuple(beside),
        asymmetric=asymmetric,
        t_boost=t_boost,
    )


def make_recipes(run: Run, setup: Setup, donor: DonorRef, recipient: int) -> dict[str, Recipe]:
    """Returns the recipes to render, by title."""
    found: dict[str, Recipe] = {}
    for edit in setup.edits(donor):
        edits = [edit, *setup.beside]
        name = edit.picture_name
        name = f"{name} ({len(found) + 1})" if name in found else name
        found[name] = recipe_of(
            run, recipient, edits, asymmetric=setup.asymmetric, t_boost=setup.t_boost
        )
    return found


def injected(recipe: Recipe) -> RecipeEdit:
    """Returns the edit of a recipe that belongs to this page."""
    return next(edit for edit in recipe.edits if edit.injections())


def apply_recipe(recipe: Recipe) -> None:
    """Makes the choices that give this recipe.

    Raises:
        UsageError: this page cannot make it.
    """
    apply_recipes([recipe])


def apply_recipes(recipes: Sequence[Recipe]) -> None:
    """Makes the choices that give these recipes.

    There is one recipe, or there are the recipes of a figure. Those differ only in the field for
    whose values a variant makes one picture each.

    Raises:
        UsageError: this page cannot make them.
    """
    edits = [_injected(recipe) for recipe in recipes]
    head, (title, edit) = recipes[0], _merged(edits)
    if len({_but_for(recipe, own, edit) for recipe, own in zip(recipes, edits, strict=True)}) > 1:
        raise UsageError(DIFFERENT)
    _check_choices(edit)
    if edit.has("donor"):
        donor: DonorRef = getattr(edit, "donor")  # noqa: B009
        state.choose("donor-run", donor.run)
        state.choose("donor", donor.sample)
    state.choose("recipient", head.sample)
    state.choose("inject", title)
    choose_edit(edit)
    _choose_more(head, edit)


def _merged(edits: Sequence[RecipeEdit]) -> tuple[str, RecipeEdit]:
    """Returns the choice that makes some pictures, and the edit with all values of its figure.

    Raises:
        UsageError: no single choice makes them.
    """
    first = edits[0]
    if any(type(edit) is not type(first) for edit in edits):
        raise UsageError(DIFFERENT)
    variants = {n: i.variant for n, i in injections().items() if i.kind is type(first)}
    for title, variant in variants.items():
        values = [getattr(edit, variant.each) for edit in edits] if variant.each else []
        if values and all(len(each) == 1 for each in values):
            merged = tuple(dict.fromkeys(value for each in values for value in each))
            return title, changed(first, **{variant.each: merged})
    whole_titles = [title for title, variant in variants.items() if not variant.each]
    if not whole_titles or (len(edits) > 1 and len(whole_titles) < len(variants)):
        raise UsageError("the pictures of this sheet swap several sites each; choose one of them")
    return whole_titles[0], first


def _asymmetry_and_boost(injection: Injection) -> tuple[bool, float | None]:
    """Draws the choice of asymmetry (edited noise in P_t only), and of the noise boost."""
    asymmetric = state.flag(
        "Asymmetric: edit P_t only",
        _asymmetric_key(injection.kind),
        injection.variant.asymmetric,
        help=(
            "D_t keeps the unedited noise (Asyrp: Kwon, Jeong, Uh 2022). InjectFusion does this"
            " too."
        ),
    )
    t_boost = state.number(
        "Noise boost: η = 1 below t =",
        "swap-boost",
        0.0,
        MOST_BOOST,
        0.0,
        step=10.0,
        help="0 switches it off. InjectFusion uses 200.",
    )
    return asymmetric, t_boost or None


def _title_of_more(run: Run) -> str:
    """Returns the title of the folded part, which lists its contents."""
    names = [kind.title for kind in network_edits() if kind.offered_for(run)]
    return ", ".join(["More: asymmetric", "noise boost", *names])


def _network_edit(offer: Offer, kind: type[RecipeEdit]) -> RecipeEdit | None:
    """Returns an edit of the network if it is offered for the run and chosen."""
    if not kind.offered_for(offer.run):
        return None
    if not state.flag(kind.title, kind.key(), False, help=kind.help):
        return None
    fields = draw_widgets(kind, offer, more=False) | draw_widgets(kind, offer, more=True)
    if kind.amount:
        fields[kind.amount.name] = draw_amount(kind, kind.amount)
    return kind(**fields)


def _asymmetric_key(kind: type[RecipeEdit]) -> str:
    return f"{kind.kind}-asymmetric"


def _injected(recipe: Recipe) -> RecipeEdit:
    """Returns the one edit of a recipe that belongs to this page.

    Raises:
        UsageError: there is no such edit, there are several, or there are edits that this page
            does not offer.
    """
    found = [edit for edit in recipe.edits if edit.injections()]
    if any(edit.has("direction") for edit in recipe.edits):
        raise UsageError("this picture was moved along a direction: drop it on the Edit page")
    others = [edit.title for edit in recipe.edits if edit not in found and not edit.network]
    if len(found) != 1 or others:
        more = f", and also {', '.join(others)}" if others else ""
        raise UsageError(
            f"this page makes pictures with one swap or slerp, and this one has {len(found)}{more};"
            " `python -m hcache render` renders it again"
        )
    return found[0]


def _check_choices(edit: RecipeEdit) -> None:
    """Refuses an edit with a value in a field that the page has no widget for."""
    kind = type(edit)
    shown = {widget.name for widget in kind.widgets} | {"donor"}
    shown |= {kind.amount.name} if kind.amount else set()
    for field in msgspec.structs.fields(kind):
        if field.name not in shown and getattr(edit, field.name) != field.default:
            raise UsageError(
                f"{field.name} of this picture is {getattr(edit, field.name)}, and this page has no"
                " choice for it; `python -m hcache render` renders it again"
            )


def _but_for(recipe: Recipe, own: RecipeEdit, edit: RecipeEdit) -> str:
    """Returns the digest of a recipe without the values that its variant varies."""
    each = [i.variant.each for i in injections().values() if i.kind is type(edit)]
    same = {name: getattr(edit, name) for name in each if name and type(own) is type(edit)}
    kept = [changed(own, **same) if found is own else found for found in recipe.edits]
    return replace(recipe, edits=tuple(kept)).digest


def _choose_more(recipe: Recipe, edit: RecipeEdit) -> None:
    """Chooses the boost, asymmetry and edits of the network that a recipe has."""
    boost = recipe.t_boost or 0.0
    if not 0 <= boost <= MOST_BOOST:
        raise UsageError(
            f"the noise boost of this picture is {boost:g}, which is beyond this page's range of 0"
            f" to {MOST_BOOST:g}; `python -m hcache render` renders it again"
        )
    state.choose(_asymmetric_key(type(edit)), str(recipe.asymmetric))
    state.choose("swap-boost", boost)
    for kind in network_edits():
        found = next((each for each in recipe.network_edits if type(each) is kind), None)
        state.choose(kind.key(), str(found is not None))
        if found is not None:
            choose_edit(found)
