"""The steps of an edit chosen as Asyrp chooses them, beside the window's slider."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from ...cache.reading import Run
from ...errors import UsageError
from ...similarities.registry import SIMILARITIES
from .. import loaders, state
from ..frame import errors_shown
from ..work import run_button
from .directions import Chosen

if TYPE_CHECKING:
    from ...measures.edit_steps import EditSteps

WINDOW, BOOST = "window", "edit-boost"
"""What the choices of this page are called that are set here."""

LPIPS = "lpips"
_APPLIED = "edit steps applied"

_HELP = (
    "The rule of Asyrp (Kwon, Jeong, Uh 2022): the run's pictures are inverted. The edit acts down"
    " to the least t at which LPIPS of the predicted x_0 is 0.33 times the cosine of the two texts."
    " Noise is added below the least t at which it is 0.1. For their CelebA-HQ model they give 513"
    " for smiling and sad, 515 for young, 446 for Pixar, 403 for Modigliani; 167 for the noise."
)


def edit_steps_panel(run: Run, chosen: Chosen | None) -> None:
    """Texts, a distance, and a button that sets steps and boost."""
    with st.expander("Steps as Asyrp chooses them", icon=":material/straighten:"), errors_shown():
        st.caption(_HELP)
        options = _options_of(chosen)
        clip = state.text("CLIP model", "steps-clip", options.get("clip", ""))
        source = state.text("Pictures show", "steps-source", options.get("source", ""))
        target = state.text("They are to show", "steps-target", options.get("target", ""))
        names = [each.name for each in SIMILARITIES.values() if not each.directed]
        names = [LPIPS, *(name for name in names if name not in (LPIPS, "embedding"))]
        name = state.select(
            "Distance",
            "steps-distance",
            names,
            format_func=lambda each: SIMILARITIES[each].title,
            help="The published thresholds are those of LPIPS. Another has its own.",
        )
        edit = boost = None
        if name != LPIPS:
            edit = state.number("Threshold of the edit", "steps-edit", 0.0, 100.0, 0.0)
            boost = state.number("Threshold of the noise", "steps-boost", 0.0, 100.0, 0.0)
        question = (run.name, len(run), clip, source, target, name, edit, boost)
        found = run_button(
            "Choose the steps", "edit-steps", question, partial(_choose, run, *question[2:])
        )
        if found is None:
            return
        if st.session_state.get(_APPLIED) != question:
            st.session_state[_APPLIED] = question
            window = found.window(run)
            state.choose(WINDOW, f"{window.first}-{window.last}")
            state.choose(BOOST, float(found.t_boost.value))
        edited, noisy = found.t_edit, found.t_boost
        st.caption(
            f"t_edit {edited.value:g} ({edited.low:g} to {edited.high:g}), t_boost"
            f" {noisy.value:g} ({noisy.low:g} to {noisy.high:g}), over {edited.n} pictures. The"
            " steps and the noise boost are set by it."
        )


def _options_of(chosen: Chosen | None) -> dict[str, str]:
    """The texts and the CLIP model that a direction was trained with, if it says them."""
    made_by = {} if chosen is None else chosen.move.made_by
    given = made_by.get("options")
    options = given if isinstance(given, Mapping) else {}
    return {name: str(options.get(name) or "") for name in ("clip", "source", "target")}


def _choose(
    run: Run,
    clip: str,
    source: str,
    target: str,
    name: str,
    edit: float | None,
    boost: float | None,
) -> Generator[float, None, EditSteps]:
    from ...measures.edit_steps import choose_steps, cosine_of, distance_for, rule_for

    if not clip:
        raise UsageError("name a CLIP model, whose embeddings of the two texts the rule takes")
    yield 0.0
    distance = distance_for(name, min(run.anatomy.image[:2]), clip)
    rule = rule_for(name, cosine_of(clip, source, target), edit, boost)
    return (yield from choose_steps(loaders.model_of(run), run, distance, rule))
