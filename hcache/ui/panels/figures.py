"""The Figures page: the U-figure, a strip or a grid of any run in one click, as PNG, SVG or PDF for
a paper.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ...cache.reading import Run
from ...cache.records import state_of
from ...directions.direction import check_movable
from ...directions.store import list_moves
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
from ...figures.palette import in_dark
from ...figures.ufigure import Swapped, draw_u
from ...measures.costs import about, render_seconds
from ...measures.judged import null_in_words
from ...measures.label_values import values_of
from ...specs import parse_numbers, parse_samples
from .. import loaders, state
from ..kept import kept_values
from ..pace import starts_itself, step_seconds_of
from ..text import sentence, with_commands
from ..work import run_button
from .directions import site_panel
from .swap import untouched

if TYPE_CHECKING:
    from ...directions.direction import Move
    from ...figures.table import Table
    from ...recipes.window import Window

U, STRIP, GRID = "U-figure", "strip", "grid"
ABOUT = {
    U: "B with A's activations at h and at each skip group (Schaerf et al. 2025).",
    STRIP: "One edited sample: one row per method, one column per strength.",
    GRID: "Samples edited by several methods: one column per attribute.",
}
SIZES = {"single": 7.0, "double": 8.0}
"""The font size in points, by the width of the figure."""

SHOWN, EMPTY = 1.4, 700
"""The scale of a figure on the page relative to print, and the width in pixels of one without
results yet.
"""


def figures_panel(run: Run) -> None:
    """Draws the choices of a figure, the figure and its files."""
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    with left:
        kind = state.select(
            "Figure",
            "figure",
            [U, STRIP, GRID] if run.anatomy.h else [STRIP, GRID],
            format_func=sentence,
        )
    right.caption(ABOUT[kind])
    choice = {U: _swaps, STRIP: _strip, GRID: _grid}[kind](run)
    for label in _labels_of(choice):
        st.caption(with_commands(null_in_words(run, label)))
    question, seconds = (run.name, _sources(run, choice), choice), _seconds(run, choice)
    made = run_button(
        "Make the figure",
        f"figure-{kind}",
        question,
        lambda: _make(run, choice),
        auto=starts_itself(run, seconds),
    )
    if made is None:
        _show_empty(run, choice, seconds)
        return
    place, files = st.container(), st.container()
    style = _style()
    caption = made.caption
    if style.captioned:
        caption = st.text_area("Caption", made.caption, key=f"caption-{hash(question)}", height=90)
    figure = draw(made, style, caption)
    place.image(
        figure.svg, width=round(figure.width / 72 * 96 * SHOWN), alt=caption or made.caption
    )
    with files:
        _downloads(run, figure, kind.lower())


def _labels_of(choice: Choice) -> tuple[str, ...]:
    """Returns the labels whose directions a figure shows."""
    if isinstance(choice, Strip):
        return (choice.label,) if choice.label else ()
    if isinstance(choice, Grid):
        return tuple(name for name in choice.attributes if not name.startswith(SAVED))
    return ()


def _sources(run: Run, choice: Choice) -> tuple[str | tuple[str, str], ...]:
    """Returns what a figure is made from: the samples of its runs, and each of its labels and saved
    directions with a digest that changes with it.
    """
    owner = _owner(run, choice) if isinstance(choice, Swaps) else run
    named = (*getattr(choice, "ways", ()), *getattr(choice, "attributes", ()))
    saved = {f"{SAVED}{entry.name}": entry.digest for entry in list_moves(run)}
    shown = [(name, saved[name]) for name in named if name in saved]
    return (state_of(run), state_of(owner), *values_of(run, _labels_of(choice)).items(), *shown)


def _owner(run: Run, choice: Swaps) -> Run:
    """Returns the run of a figure's donor."""
    return loaders.shared_run(run.folder.parent / choice.donor_run) if choice.donor_run else run


def _seconds(run: Run, choice: Choice) -> float | None:
    """Returns the seconds that the figure takes, if they are known. Methods are fitted for strips
    and grids.
    """
    if not isinstance(choice, Swaps):
        return None
    return render_seconds(run, 1 + len(run.anatomy.sites), choice.window, step_seconds_of(run))


def _show_empty(run: Run, choice: Choice, seconds: float | None) -> None:
    """Shows the outline of the figure: for the U, A and B in their places."""
    if isinstance(choice, Swaps):
        pair = [untouched(_owner(run, choice), choice.donor), untouched(run, choice.recipient)]
        drawing = draw_u(
            Swapped(
                anatomy=run.anatomy,
                donor=pair[0],
                recipient=pair[1],
                cells={},
                caption="",
                names=(f"sample {choice.donor}", f"sample {choice.recipient}"),
            ),
            Style(captioned=False),
        ).svg
        dark = st.context.theme.type == "dark"
        st.image(
            in_dark(drawing) if dark else drawing,
            width=EMPTY,
            alt="The U with A and B, without results yet",
        )
    elif isinstance(choice, Strip):
        st.markdown(
            f"The figure will show sample {choice.sample} in {len(choice.ways)} rows, one for each"
            f" method, and {len(choice.strengths)} columns, one for each strength."
        )
    else:
        st.markdown(
            f"The figure will show {len(choice.samples)} samples, each with a row for each method,"
            f" and {len(choice.attributes)} columns, one for each attribute."
        )
    known = "" if seconds is None else f"Rendering takes {about(seconds)}. "
    st.caption(
        f"{known}Pictures that were rendered before are used again. The first time, the model has"
        " to be loaded."
    )


def _make(run: Run, choice: Choice) -> Generator[float, None, Swapped | Table]:
    maker = Maker(run=run, load=lambda: loaders.model_of(run), fitted=KeptMoves(run))
    return (yield from maker.make(choice))


class KeptMoves:
    """The directions that were fitted for figures of a run.

    They are kept for all sessions, each as a value of its own. The key of one has its fit and the
    samples of the run, so that other values of a label or other samples give another direction.
    """

    def __init__(self, run: Run) -> None:
        self._of = (KeptMoves, str(run.folder), state_of(run))

    def get(self, key: str) -> Move | None:
        """Returns a direction by its fit's JSON.

        It is None if it is not kept.
        """
        return kept_values().find((*self._of, key))

    def __setitem__(self, key: str, move: Move) -> None:
        kept_values().keep((*self._of, key), move)


def _swaps(run: Run) -> Swaps:
    start = default_swaps(run)
    names = loaders.donors_of(run)
    a, b, owner, steps = st.columns([1, 1, 2, 3])
    with owner:
        donor_run = state.select("Donor's run", "donor-run", names, default=run.name)
    donors = run if donor_run == run.name else loaders.shared_run(run.folder.parent / donor_run)
    with a:
        second = int(donors.sample_ids[min(1, len(donors) - 1)])
        donor = state.sample("Donor (A)", "donor", donors.sample_ids, second)
    with b:
        recipient = state.sample("Recipient (B)", "recipient", run.sample_ids, start.recipient)
    with steps:
        window = _window(run, start.window)
    given = "" if donor_run == run.name else donor_run
    return replace(start, donor=donor, recipient=recipient, donor_run=given, window=window)


def _strip(run: Run) -> Strip:
    check_movable(run)
    start, labels = default_strip(run), usable_labels(run)
    left, middle, right = st.columns([1, 2, 1])
    with left:
        label = (
            state.select(
                "Attribute",
                "figure-label",
                labels,
                default=start.label,
                format_func=name_of,
                help="The methods are fitted to the samples with its highest values.",
            )
            if labels
            else ""
        )
    with middle:
        ways = _ways(run, "strip-ways", default_ways(run, label))
    with right:
        strengths = state.text(
            "Strengths γ", "strengths", ", ".join(f"{s:g}" for s in start.strengths)
        )
    left, middle, right = st.columns([1, 1, 2])
    with left:
        sample = state.sample(
            "Sample",
            "figure-sample",
            run.sample_ids,
            start.sample,
            help="By default a sample that the methods are not fitted to.",
        )
    top, window, asymmetric = _more(run, start, middle, right)
    site = site_panel(run, "figure-site")
    return Strip(
        sample=sample,
        ways=ways,
        window=window,
        label=label,
        top=top,
        strengths=parse_numbers(strengths),
        asymmetric=asymmetric,
        site=site,
    )


def _grid(run: Run) -> Grid:
    check_movable(run)
    start, labels = default_grid(run), usable_labels(run)
    saved = [way for way in all_ways(run) if way.startswith(SAVED)]
    left, middle, right = st.columns([2, 2, 1])
    with left:
        options = [*labels, *saved]
        attributes = state.many(
            "Attributes",
            "figure-attributes",
            options,
            start.attributes,
            format_func=name_of,
            help="Labels, to which the methods are fitted, or saved directions.",
        )
    fitted = bool(attributes) and not attributes[0].startswith(SAVED)
    with middle:
        ways = (
            _ways(run, "grid-ways", start.ways or default_ways(run, labels[0]), False)
            if fitted
            else ()
        )
    with right:
        strength = state.number(
            "Strength γ", "figure-strength", -8.0, 8.0, start.strength, step=0.5
        )
    left, middle, right = st.columns([1, 1, 2])
    with left:
        samples = state.text(
            "Samples",
            "figure-samples",
            ", ".join(map(str, start.samples)),
            help=(
                "Numbers and ranges: 0, 3, 8-10. By default samples that the methods are not"
                " fitted to."
            ),
        )
    top, window, asymmetric = _more(run, start, middle, right)
    site = site_panel(run, "figure-site")
    return Grid(
        samples=parse_samples(samples),
        attributes=tuple(attributes),
        ways=ways,
        window=window,
        top=top,
        strength=strength,
        asymmetric=asymmetric,
        site=site,
    )


def _ways(
    run: Run, name: str, default: tuple[str, ...], with_saved: bool = True
) -> tuple[str, ...]:
    ways = [way for way in all_ways(run) if with_saved or not way.startswith(SAVED)]
    return tuple(state.many("Methods, one row each", name, ways, default, format_func=name_of))


def _more(
    run: Run, start: Strip | Grid, left: DeltaGenerator, right: DeltaGenerator
) -> tuple[int, Window, bool]:
    """Draws positives, steps and symmetry, which strip and grid share."""
    with left:
        top = (
            state.slider("Number of positives", "figure-top", 2, len(run) // 2, start.top)
            if start.top > 1
            else 0
        )
    with right:
        steps, symmetry = st.columns([2, 1], vertical_alignment="bottom")
        with steps:
            window = _window(run, start.window)
        with symmetry:
            asymmetric = state.flag(
                "Asymmetric",
                "figure-asymmetric",
                True,
                help="The edited noise enters P_t only (Asyrp: Kwon, Jeong, Uh 2022).",
            )
    return top, window, asymmetric


def _window(run: Run, start: Window) -> Window:
    first, last = state.window(
        "Steps", "window", run.spec.steps, help="Step 0 has the most noise. Both ends are included."
    )
    return replace(start, first=first, last=last)


def _style() -> Style:
    """Draws width, font size and caption. None of them renders pictures again."""
    left, middle, right = st.columns([2, 1, 1], vertical_alignment="bottom")
    with left:
        names = {name: f"{name} column, {inches:g} in" for name, inches in WIDTHS.items()}
        width = state.select(
            "Width in print", "figure-width", list(names), default="double", format_func=names.get
        )
    with middle:
        size = state.number("Font size (pt)", f"type-{width}", 4.0, 24.0, SIZES[width], step=0.5)
    with right:
        captioned = state.flag(
            "Caption in the figure",
            "figure-caption",
            True,
            help=(
                "Switch it off if your paper sets the caption. It stays in the file as its"
                " description."
            ),
        )
    return Style(width=WIDTHS[width], size=size, captioned=captioned)


def _downloads(run: Run, figure: Figure, kind: str) -> None:
    """Draws the three files. Each is made on demand."""
    files = (
        (
            "PDF",
            lambda: figure.pdf,
            "pdf",
            "application/pdf",
            "Vector text and lines, with the font embedded.",
        ),
        (
            "SVG",
            lambda: figure.svg.encode(),
            "svg",
            "image/svg+xml",
            "Text stays text and can be edited.",
        ),
        (
            "PNG at 2x",
            figure.png,
            "png",
            "image/png",
            "300 pixels per inch. Contains the recipe of every picture.",
        ),
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        for label, make, ending, mime, text in files:
            st.download_button(
                label,
                make,
                f"{run.name}-{kind}.{ending}",
                mime,
                key=f"download-{ending}",
                icon=":material/download:",
                help=text,
            )
        inches = f"{figure.width / 72:.1f} x {figure.height / 72:.1f} in"
        st.caption(
            f"{inches} in print, shown at {SHOWN:g} times that size. `python -m hcache render`"
            " repeats the PNG."
        )
