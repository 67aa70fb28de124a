"""The Swap page: B with A's activations, at one site at a time or at several, blended in or
rotated.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from ...cache.reading import Run
from ...cache.records import state_of
from ...edits.render_store import render_kept
from ...edits.rendered import Rendered
from ...figures.drawing import Style
from ...figures.palette import in_dark
from ...figures.pictures import png_bytes
from ...figures.strips import draw_film
from ...figures.ufigure import Swapped, draw_u
from ...progress import part
from ...readers.likeness import Distance, apart
from ...recipes.edits import DonorRef
from ...recipes.recipe import Recipe, recipe_of
from ...recipes.window import Window
from .. import loaders, state
from ..frame import beside
from ..grid import picture_grid
from ..reader_choice import choose_reader
from ..similarity_choice import choose_similarities, distances_with, say_missing, two_samples
from ..work import run_button
from .pins import SIDES, pin_cells
from .recipes import recipe_drop
from .sheets import sheet_download
from .swap_setup import Setup, apply_recipe, apply_recipes, injected, make_recipes, setup_panel

if TYPE_CHECKING:
    from ...edits.swaps import IdentityCheck

Rendering = tuple[dict[str, Rendered], "IdentityCheck", list[dict[str, str]], tuple[str, ...]]
"""Pictures by title, the check, the table of distances, and what is missing for it."""

TYPE = 9.5
"""The font size of the figure in points. It is drawn for print and shown smaller here."""

PICTURE, GRID = 112, 150
"""The width of A and B and the height of the grid, in pixels."""

KEPT_IDENTITIES = 256


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The donor and the recipient."""

    donor_run: Run
    donor: int
    recipient: int

    def names(self, run: Run) -> tuple[str, str]:
        """Returns A and B in words, on a page about ``run``."""
        other = "" if self.donor_run.name == run.name else f" of {self.donor_run.name}"
        return f"sample {self.donor}{other}", f"sample {self.recipient}"


def swap_panel(run: Run) -> None:
    """Draws the choices, with the results beside them.

    The choices are donor, recipient and edit. The results are the button, the U-figure, the
    identity badge and the files.
    """
    controls, result = beside()
    with controls:
        chosen, drop = st.container(), st.container()
        with drop:
            recipe_drop(run, apply_recipe, apply_recipes)
        with chosen:
            pair = _pair_panel(run)
            setup = setup_panel(run, run.picture(pair.recipient))
    with result:
        figure = st.container()
        names = choose_similarities("swap")  # below the figure
        with figure:
            _result_panel(run, pair, setup, names)


def _result_panel(run: Run, pair: Pair, setup: Setup, names: tuple[str, ...]) -> None:
    """Draws the button and its result; before that, the U with empty places.

    ``names``: the similarities to measure.
    """
    recipes = make_recipes(
        run, setup, DonorRef(run=pair.donor_run.name, sample=pair.donor), pair.recipient
    )
    every = Window(first=0, last=run.spec.steps - 1)
    window = injected(next(iter(recipes.values()))).acts_in or every
    reader_name = choose_reader(run)
    result = run_button(
        setup.button,
        "swap",
        (reader_name, names, *(recipe.digest for recipe in recipes.values())),
        lambda: _render(run, recipes, pair, window, (reader_name, names)),
    )
    if result is None:
        _show(run, {}, pair)
        st.caption(
            "Press the button to fill the places in the figure. All sites are rendered in one pass."
        )
        return
    cells, identity, likeness, missing = result
    _show(run, cells, pair)
    _badge(identity)
    st.caption(
        f"Steps {window.first} to {window.last}. The number at each site is the root"
        " mean square distance of the result from B, divided by that of A from B. Skips that the"
        " run does not store in full are computed again from A's stored x_t. Figure after Schaerf,"
        " Alfarano, Silvestri, Impett (2025)."
    )
    _likeness_panel(likeness, missing)
    _downloads(run, cells)
    pin_cells(run, list(cells.values()), list(cells))


def _likeness_panel(rows: list[dict[str, str]], missing: Iterable[str]) -> None:
    """Shows the distance of each result from A and from B, beside those of A and of another sample
    from B. ``missing``: a line for each similarity that is missing.
    """
    with st.expander("Distances from A and B", icon=":material/straighten:"):
        pinned = st.column_config.TextColumn(pinned=True)
        places = dict.fromkeys(("distance", "from"), pinned)
        table = pd.DataFrame(rows)
        st.dataframe(
            table, hide_index=True, width="stretch", height="content", column_config=places
        )
        st.caption(
            "Pixels: root mean square difference, as a share of the range. Structure: 1 − SSIM."
            " Embedding: 1 − cosine of an image encoder's embeddings, if the run's reader has one."
            " The first columns are the null: two different samples on average, and A itself."
            " One pair says little; the Verdict page measures many, with intervals and p."
        )
        say_missing(missing)


def _distance_rows(
    run: Run, cells: Mapping[str, Rendered], pair: Pair, distances: Mapping[str, Distance]
) -> list[dict[str, str]]:
    """Returns the table of distances: a row for each distance from A and from B, with columns for
    two samples on average, for A, and for each result.
    """
    a, b = untouched(pair.donor_run, pair.donor).picture, untouched(run, pair.recipient).picture
    pictures = np.stack([a, *(cell.picture for cell in cells.values())])
    from_a, from_b = (apart(pictures, each, distances) for each in (a, b))
    others = two_samples(run, distances)
    rows = []
    for name in from_b:
        for whom, found in (("A", from_a), ("B", from_b)):
            told = {what: f"{found[name][i]:.3f}" for i, what in enumerate(["A itself", *cells])}
            two = f"{others[name]:.3f}" if whom == "B" and name in others else ""
            rows.append({"distance": name, "from": whom, "two samples": two, **told})
    return rows


def _show(run: Run, cells: Mapping[str, Rendered], pair: Pair) -> None:
    """Shows the U with the swaps at whole sites, and in a row below it those without a place in the
    U.
    """
    names, two = (
        pair.names(run),
        (untouched(pair.donor_run, pair.donor), untouched(run, pair.recipient)),
    )
    at = {title: injected(cell.recipe).figure_site for title, cell in cells.items()}
    sites = {site: cells[title] for title, site in at.items() if site in run.anatomy.sites}
    others = {t: c.picture for t, c in cells.items() if at[t] not in run.anatomy.sites}
    if not run.anatomy.h:  # a transformer is no U
        others, sites = {title: cell.picture for title, cell in cells.items()}, {}
    elif sites or not cells:
        with st.container(key="u-figure"):
            said = (
                f"B, {names[1]}, with the activations of A, {names[0]}, at one site at a time:"
                f" {', '.join(sites)}"
            )
            swapped = Swapped(
                anatomy=run.anatomy,
                donor=two[0],
                recipient=two[1],
                names=names,
                caption="",
                cells=sites,
            )
            drawing = draw_u(swapped, Style(captioned=False, size=TYPE)).svg
            dark = st.context.theme.type == "dark"
            st.image(in_dark(drawing) if dark else drawing, width="stretch", alt=said)
    if others or not run.anatomy.h:
        pictures = [found.picture for found in two]
        shown = {f"A, {names[0]}": pictures[0], f"B, {names[1]}": pictures[1]} if not sites else {}
        shown |= others
        st.html(draw_film(np.stack(list(shown.values())), list(shown)))


def untouched(run: Run, sample: int) -> Rendered:
    """Returns an unedited sample, in the form for figures."""
    return Rendered(picture=run.picture(sample), recipe=recipe_of(run, sample))


def _badge(identity: IdentityCheck) -> None:
    if identity.identical:
        st.success(
            "Identity check: swapping B with itself at all sites reproduced B bit for bit.",
            icon=":material/verified:",
        )
    else:
        st.error(
            "Identity check failed: swapping B with itself changed it by up to"
            f" {identity.largest_difference:.2g}."
        )


def _downloads(run: Run, cells: Mapping[str, Rendered]) -> None:
    """Draws the download of each picture with its recipe, and of all as a sheet."""
    with st.container(horizontal=True):
        if len(cells) > 1:
            sheet_download(
                "Download all",
                f"{run.name}-swaps.png",
                list(cells.values()),
                list(cells),
                len(cells),
            )
        for title, cell in cells.items():
            st.download_button(
                title,
                cell.png,
                f"{run.name}-{cell.recipe.sample}-{title.replace(' ', '')}.png",
                "image/png",
                key=f"download-{title}",
                icon=":material/download:",
                help="A PNG with its recipe inside.",
            )


def _pair_panel(run: Run) -> Pair:
    """Draws the donor's run, two sample numbers with their pictures, and a grid to pick either
    from.
    """
    numbers, choice = st.container(), st.container()
    with choice:
        left, right = st.columns([2, 3], vertical_alignment="bottom")
        role = left.segmented_control("A click picks", SIDES, default="A", key="swap-role")
        with right:
            names = loaders.donors_of(run)
            name = state.select(
                "Donor's run",
                "donor-run",
                names,
                default=run.name,
                help="Runs of the same model and steps, including runs of real pictures.",
            )
    donor_run = run if name == run.name else loaders.shared_run(run.folder.parent / name)
    ids, theirs = run.sample_ids, donor_run.sample_ids
    a_side, b_side = numbers.columns(2)
    with a_side:
        donor = state.sample("Donor (A)", "donor", theirs, int(theirs[min(1, len(theirs) - 1)]))
        st.image(
            png_bytes(donor_run.picture(donor)),
            width=PICTURE,
            alt=f"A, sample {donor}",
        )
    with b_side:
        recipient = state.sample("Recipient (B)", "recipient", ids, int(ids[0]))
        st.image(
            png_bytes(run.picture(recipient)),
            width=PICTURE,
            alt=f"B, sample {recipient}",
        )
    chosen, shown_run = (donor, donor_run) if role == "A" else (recipient, run)
    with choice, st.container(height=GRID):
        shown = shown_run.sample_ids[:256]
        uris = loaders.uris_of(shown_run)[: len(shown)]
        picked = picture_grid(
            "swap-grid", shown, uris, [str(i) for i in shown], chosen=chosen, size=50
        )
    if picked is not None and picked != chosen:
        state.choose("donor" if role == "A" else "recipient", picked)
        st.rerun()
    return Pair(donor_run=donor_run, donor=donor, recipient=recipient)


def _render(
    run: Run,
    recipes: Mapping[str, Recipe],
    pair: Pair,
    window: Window,
    by: tuple[str, Sequence[str]],
) -> Generator[float, None, Rendering]:
    """Renders the cells. Also checks once per sample and steps whether a swap with itself changes
    nothing, and returns the table of distances: by a reader, and by named similarities.
    """
    recipient = pair.recipient
    from ...edits.swaps import check_identity

    work = render_kept(lambda: loaders.model_of(run), run, list(recipes.values()), run.home)
    cells = yield from part(work, 0.0, 0.8)
    known = _identity(str(run.folder), state_of(run), recipient, window.first, window.last)
    if not known:
        check = check_identity(loaders.model_of(run), run, recipient, window)
        known.append((yield from part(check, 0.8, 0.2)))
    made, (reader_name, names) = dict(zip(recipes, cells, strict=True)), by
    far = distances_with(run, reader_name, names)
    return made, known[0], _distance_rows(run, made, pair, far.distances), far.missing


@st.cache_resource(max_entries=KEPT_IDENTITIES, show_spinner=False)
def _identity(folder: str, state: str, sample: int, first: int, last: int) -> list[IdentityCheck]:
    """What a swap of a sample with itself came to, of all sessions; empty until it is known.
    ``state`` identifies the samples, so a run that was extracted anew is checked anew.

    Streamlit keeps it: it guards the cache against threads, bounds it, and clears it when asked.
    """
    return []
