"""The attention panel: maps of a prompt's words over the picture of a sample."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import streamlit as st

from ...cache.reading import Run
from ...figures.overlay import overlay
from ...figures.strips import draw_film
from ...measures.stored_words import WordMaps, stored_maps
from .. import loaders, state
from ..frame import errors_shown
from ..work import run_button

SIDE = 132
"""The width of a map on the screen, in pixels."""


def attention_panel(run: Run, sample: int) -> None:
    """The cross-attention map of every token over the picture.

    The map is of a step or of all steps. It is there for samples with a prompt of a U-Net.
    """
    prompts = run.spec.conditioning.rows([sample]).prompts
    if run.anatomy.without or not prompts or not prompts[0].strip():
        return
    with st.expander("Where each word is attended to", icon=":material/visibility:"):
        with errors_shown():
            _show(run, sample)


def _mapped(run: Run, sample: int) -> Generator[float, None, WordMaps]:
    from ...measures.attention import word_maps

    return (yield from word_maps(lambda: loaders.model_of(run), run, sample))


def _show(run: Run, sample: int) -> None:
    found = stored_maps(run, sample) or run_button(
        "Map the words", "attention", (run.name, len(run), sample), lambda: _mapped(run, sample)
    )
    if found is None:
        st.caption(
            "Cross-attention of every token, averaged over heads and layers (What the DAAM: Tang"
            " and others 2022). It takes one pass of the model at every step."
        )
        return
    step = state.slider(
        "Step of the maps; the last value is the mean of all",
        "attention-step",
        0,
        run.spec.steps,
        run.spec.steps,
    )
    chosen = None if step == run.spec.steps else step
    film = [overlay(run.picture(sample), found.of(i, chosen)) for i in range(len(found.tokens))]
    st.html(draw_film(np.stack(film), list(found.tokens), SIDE))
    st.caption(
        "Each picture has its own scale, from the least to the largest share of its token. A bright"
        " place attends to the token; that does not mean that the token made it."
    )
