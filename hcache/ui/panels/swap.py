"""Swap: what becomes of B with A's activations at one site at a time."""

from __future__ import annotations

import streamlit as st

from ...cache.reading import Run
from ...edits.window import Window
from ...figures.pictures import png_bytes
from ...figures.unet import draw_swaps
from .. import loaders, state
from ..grid import picture_grid
from ..work import run_button


def swap_panel(run: Run) -> None:
    """Donor, recipient, window and strength; the U-figure; the identity badge."""
    run.anatomy.need_unet("swapping h and skip groups")
    donor, recipient = _pair_panel(run)
    left, right = st.columns(2)
    with left:
        first, last = state.window(
            "Steps in which to swap", "window", run.spec.steps, help="Step 0 has most noise; both ends are included."
        )
    with right:
        percent = state.slider(
            "Blend strength (%)", "blend", 0, 100, 100, help="b + α (a - b): 100 % replaces B's activations by A's."
        )
    result = run_button(
        "Swap h and each skip group",
        "swap",
        (run.name, donor, recipient, first, last, percent),
        lambda: _render(run, donor, recipient, Window(first=first, last=last), percent / 100),
    )
    if result is None:
        st.caption("One pass through the loop renders all sites; nothing runs until you press the button.")
        return
    figure = draw_swaps(
        run.anatomy, result.donor, result.recipient, result.images, f"sample {donor}", f"sample {recipient}"
    )
    st.image(figure, width="stretch")
    if result.identical:
        st.success(
            "Identity: swapping B with itself at all sites reproduced B bit for bit.", icon=":material/verified:"
        )
    else:
        st.error(f"Identity fails: swapping B with itself changed it by up to {result.largest_difference:.2g}.")
    st.caption(
        f"Steps {first} to {last}. “moves B by” is the root mean square distance from B in pixels, over that "
        "of A from B. "
        "Skips that the run does not hold in full were computed again from A's cached x_t. After the figure "
        "of Schaerf, "
        "Alfarano, Silvestri, Impett (2025)."
    )


def _pair_panel(run: Run) -> tuple[int, int]:
    """Two sample numbers with their pictures, and a grid to pick either from."""
    ids = run.sample_ids
    a_side, b_side, grid_side = st.columns([1, 1, 3])
    with a_side:
        donor = state.sample("A, the donor", "donor", ids, int(ids[min(1, len(ids) - 1)]))
        st.image(png_bytes(run.images[run.position(donor)]), width=150)
    with b_side:
        recipient = state.sample("B, the recipient", "recipient", ids, int(ids[0]))
        st.image(png_bytes(run.images[run.position(recipient)]), width=150)
    with grid_side:
        role = st.segmented_control("A click on a picture chooses", ["A", "B"], default="A", key="swap-role")
        with st.container(height=190):
            uris = loaders.uris_of(run)
            shown = range(min(len(ids), 256))
            picked = picture_grid(
                "swap-grid", ids[: len(shown)], uris[: len(shown)], [str(i) for i in ids[: len(shown)]],
                chosen=donor if role == "A" else recipient, size=56,
            )  # fmt: skip
    if picked is not None and picked != (donor if role == "A" else recipient):
        state.choose("donor" if role == "A" else "recipient", picked)
        st.rerun()
    return donor, recipient


def _render(run: Run, donor: int, recipient: int, window: Window, alpha: float):  # noqa: ANN202
    from ...edits.swaps import render_swaps

    return render_swaps(loaders.model_of(run), run, donor, recipient, window, alpha)
