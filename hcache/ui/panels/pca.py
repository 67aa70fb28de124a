"""PCA: two components of a site at a step, and how much they explain."""

from __future__ import annotations

import streamlit as st

from ...cache.reading import Run
from ...figures.charts import scatter_of_components, variance_explained
from ...figures.pictures import png_bytes
from .. import loaders, state
from ..frame import errors_shown

NO_COLOUR = "none"


def pca_panel(run: Run) -> None:
    """The scatter with its controls, the clicked sample, and the variance explained."""
    sites = run.stored_sites
    labels = loaders.labels_of(run)
    one, two, three, four = st.columns([2, 2, 1, 1])
    with one:
        site = state.select("Site", "site", sites, help="h: the bottleneck. skip.g: a skip group, from h outward.")
    with two:
        colour = state.select("Colour", "colour", [*labels, NO_COLOUR], help="A label of each sample.")
    most = min(10, len(run) - 1)
    with three:
        first = state.select("Horizontal", "pc1", list(range(1, most + 1)), default=1)
    with four:
        second = state.select("Vertical", "pc2", list(range(1, most + 1)), default=min(2, most))
    step = state.slider("Step", "step", 0, run.spec.steps - 1, run.spec.steps // 2, help="0 has most noise.")
    st.caption(_what(run, site, step))
    pca = loaders.components_of(run, site, step)
    _scatter(run, pca, first, second, labels.get(colour), colour)
    st.subheader("Variance explained")
    st.plotly_chart(variance_explained(pca), key="pca-variance")
    st.caption(
        "The line is the same site with each feature shuffled over samples: what components explain when no "
        "two features "
        "have to do with each other (parallel analysis, Horn 1965). Components below it say nothing."
    )


@st.fragment
def _scatter(run: Run, pca: object, first: int, second: int, values: object, name: str) -> None:
    """The scatter and the picture it drives, in one fragment: a click redraws no more than these."""
    with errors_shown():  # a fragment's errors do not reach its page
        _draw_scatter(run, pca, first, second, values, name)


def _draw_scatter(run: Run, pca: object, first: int, second: int, values: object, name: str) -> None:
    ids = run.sample_ids
    chosen = int(state.recall("sample", int(ids[0]), int))
    left, right = st.columns([4, 1])
    figure = scatter_of_components(pca, first, second, ids, values, name, chosen)
    with left:
        event = st.plotly_chart(figure, key="pca-scatter", on_select="rerun", selection_mode="points")
    points = event["selection"]["points"] if event else []
    if points:
        picked = int(
            points[0]["customdata"][0] if isinstance(points[0]["customdata"], list) else points[0]["customdata"]
        )
        if picked != chosen and picked in ids:
            state.keep("sample", picked)
            st.rerun(scope="fragment")
    row = run.position(chosen) if chosen in ids else 0
    with right:
        caption = f"sample {ids[row]}" + ("" if values is None else f", {name.replace('_', ' ')} {values[row]:.2f}")
        st.image(png_bytes(run.images[row]), caption=caption, width="stretch")
        st.caption("Click a point to see its picture.")


def _what(run: Run, site: str, step: int) -> str:
    pooled = ", averaged over space" if run.policy(site) == "pooled" else ""
    return f"{len(run)} samples of {site}{pooled} at step {step} (t = {run.timesteps[step]})."
