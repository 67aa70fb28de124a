"""The choices of the Swap page, converted from widgets to recipes and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import streamlit as st

from ...cache.reading import Run
from ...cards import find_card
from ...edits.freeu import FreeUEdit
from ...edits.slerp import SlerpEdit
from ...edits.swap import SwapEdit
from ...errors import HcacheError, UsageError
from ...recipes.edits import EDITS, DonorRef, RecipeEdit, changed
from ...recipes.masks import Mask
from ...recipes.recipe import Recipe, recipe_of
from ...recipes.window import SHAPES, Window
from .. import state
from ..edit_widgets import Offer, choose_edit, draw_amount, draw_shapes, draw_widgets
from ..text import sentence
from .mask import choose_mask, mask_panel, percent

ALONE, TOGETHER, SLERP = "each site alone", "all sites at once", "h by slerp"
FREEU = {"b1": 1.4, "b2": 1.6, "s1": 0.9, "s2": 0.2}
"""The values that the authors of FreeU recommend for Stable Diffusion 2.1."""

FREEU_RANGE, MOST_BOOST = (0.05, 4.0), 1000.0


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The chosen swap. ``share`` is the blend strength, or γ of a slerp."""

    how: str
    sites: tuple[str, ...]
    window: Window
    share: float
    mask: Mask | None
    freeu: FreeUEdit | None
    asymmetric: bool
    t_boost: float | None
    omega: float | None = None
    dt_lambda: float | None = None
    kind: type[RecipeEdit] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


def injections() -> dict[str, type[RecipeEdit]]:
    """Lists other packages' edits that take a donor, by title."""
    own = (SwapEdit, SlerpEdit)
    return {kind.title: kind for kind in EDITS.values() if kind.has("donor") and kind not in own}


def setup_panel(run: Run, picture: np.ndarray) -> Setup:
    """Draws the kind, place, steps and strength of the swap.

    ``picture``: the recipient's, for painting a mask.
    """
    how = state.select(
        "Inject",
        "inject",
        [ALONE, TOGETHER, SLERP, *injections()],
        format_func=sentence,
        help=(
            "Slerp rotates h towards A's h and keeps its norm (InjectFusion: Jeong, Kwon, Uh 2023,"
            " Training-free Content Injection using h-space in Diffusion Models)."
        ),
    )
    if kind := injections().get(how):
        return _outside_panel(run, picture, kind)
    sites = ["h"] if how == SLERP else _sites(run)
    if how == SLERP:
        share = state.slider("Share γ of the angle (%)", "gamma", 0, 100, 30) / 100
    else:
        share = (
            state.slider(
                "Strength (%)",
                "blend",
                0,
                100,
                100,
                help="b + α (a - b): 100 % replaces B's activations by A's.",
            )
            / 100
        )
    window = _window(run)
    mask = mask_panel("mask", picture, run.anatomy.h)
    with st.expander("More: asymmetric, noise boost, FreeU"):
        asymmetric, t_boost, freeu = _more(run, how)
        omega, dt_lambda = _calibration() if how == SLERP else (None, None)
    return Setup(
        how=how,
        sites=tuple(sites),
        window=window,
        share=share,
        mask=mask,
        freeu=freeu,
        asymmetric=asymmetric,
        t_boost=t_boost,
        omega=omega,
        dt_lambda=dt_lambda,
    )


def _outside_panel(run: Run, picture: np.ndarray, kind: type[RecipeEdit]) -> Setup:
    """Draws the widgets that an edit of another package declares."""
    st.caption(kind.help)
    offer = Offer(run=run, picture=picture)
    fields = draw_widgets(kind, offer, more=False)
    if kind.amount:
        fields[kind.amount.name] = draw_amount(kind, kind.amount)
    with st.expander("More: asymmetric, noise boost, FreeU"):
        fields |= draw_shapes(kind, fields) | draw_widgets(kind, offer, more=True)
        asymmetric, t_boost, freeu = _more(run, kind.title)
    return Setup(
        how=kind.title,
        sites=(),
        window=fields.get("window", Window(first=0, last=run.spec.steps - 1)),
        share=1.0,
        mask=fields.get("mask"),
        freeu=freeu,
        asymmetric=asymmetric,
        t_boost=t_boost,
        kind=kind,
        fields=fields,
    )


def make_recipes(run: Run, setup: Setup, donor: DonorRef, recipient: int) -> dict[str, Recipe]:
    """Returns the recipes to render, by title."""
    more: list[RecipeEdit] = [setup.freeu] if setup.freeu else []
    if setup.kind is not None:
        fields: dict[str, Any] = {"donor": donor, **setup.fields}
        listed: dict[str, RecipeEdit] = {setup.how: setup.kind(**fields)}
    elif setup.how == SLERP:
        turn = SlerpEdit(
            donor=donor,
            gamma=setup.share,
            window=setup.window,
            mask=setup.mask,
            omega=setup.omega,
            dt_lambda=setup.dt_lambda,
        )
        listed = {"h by slerp": turn}
    else:
        groups = [(site,) for site in setup.sites] if setup.how == ALONE else [setup.sites]
        listed = {
            " + ".join(sites): SwapEdit(
                sites=sites, donor=donor, alpha=setup.share, window=setup.window, mask=setup.mask
            )
            for sites in groups
        }
    return {
        title: recipe_of(
            run, recipient, [edit, *more], asymmetric=setup.asymmetric, t_boost=setup.t_boost
        )
        for title, edit in listed.items()
    }


def apply_recipe(recipe: Recipe) -> None:
    """Makes the choices that give this recipe.

    Raises:
        UsageError: this page cannot make it.
    """
    apply_recipes([recipe])


def apply_recipes(recipes: Sequence[Recipe]) -> None:
    """Makes the choices that give these recipes.

    It is one recipe, or those of a U-figure, which differ only in their site.

    Raises:
        UsageError: this page cannot make them.
    """
    edits = [_injection(recipe) for recipe in recipes]
    first, head = edits[0], recipes[0]
    if len({_but_for_sites(recipe, edit) for recipe, edit in zip(recipes, edits, strict=True)}) > 1:
        raise UsageError(
            "the pictures of this sheet differ in more than their sites; choose one of them"
        )
    state.choose("donor-run", first.donor.run)
    state.choose("donor", first.donor.sample)
    state.choose("recipient", head.sample)
    if not isinstance(first, SwapEdit | SlerpEdit):
        state.choose("inject", first.title)
        choose_edit(first)
        _apply_more(head, False)
        return
    state.choose("window", f"{first.window.first}-{first.window.last}")
    state.choose("shape", first.window.shape)
    if isinstance(first, SlerpEdit):
        state.choose("inject", SLERP)
        state.choose("gamma", percent(first.gamma, "share γ"))
        state.choose("omega", first.omega or 0.0)
        state.choose("dt-lambda", 1.0 if first.dt_lambda is None else first.dt_lambda)
    else:
        together = len(first.sites) > 1
        if together and len(edits) > 1:
            raise UsageError(
                "the pictures of this sheet swap several sites each; choose one of them"
            )
        state.choose("inject", TOGETHER if together else ALONE)
        swaps = [edit for edit in edits if isinstance(edit, SwapEdit)]
        state.choose(
            "sites", ",".join(dict.fromkeys(site for edit in swaps for site in edit.sites))
        )
        state.choose("blend", percent(first.alpha, "blend strength"))
    choose_mask("mask", first.mask)
    _apply_more(head, isinstance(first, SlerpEdit))


def may_have_freeu(run: Run) -> bool:
    """Returns whether FreeU is offered.

    diffusers has it for U-Nets that take text. This follows from the run alone, so the page need
    not load the model. A model without FreeU reports it later.
    """
    try:
        return bool(run.spec.conditioning.prompts) or "text" in find_card(run.spec.model).kind
    except HcacheError:  # a missing folder: rendering will report it
        return False


def _sites(run: Run) -> list[str]:
    members = [m for site in run.anatomy.sites for m in run.anatomy.members(site) if m != site]
    found = state.many(
        "Sites",
        "sites",
        [*run.anatomy.sites, *members, *run.anatomy.places],
        run.anatomy.sites,
        help=(
            "Skip groups, single members, or other places: what a down or up block puts out,"
            " counted from 0 as diffusers counts, and the mid block's attention. SkipInject"
            " (Schaerf et al. 2025, Training-Free Style and Content Transfer by Leveraging U-Net"
            " Skip Connections in Stable Diffusion) uses"
            " skip.2.0 and skip.2.1."
        ),
    )
    if not found:
        raise UsageError("choose one site or more to swap")
    return found


def _window(run: Run) -> Window:
    t = run.timesteps
    place = st.container()
    presets = {
        "All steps": lambda: Window(first=0, last=len(t) - 1),
        "t 1000 to 200": lambda: Window.between(t, 1000, 200),
        "t ≥ 400": lambda: Window.down_to(t, 400),
    }
    with st.container(horizontal=True):
        for label, make in presets.items():
            if st.button(label, key=f"preset-{label}", type="tertiary", help=_PRESETS[label]):
                found = make()
                state.choose("window", f"{found.first}-{found.last}")
    with place:
        first, last = state.window(
            "Steps", "window", len(t), help="Step 0 has the most noise. Both ends are included."
        )
        st.caption(f"t from {t[first]:g} to {t[last]:g}")
    shape = state.select("Strength over the steps", "shape", SHAPES, format_func=sentence)
    return Window(first=first, last=last, shape=shape)


_PRESETS = {
    "All steps": "From noise to the finished picture.",
    "t 1000 to 200": "The window of SkipInject (Schaerf et al. 2025).",
    "t ≥ 400": "The window of InjectFusion (Jeong, Kwon, Uh 2023).",
}


def _more(run: Run, how: str) -> tuple[bool, float | None, FreeUEdit | None]:
    name = "slerp-asymmetric" if how == SLERP else "swap-asymmetric"
    asymmetric = state.flag(
        "Asymmetric: edit P_t only",
        name,
        how == SLERP,
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
    freeu = None
    help_text = (
        "Si et al. 2023, FreeU: Free Lunch in Diffusion U-Net. It acts in all steps, whatever the"
        " window."
    )
    if may_have_freeu(run) and state.flag("FreeU", "freeu", False, help=help_text):
        numbers = {
            key: state.number(key, f"freeu-{key}", *FREEU_RANGE, value, step=0.05)
            for key, value in FREEU.items()
        }
        freeu = FreeUEdit(**numbers)
    return asymmetric, t_boost or None, freeu


def _calibration() -> tuple[float | None, float | None]:
    """Returns InjectFusion's ω and λ, or None if they change nothing."""
    omega = state.number(
        "Calibration ω",
        "omega",
        0.0,
        10.0,
        0.0,
        step=0.1,
        help=(
            "Moves x_t so that the unedited network predicts what the edit predicted, which keeps"
            " B's style (InjectFusion: Jeong, Kwon, Uh 2023). 0 switches it off."
        ),
    )
    dt_lambda = state.number(
        "Scale λ of D_t",
        "dt-lambda",
        0.9,
        1.1,
        1.0,
        step=0.0005,
        format="%.4f",
        help=(
            "Acts where t is 950 or more. The published code uses 0.9985 for style mixing. 1"
            " switches it off."
        ),
    )
    return omega or None, None if dt_lambda == 1 else dt_lambda


def _injection(recipe: Recipe) -> Any:
    """Returns the swap or slerp of a recipe, or another edit with a donor."""
    found = [edit for edit in recipe.edits if edit.has("donor")]
    if any(edit.has("direction") for edit in recipe.edits):
        raise UsageError("this picture was moved along a direction: drop it on the Edit page")
    if len(found) != 1:
        raise UsageError(
            f"this page makes pictures with one swap or slerp, and this one has {len(found)}; "
            "`python -m hcache render` renders it again"
        )
    return found[0]


def _but_for_sites(recipe: Recipe, edit: RecipeEdit) -> str:
    """Returns a recipe without its sites, as a text for comparison."""
    other = changed(edit, sites=("h",)) if isinstance(edit, SwapEdit) else edit
    kept = [other if found is edit else found for found in recipe.edits]
    return replace(recipe, edits=tuple(kept)).digest


def _apply_more(recipe: Recipe, slerp: bool) -> None:
    boost, freeu = recipe.t_boost or 0.0, _freeu(recipe)
    low, high = FREEU_RANGE
    if (
        not 0 <= boost <= MOST_BOOST
        or freeu
        and not all(low <= getattr(freeu, key) <= high for key in FREEU)
    ):
        raise UsageError("the noise boost or FreeU of this picture is beyond what this page has")
    state.choose("slerp-asymmetric" if slerp else "swap-asymmetric", str(recipe.asymmetric))
    state.choose("swap-boost", boost)
    state.choose("freeu", str(freeu is not None))
    for key in FREEU if freeu else ():
        state.choose(f"freeu-{key}", getattr(freeu, key))


def _freeu(recipe: Recipe) -> FreeUEdit | None:
    return next((edit for edit in recipe.edits if isinstance(edit, FreeUEdit)), None)
