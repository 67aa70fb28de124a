"""Pins: two pictures, A and B, that any page can set and the Compare page shows.

A pin is a sample of a run, or a rendered picture of it by its recipe's digest. It is part of the
address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from ...cache.reading import Run
from ...edits.render_store import kept_render
from .. import state
from ..text import literal

if TYPE_CHECKING:
    from ...edits.rendered import Rendered
    from ...recipes.recipe import Recipe

SIDES = ("A", "B")
_DIGEST = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A pinned picture (h, w, 3) uint8.

    ``recipe`` is None for an unedited sample. ``gone``: the pinned rendered picture is no longer
    stored.
    """

    run: Run
    sample: int
    picture: np.ndarray
    recipe: Recipe | None
    gone: bool = False

    @property
    def title(self) -> str:
        """What the picture is called."""
        edits = (
            ", ".join(dict.fromkeys(edit.kind for edit in self.recipe.edits)) if self.recipe else ""
        )
        return f"sample {self.sample}" + (f", {edits or 'rendered'}" if self.recipe else "")


def pin(side: str, run: Run, sample: int, digest: str = "") -> None:
    """Pins a picture as A or B."""
    state.choose(f"{side}-run", run.name)
    state.choose(f"{side}-sample", int(sample))
    state.choose(f"{side}-render", digest)


def pin_buttons(run: Run, sample: int, digest: str = "", name: str = "") -> None:
    """Draws the buttons Pin as A and Pin as B."""
    with st.container(horizontal=True, vertical_alignment="center"):
        for side in SIDES:
            if st.button(
                f"Pin as {side}",
                key=f"pin-{side}",
                icon=":material/push_pin:",
                help="Shows it on the Compare page.",
            ):
                pin(side, run, sample, digest)
                st.toast(f"{literal(name or f'Sample {sample}')} is {side} on the Compare page.")
        st.page_link("pages/compare.py", label="Compare", icon=":material/compare:")


def pin_cells(run: Run, cells: Sequence[Rendered], titles: Sequence[str]) -> None:
    """Draws the same for one of several rendered pictures."""
    by_title: Mapping[str, Rendered] = dict(zip(titles, cells, strict=True))
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    title = left.selectbox("Pin for the Compare page", list(by_title), key="pin-cell")
    with right:
        recipe = by_title[title].recipe
        pin_buttons(run, recipe.sample, recipe.digest, title)


def pinned(side: str, run: Run, sample: int) -> Pinned:
    """Returns the picture of a side.

    It is the pinned render if it is of this sample and still stored, and otherwise the sample
    itself.
    """
    digest = state.recall(f"{side}-render", "")
    cell = kept_render(run, digest) if _DIGEST.fullmatch(digest) else None
    if cell is not None and cell.recipe.sample == sample:
        state.keep(f"{side}-render", digest)
        return Pinned(run=run, sample=sample, picture=cell.picture, recipe=cell.recipe)
    picture = run.picture(sample)
    return Pinned(
        run=run, sample=sample, picture=picture, recipe=None, gone=bool(digest) and cell is None
    )
