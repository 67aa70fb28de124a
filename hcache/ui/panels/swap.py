"""Swap: what becomes of B with A's activations, at one site at a time or several, blended in or turned to."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from ...cache.reading import Run
from ...edits.recipe import DonorRef, Recipe, recipe_of
from ...edits.rendered import Rendered
from ...edits.renders import render_kept
from ...edits.window import Window
from ...figures.drawing import Style
from ...figures.palette import in_dark
from ...figures.pictures import png_bytes
from ...figures.strips import draw_film
from ...figures.ufigure import Swapped, draw_u
from ...progress import part
from .. import loaders, state
from ..grid import picture_grid
from ..work import run_button
from .pins import pin_cells
from .recipes import recipe_drop
from .sheets import sheet_download
from .swap_setup import ALONE, SLERP, TOGETHER, apply_recipe, apply_recipes, make_recipes, setup_panel

if TYPE_CHECKING:
    from ...edits.swaps import Identity

WIDE = 1000
"""The U's width in pixels, where there is room: all of it is on a screen at once."""

KEPT_IDENTITIES = 256
_identities: dict[tuple[str, str, int, int, int], Identity] = {}
"""Of this process: what a swap of a sample with itself came to, by run, weights, sample and steps."""

BUTTONS = {ALONE: "Swap each site alone", TOGETHER: "Swap all sites at once", SLERP: "Turn h by slerp"}


def swap_panel(run: Run) -> None:
    """Donor, recipient and what to inject; the U-figure; the identity badge; what to take away."""
    run.anatomy.need_unet("swapping h and skip groups")
    recipe_drop(run, apply_recipe, apply_recipes)
    donor_run, donor, recipient = _pair_panel(run)
    setup = setup_panel(run, run.images[run.position(recipient)])
    recipes = make_recipes(run, setup, DonorRef(run=donor_run.name, sample=donor), recipient)
    result = run_button(
        BUTTONS[setup.how],
        "swap",
        tuple(recipe.digest for recipe in recipes.values()),
        lambda: _render(run, recipes, recipient, setup.window),
    )
    if result is None:
        st.caption("One pass through the loop renders all sites; nothing runs until you press the button.")
        return
    cells, identity = result
    names = (f"sample {donor}" + (f" of {donor_run.name}" if donor_run.name != run.name else ""), f"sample {recipient}")
    pair = (_untouched(donor_run, donor), _untouched(run, recipient))
    _show(run, cells, pair, names)
    _badge(identity)
    st.caption(
        f"Steps {setup.window.first} to {setup.window.last}. Numbers: root mean square distance from B, over that of "
        "A from B. Skips that the run does not hold in full were computed again from A's cached "
        "x_t. After the figure of Schaerf, Alfarano, Silvestri, Impett (2025)."
    )
    _downloads(run, cells)
    pin_cells(run, list(cells.values()), list(cells))


def _show(run: Run, cells: Mapping[str, Rendered], pair: tuple[Rendered, Rendered], names: tuple[str, str]) -> None:
    """The U with what was swapped at whole sites, and in a row below it what has no place in the U."""
    sites = [title for title in cells if title in run.anatomy.sites]
    others = {title: cell.picture for title, cell in cells.items() if title not in sites}
    if sites:
        with st.container(key="u-figure"):
            said = f"B, {names[1]}, with the activations of A, {names[0]}, at one site at a time: {', '.join(sites)}"
            swapped = Swapped(anatomy=run.anatomy, donor=pair[0], recipient=pair[1], names=names, caption="",
                              cells={site: cells[site] for site in sites})  # fmt: skip
            drawing = draw_u(swapped, Style(captioned=False)).svg
            dark = st.context.theme.type == "dark"
            st.image(in_dark(drawing) if dark else drawing, width=WIDE, alt=said)
    if others:
        shown = {f"A, {names[0]}": pair[0].picture, f"B, {names[1]}": pair[1].picture} if not sites else {}
        shown |= others
        st.html(draw_film(np.stack(list(shown.values())), list(shown)))


def _untouched(run: Run, sample: int) -> Rendered:
    return Rendered(picture=run.images[run.position(sample)], recipe=recipe_of(run, sample))


def _badge(identity: Identity) -> None:
    if identity.identical:
        st.success(
            "Identity: swapping B with itself at all sites reproduced B bit for bit.", icon=":material/verified:"
        )
    else:
        st.error(f"Identity fails: swapping B with itself changed it by up to {identity.largest_difference:.2g}.")


def _downloads(run: Run, cells: Mapping[str, Rendered]) -> None:
    """Each picture with its recipe, and all of them as a sheet."""
    with st.container(horizontal=True):
        if len(cells) > 1:
            sheet_download("Download all", f"{run.name}-swaps.png", list(cells.values()), list(cells), len(cells))
        for title, cell in cells.items():
            st.download_button(
                title, cell.png, f"{run.name}-{cell.recipe.sample}-{title.replace(' ', '')}.png", "image/png",
                key=f"download-{title}", icon=":material/download:", help="A PNG that carries its recipe.",
            )  # fmt: skip


def _pair_panel(run: Run) -> tuple[Run, int, int]:
    """The donor's run, two sample numbers with their pictures, and a grid to pick either from."""
    a_side, b_side, grid_side = st.columns([1, 1, 3])
    with grid_side:
        left, right = st.columns([1, 2])
        with left:
            role = st.segmented_control("A click on a picture chooses", ["A", "B"], default="A", key="swap-role")
        with right:
            names = loaders.donors_of(run)
            name = state.select("A is of run", "donor-run", names, default=run.name, help=(
                "Runs of the same model and steps, of real pictures as well."))  # fmt: skip
    donor_run = run if name == run.name else loaders.shared_run(run.folder.parent / name)
    ids, theirs = run.sample_ids, donor_run.sample_ids
    with a_side:
        donor = state.sample("A, the donor", "donor", theirs, int(theirs[min(1, len(theirs) - 1)]))
        st.image(png_bytes(donor_run.images[donor_run.position(donor)]), width=150, alt=f"A, sample {donor}")
    with b_side:
        recipient = state.sample("B, the recipient", "recipient", ids, int(ids[0]))
        st.image(png_bytes(run.images[run.position(recipient)]), width=150, alt=f"B, sample {recipient}")
    chosen, shown_run = (donor, donor_run) if role == "A" else (recipient, run)
    with grid_side, st.container(height=190):
        shown = shown_run.sample_ids[:256]
        uris = loaders.uris_of(shown_run)[: len(shown)]
        picked = picture_grid("swap-grid", shown, uris, [str(i) for i in shown], chosen=chosen, size=56)
    if picked is not None and picked != chosen:
        state.choose("donor" if role == "A" else "recipient", picked)
        st.rerun()
    return donor_run, donor, recipient


def _render(
    run: Run, recipes: Mapping[str, Recipe], recipient: int, window: Window
) -> Generator[float, None, tuple[dict[str, Rendered], Identity]]:
    """The cells, and whether a swap with itself changes nothing, which is computed once for a sample and steps."""
    from ...edits.swaps import check_identity, home_of

    work = render_kept(lambda: loaders.model_of(run), run, list(recipes.values()), home_of(run))
    cells = yield from part(work, 0.0, 0.8)
    key = (run.name, run.spec.weights, recipient, window.first, window.last)
    if key not in _identities:
        found = yield from part(check_identity(loaders.model_of(run), run, recipient, window), 0.8, 0.2)
        while len(_identities) >= KEPT_IDENTITIES:
            _identities.pop(next(iter(_identities)), None)
        _identities[key] = found
    return dict(zip(recipes, cells, strict=True)), _identities[key]
