"""The PCA page: samples on two components of a site, on a map by t-SNE or UMAP, or on two sparse
features, step by step. Samples can be selected here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import streamlit as st

from ...analysis.projections import Projections
from ...cache.reading import Run
from ...figures.components import variance_explained
from ...figures.pictures import png_bytes
from ...measures.costs import about, projection_seconds
from ...measures.maps import MOST_SAMPLES
from ...measures.noise import log_snr_of
from .. import address, loaders, selection, state
from ..frame import errors_shown
from ..hover import hover_pictures
from ..pace import starts_itself
from ..scatter import BOX, LASSO, PAN, Placed, Points, scatter
from ..text import literal, sentence
from ..thinning import thinned
from ..work import run_button
from . import maps, sparse
from .selection import selection_bar, selection_panel

NO_COLOUR = "none"
OVER = {"each step's own": loaders.OWN, "joint over all steps": loaders.JOINT}
NEAREST = 15
DRAGS = {"move": PAN, "box": BOX, "lasso": LASSO}
MOST_PATHS, MOST_NAMED = 24, 20
POINTS, SCATTER = "pca-points", "pca-scatter"
SHUFFLED_UP_TO = 1024
"""The number of samples above which shuffling takes seconds and is done on demand."""


@dataclass(frozen=True, kw_only=True)
class View:
    """The choices that define the scatter plot.

    They are the site, the kind of axes, the two axes, and the label of the colours.
    """

    site: str
    over: str
    axes: tuple[int, int]
    colour: str
    values: np.ndarray | None


def pca_panel(run: Run) -> None:
    """Draws the controls, then the scatter plot.

    Everything that follows its step and selection is in one fragment.
    """
    view = _controls(run)
    every = None if view.over in (*maps.OVER, sparse.OVER) else _every_step(run, view.site)
    hover = hover_pictures(run, SCATTER)
    _follow(run, view, every, hover)


def _controls(run: Run) -> View:
    labels = loaders.labels_of(run)
    one, two, three, four, five = st.columns([2, 2, 2, 1, 1])
    with one:
        site = state.select(
            "Site",
            "site",
            run.stored_sites,
            help="h: the bottleneck. skip.g: a skip group, counted from h outward.",
        )
    with two:
        over = state.select(
            "Components",
            "over",
            [*OVER, *(maps.OVER if len(run) <= MOST_SAMPLES else ()), sparse.OVER],
            help=(
                "Each step's own: the most variance at that step. Joint: PCA of all steps side by"
                " side (Haas et al. 2023, Discovering Interpretable Directions in the Semantic"
                " Latent Space of Diffusion Models), with equal axes at every step. Paths of"
                " samples are shown on these, and on maps of all steps. t-SNE and UMAP place"
                " neighbours side by side; their axes and large distances mean nothing. Sparse"
                " features: the horizontal and vertical axis are the first, second, ... strongest"
                " feature of a dictionary (Gao et al. 2024, Scaling and evaluating sparse"
                " autoencoders)."
            ),
            format_func=sentence,
        )
    with three:
        colour = state.select(
            "Colour",
            "colour",
            [*labels, NO_COLOUR],
            help="A label of each sample.",
            format_func=_words,
        )
    most, on_map = min(10, len(run) - 1), over in maps.OVER  # a map has two axes
    with four:
        first = state.select(
            "Horizontal", "pc1", list(range(1, most + 1)), default=1, disabled=on_map
        )
    with five:
        second = state.select(
            "Vertical", "pc2", list(range(1, most + 1)), default=min(2, most), disabled=on_map
        )
    return View(
        site=site,
        over=OVER.get(over, over),
        axes=(first, second),
        colour=colour,
        values=labels.get(colour),
    )


def _every_step(run: Run, site: str) -> Mapping[str, Projections] | None:
    """Returns the projections of all steps, which are made in the background the first time."""
    found = loaders.projections_of(run, site)
    if found is None:
        seconds = projection_seconds(run, site)
        found = run_button(
            f"Project all steps, {about(seconds)}",
            "projections",
            (run.name, len(run), site),
            lambda: loaders.make_projections(run, site),
            auto=starts_itself(run, seconds),
        )
    return found


def _chosen_sample(run: Run, view: View) -> int:
    """Draws the chosen sample with its picture, and returns its number."""
    ids = run.sample_ids
    chosen = state.sample("Sample", "sample", ids, int(ids[0]), help="Marked by the ring.")
    row = run.position(chosen)
    label = "" if view.values is None else f", {_words(view.colour)} {view.values[row]:.2f}"
    said = f"sample {chosen}{label}"
    st.image(png_bytes(run.picture(chosen)), caption=literal(said), alt=said, width=150)
    return chosen


@st.fragment
def _follow(run: Run, view: View, every: Mapping[str, Projections] | None, hover: bool) -> None:
    with errors_shown():  # errors of a fragment do not reach its page
        step = state.slider(
            "Step", "step", 0, run.spec.steps - 1, run.spec.steps // 2, help="0 has the most noise."
        )
        if view.over in maps.OVER:
            _map(run, view, step, hover)
            return
        if view.over == sparse.OVER:
            _sparse(run, view, step, hover)
            return
        projections, at = _projections(run, view, every, step)
        if projections is None:
            return
        _scatter(run, view, _plot(view, projections, at), step, hover)
        selection_bar(run)
        _variance(run, view, projections.explained[at], step)
        _accuracy(projections.residuals, at)
        selection_panel(run)


def _map(run: Run, view: View, step: int, hover: bool) -> None:
    """Draws a map instead of components, and how far to trust it."""
    record = maps.map_record(run, view.site, view.over, step)
    if record is None:
        return
    _scatter(run, view, maps.plot_of(record, step), step, hover)
    selection_bar(run)
    maps.quality_panel(run, record)
    selection_panel(run)


def _sparse(run: Run, view: View, step: int, hover: bool) -> None:
    """Draws two sparse features in place of components, with their quality."""
    found = sparse.features_of(run, view.site)
    if found is None:
        return
    record, dictionary = found
    chosen = sorted({min(axis, dictionary.alive) - 1 for axis in view.axes})
    _scatter(run, view, sparse.plot_of(dictionary, view.axes), step, hover)
    selection_bar(run)
    sparse.features_panel(run, record, dictionary, chosen)
    selection_panel(run)


def _plot(view: View, projections: Projections, at: int) -> Placed:
    """Draws two components at a step, with the paths over the steps if the components are joint."""
    columns = [axis - 1 for axis in view.axes]
    shares = projections.explained[at]
    first, second = (
        f"component {axis} ({shares[axis - 1]:.1%} of this step's variance)" for axis in view.axes
    )
    ways = projections.scores[:, :, columns] if view.over == loaders.JOINT else None
    return Placed(places=projections.scores[at][:, columns], axes=(first, second), ways=ways)


def _projections(
    run: Run, view: View, every: Mapping[str, Projections] | None, step: int
) -> tuple[Projections | None, int]:
    """Returns the projections to show and the index of the step in them, or None while there are
    none.
    """
    if every is not None:
        return every[view.over], step
    if view.over == loaders.JOINT:
        st.caption(
            "Joint components need the projections of all steps, which are not computed yet."
        )
        return None, 0
    return loaders.projection_at(str(run.folder), len(run), view.site, step), 0


def _scatter(run: Run, view: View, plot: Placed, step: int, hover: bool) -> None:
    """Draws the chart, with the last clicked picture beside it."""
    ids, flags = run.sample_ids, selection.mask(run)
    left, right = st.columns([3, 1])
    with right:
        chosen = _chosen_sample(run, view)
        _drag_controls()
        st.button(
            f"Select its {min(NEAREST, len(run) - 1)} nearest",
            key="pca-nearest",
            on_click=_take_nearest,
            args=(run, view.site, step, chosen),
            help="The samples nearest to it, by all values of this site and step.",
        )
        with_paths = plot.ways is not None and state.flag(
            "Paths of the selected",
            "paths",
            False,
            help=f"Over all steps, of {MOST_PATHS} at most.",
        )
        if hover:
            st.caption("Hover over a point for its picture.")
    paths = window = None
    if plot.ways is not None:
        window = _window(plot.ways)
        paths = plot.ways[:, _some(np.flatnonzero(flags))].swapaxes(0, 1) if with_paths else None
    drawn = thinned(plot.places, flags | (ids == chosen))
    points = Points(
        samples=ids[drawn],
        places=plot.places[drawn],
        axes=plot.axes,
        colour=None if view.values is None else view.values[drawn],
        name=view.colour,
        chosen=chosen,
        selected=flags[drawn],
        paths=paths,
        window=window,
        drag=DRAGS.get(st.session_state.get("pca-drag"), PAN),
        view=f"{run.name} {view.site} {view.over} {view.axes}",
        sprite=SCATTER,
    )
    with left:
        st.caption(_what(run, view.site, step) + _how_many(len(drawn), len(ids)))
        with st.container(key=SCATTER):
            scatter(
                POINTS,
                points,
                _in_words(run, view, step, chosen, flags),
                on_pick=lambda samples: take_points(run, samples),
                on_clear=lambda twice: clear_points(run, twice),
            )


def _drag_controls() -> None:
    """Draws the drag action and the selection mode."""
    st.segmented_control(
        "Drag action",
        list(DRAGS),
        default=next(iter(DRAGS)),
        key="pca-drag",
        format_func=sentence,
        help=(
            "Box and lasso select the points inside. Choose move to click single points. A"
            " double click clears the selection."
        ),
    )
    st.segmented_control(
        "Selection mode",
        selection.HOW,
        default=selection.REPLACE,
        key="pca-how",
        format_func=sentence,
        help="Set replaces the selection, add extends it, remove takes points out of it.",
    )


def _take_nearest(run: Run, site: str, step: int, sample: int) -> None:
    """Selects a sample and its nearest neighbours."""
    with address.together():
        found = maps.nearest_samples(run, site, step, sample, min(NEAREST, len(run) - 1))
        selection.select(run, found, st.session_state.get("pca-how") or selection.REPLACE)
        selection.publish(run)


def take_points(run: Run, samples: list[int]) -> None:
    """Selects the picked samples. A click also shows its sample."""
    with address.together():  # Back undoes both the selection and the sample
        selection.select(run, samples, st.session_state.get("pca-how") or selection.REPLACE)
        if len(samples) == 1 and samples[0] in run.sample_ids:
            state.choose("sample", samples[0])
        selection.publish(run)


def clear_points(run: Run, twice: bool) -> None:
    """Answers a click or double click that clears points.

    The user took the selection off by a double click, or clicked its only point once more:
    which takes that off too, unless what is clicked joins the selection.
    """
    if twice or st.session_state.get("pca-how") != selection.ADD:
        selection.select(run, ())
        selection.publish(run)


def _in_words(run: Run, view: View, step: int, chosen: int, flags: np.ndarray) -> str:
    """Describes the scatter plot in words."""
    colour = "" if view.values is None else f", coloured by {_words(view.colour)}"
    few = selection.to_text(run.sample_ids[flags][:MOST_NAMED]) + (
        " and others" if flags.sum() > MOST_NAMED else ""
    )
    marked = f"; {flags.sum()} selected: {few}" if flags.any() else "; none selected"
    first, second = view.axes
    word = sparse.OVER if view.over == sparse.OVER else "components"
    on = f"{word} {first} and {second}"
    on = f"a {view.over}," if view.over in maps.OVER else on
    return (
        f"{len(run)} samples on {on} of {view.site} at step"
        f" {step}{colour}; sample {chosen} in a ring{marked}"
    )


def _shares(values: np.ndarray) -> str:
    return ", ".join(f"{value:.1%}" for value in values[:MOST_NAMED])


def _words(name: str) -> str:
    return name.replace("_", " ")


def _some(rows: np.ndarray) -> np.ndarray:
    """Returns at most ``MOST_PATHS`` of the rows, evenly spread."""
    if len(rows) <= MOST_PATHS:
        return rows
    return rows[np.linspace(0, len(rows) - 1, MOST_PATHS).round().astype(int)]


def _window(scores: np.ndarray) -> np.ndarray:
    """Returns the ends (2, 2) of two axes that contain the scores (steps, n, 2), with a margin."""
    low, high = scores.min((0, 1)), scores.max((0, 1))
    margin = 0.05 * (high - low)
    return np.stack([low - margin, high + margin], 1)


def _variance(run: Run, view: View, explained: np.ndarray, step: int) -> None:
    st.subheader("Variance explained")
    baseline = None
    shuffled = view.over == loaders.OWN and state.flag(
        "Beside shuffled features",
        "shuffled",
        len(run) <= SHUFFLED_UP_TO,
        help=(
            "Parallel analysis (Horn 1965): the same site with each feature shuffled over samples."
        ),
    )
    if shuffled:
        with st.spinner("Shuffling …", show_time=True):
            baseline = loaders.components_of(run, view.site, step).baseline
    beside = "" if baseline is None else f"; of shuffled features {_shares(baseline)}"
    said = (
        f"Share of this step's variance by component, from the first: {_shares(explained)}{beside}"
    )
    st.plotly_chart(variance_explained(explained, baseline), key="pca-variance", alt=said)
    if shuffled:
        st.caption(
            "Dotted: what components explain when the features are independent. Components below"
            " this line are not above chance."
        )
    elif view.over == loaders.JOINT:
        st.caption(
            "Joint components are orthogonal over all steps together, not at each step. At one step"
            " their shares may overlap and need not decrease."
        )


def _how_many(drawn: int, samples: int) -> str:
    """Says how many of very many samples are drawn."""
    if drawn == samples:
        return ""
    return (
        f" {drawn:,} are drawn: all where they are sparse, some where they are dense. Box and"
        " lasso select only drawn points."
    )


def _accuracy(residuals: np.ndarray | None, at: int) -> None:
    """Shows the possible error of the variances for very many samples, which are not computed
    exactly.
    """
    if residuals is None or residuals.shape[0] <= at:
        return
    st.caption(
        "Computed in a few passes over the samples. Possible relative error of each component's"
        f" variance: {_shares(residuals[at])}."
    )


def _what(run: Run, site: str, step: int) -> str:
    pooled = ", averaged over space" if run.policy(site) == "pooled" else ""
    level = log_snr_of(run)[step]
    noise = f", log SNR {level:+.2f}" if np.isfinite(level) else ""
    return (
        f"{len(run)} samples of {site}{pooled} at step {step} (t = {run.timesteps[step]:g}{noise})."
    )
