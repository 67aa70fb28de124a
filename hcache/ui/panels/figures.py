"""Figures: the U-figure, a strip or a grid of any run, in one click, and as PNG, SVG or PDF for a paper."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ...cache.reading import Run
from ...directions.direction import check_full
from ...figures.choices import (
    SAVED,
    Choice,
    Grid,
    Strip,
    Swaps,
    all_ways,
    default_grid,
    default_strip,
    default_swaps,
    default_ways,
    name_of,
    usable_labels,
)
from ...figures.drawing import WIDTHS, Figure, Style
from ...figures.making import Maker
from ...figures.notebook import draw
from ...specs import parse_numbers, parse_samples
from .. import loaders, state
from ..work import run_button

if TYPE_CHECKING:
    from ...directions.direction import Move
    from ...edits.window import Window
    from ...figures.table import Table
    from ...figures.ufigure import Swapped

U, STRIP, GRID = "U-figure", "strip", "grid"
ABOUT = {
    U: "What becomes of B with A's activations at h and at each skip group (Schaerf et al. 2025).",
    STRIP: "One sample edited: a row a method, a column a strength.",
    GRID: "Samples edited by several methods: a column an attribute.",
}
SIZES = {"single": 7.0, "double": 8.0}
"""Of the type, in points, by the width of the figure."""

SHOWN = 1.4
"""How much larger than in print a figure is shown."""


def figures_panel(run: Run) -> None:
    """Which figure, what it shows, how it is set; then the figure, its caption and the files."""
    run.anatomy.need_unet("a figure of swaps or edits")
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    with left:
        kind = state.select("Figure", "figure", [U, STRIP, GRID])
    right.caption(ABOUT[kind])
    choice = {U: _swaps, STRIP: _strip, GRID: _grid}[kind](run)
    question = (run.name, len(run), choice)
    made = run_button("Make the figure", f"figure-{kind}", question, lambda: _make(run, choice))
    if made is None:
        st.caption("What was rendered before is not rendered again. The first time the model has to be loaded.")
        return
    place, files = st.container(), st.container()
    style = _style()
    caption = made.caption
    if style.captioned:
        caption = st.text_area("Caption", made.caption, key=f"caption-{hash(question)}", height=90)
    figure = draw(made, style, caption)
    place.image(figure.svg, width=round(figure.width / 72 * 96 * SHOWN), alt=caption or made.caption)
    with files:
        _downloads(run, figure, kind.lower())


def _make(run: Run, choice: Choice) -> Generator[float, None, Swapped | Table]:
    maker = Maker(run=run, load=lambda: loaders.model_of(run), fitted=_fitted(str(run.folder), len(run)))
    return (yield from maker.make(choice))


@st.cache_resource(max_entries=4, show_spinner=False)
def _fitted(folder: str, samples: int) -> dict[tuple[str, str, int], Move]:
    """The directions that were fitted for figures of a run, for all sessions."""
    return {}


def _swaps(run: Run) -> Swaps:
    start = default_swaps(run)
    names = loaders.donors_of(run)
    a, b, owner, steps = st.columns([1, 1, 2, 3])
    with owner:
        donor_run = state.select("A is of run", "donor-run", names, default=run.name)
    donors = run if donor_run == run.name else loaders.shared_run(run.folder.parent / donor_run)
    with a:
        second = int(donors.sample_ids[min(1, len(donors) - 1)])
        donor = state.sample("A, the donor", "donor", donors.sample_ids, second)
    with b:
        recipient = state.sample("B, the recipient", "recipient", run.sample_ids, start.recipient)
    with steps:
        window = _window(run, start.window)
    given = "" if donor_run == run.name else donor_run
    return replace(start, donor=donor, recipient=recipient, donor_run=given, window=window)


def _strip(run: Run) -> Strip:
    check_full(run)
    start, labels = default_strip(run), usable_labels(run)
    left, middle, right = st.columns([1, 2, 1])
    with left:
        label = state.select("Attribute", "figure-label", labels, default=start.label, format_func=name_of, help=(
            "The methods are fitted to the samples with the most of it.")) if labels else ""  # fmt: skip
    with middle:
        ways = _ways(run, "strip-ways", default_ways(run, label))
    with right:
        strengths = state.text("Strengths γ", "strengths", ", ".join(f"{s:g}" for s in start.strengths))
    left, middle, right = st.columns([1, 1, 2])
    with left:
        sample = state.sample("Sample", "figure-sample", run.sample_ids, start.sample, help=(
            "At first one that is at no end of the attribute, so that it was not fitted to."))  # fmt: skip
    top, window, asymmetric = _more(run, start, middle, right)
    return Strip(sample=sample, ways=ways, window=window, label=label, top=top, strengths=parse_numbers(strengths),
                 asymmetric=asymmetric)  # fmt: skip


def _grid(run: Run) -> Grid:
    check_full(run)
    start, labels = default_grid(run), usable_labels(run)
    saved = [way for way in all_ways(run) if way.startswith(SAVED)]
    left, middle, right = st.columns([2, 2, 1])
    with left:
        options = [*labels, *saved]
        attributes = state.many("Attributes", "figure-attributes", options, start.attributes, format_func=name_of,
                                help="Labels, which methods are fitted to, or saved directions.")  # fmt: skip
    fitted = bool(attributes) and not attributes[0].startswith(SAVED)
    with middle:
        ways = _ways(run, "grid-ways", start.ways or default_ways(run, labels[0]), False) if fitted else ()
    with right:
        strength = state.number("Strength γ", "figure-strength", -8.0, 8.0, start.strength, step=0.5)
    left, middle, right = st.columns([1, 1, 2])
    with left:
        samples = state.text("Samples", "figure-samples", ", ".join(map(str, start.samples)), help=(
            "Numbers and ranges: 0, 3, 8-10. At first such as are at no end of the attributes."))  # fmt: skip
    top, window, asymmetric = _more(run, start, middle, right)
    return Grid(samples=parse_samples(samples), attributes=tuple(attributes), ways=ways, window=window, top=top,
                strength=strength, asymmetric=asymmetric)  # fmt: skip


def _ways(run: Run, name: str, default: tuple[str, ...], with_saved: bool = True) -> tuple[str, ...]:
    ways = [way for way in all_ways(run) if with_saved or not way.startswith(SAVED)]
    return tuple(state.many("Methods, a row each", name, ways, default, format_func=name_of))


def _more(run: Run, start: Strip | Grid, left: DeltaGenerator, right: DeltaGenerator) -> tuple[int, Window, bool]:
    """Positives, steps, symmetry: what strip and grid share."""
    with left:
        top = state.slider("How many positives", "figure-top", 2, len(run) // 2, start.top) if start.top > 1 else 0
    with right:
        steps, symmetry = st.columns([2, 1], vertical_alignment="bottom")
        with steps:
            window = _window(run, start.window)
        with symmetry:
            asymmetric = state.flag("Asymmetric", "figure-asymmetric", True, help=(
                "The edited noise enters P_t only (Asyrp: Kwon, Jeong, Uh 2022)."))  # fmt: skip
    return top, window, asymmetric


def _window(run: Run, start: Window) -> Window:
    first, last = state.window("Steps", "window", run.spec.steps, help="0 has most noise; both ends are included.")
    return replace(start, first=first, last=last)


def _style() -> Style:
    """Width, type and whether there is a caption: none of them renders anything anew."""
    left, middle, right = st.columns([2, 1, 1], vertical_alignment="bottom")
    with left:
        names = {name: f"{name} column, {inches:g} in" for name, inches in WIDTHS.items()}
        width = state.select("Width in print", "figure-width", list(names), default="double", format_func=names.get)
    with middle:
        size = state.number("Type (points)", f"type-{width}", 4.0, 24.0, SIZES[width], step=0.5)
    with right:
        captioned = state.flag("Caption in the figure", "figure-caption", True, help=(
            "Off, if your paper sets it. It stays the file's description."))  # fmt: skip
    return Style(width=WIDTHS[width], size=size, captioned=captioned)


def _downloads(run: Run, figure: Figure, kind: str) -> None:
    """The three files; each is made when it is asked for."""
    files = (
        ("PDF", lambda: figure.pdf, "pdf", "application/pdf", "Texts and lines as vectors, the font inside."),
        ("SVG", lambda: figure.svg.encode(), "svg", "image/svg+xml", "Texts stay texts, to be edited further."),
        ("PNG at 2x", figure.png, "png", "image/png", "300 pixels an inch; carries the recipe of every picture."),
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        for label, make, ending, mime, text in files:
            st.download_button(label, make, f"{run.name}-{kind}.{ending}", mime, key=f"download-{ending}",
                               icon=":material/download:", help=text)  # fmt: skip
        inches = f"{figure.width / 72:.1f} x {figure.height / 72:.1f} in"
        st.caption(f"{inches} in print, shown {SHOWN:g} times as large. `python -m hcache render` takes the PNG.")
