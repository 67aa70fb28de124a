"""The selection on a page: its counts and buttons, its uses, and its difference from the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from ...analysis.contrasts import LabelContrast, contrast_labels
from ...cache.labels import save_labels
from ...cache.reading import Run
from ...directions.direction import check_movable
from ...directions.fitting import METHODS, POSITIVES
from ...errors import HcacheError, UsageError
from ...figures.contrasts import contrast_chart
from .. import address, loaders, selection, state
from ..text import literal
from .directions import NEW
from .positives import FROM_SELECTION

NOTHING = (
    "Nothing is selected. Click pictures in the Gallery or points in PCA, draw a box or lasso"
    " there, or type sample numbers above. Each run has one selection, shared by all pages."
)
EDITS = "Uses them as positives of a direction on the Edit page."
NO_H = "Directions need h stored in full, and this run does not have it."
TYPED, REFUSED = "selection-typed", "selection-refused"
SHOWN = 8
"""The number of labels drawn at a time."""


def selection_bar(run: Run, shown: Sequence[int] | None = None) -> None:
    """Shows the size of the selection, and buttons that change it.

    ``shown``: the samples on the page, for selecting all of them.
    """
    count = len(selection.selected(run))
    with st.container(horizontal=True, vertical_alignment="center", key="selection-bar"):
        st.markdown(f"**{count} of {len(run)}** selected", width="content")
        if shown is not None:
            for label, how, help_text in (
                (f"Select the {len(shown)} shown", selection.REPLACE, "Replaces the selection."),
                ("Add them", selection.ADD, "Adds to the selection."),
                ("Remove them", selection.REMOVE, "Removes from the selection."),
            ):
                st.button(
                    label,
                    key=f"selection-{how}",
                    help=help_text,
                    on_click=selection.select,
                    args=(run, shown, how),
                )
        st.button("Invert", key="selection-invert", on_click=selection.invert, args=(run,))
        st.button(
            "Clear",
            key="selection-clear",
            on_click=selection.select,
            args=(run, ()),
            disabled=not count,
        )
        st.button(
            "Undo",
            key="selection-undo",
            icon=":material/undo:",
            on_click=selection.undo,
            args=(run,),
            disabled=not selection.can_undo(run),
            help="Restores the previous selection.",
        )
        st.text_input(
            "Select by number",
            key=TYPED,
            placeholder="or type 0-3, 7",
            label_visibility="collapsed",
            width=140,
            on_change=take_typed,
            args=(run,),
            help="Sample numbers and ranges. They replace the selection.",
        )
    if refused := st.session_state.pop(REFUSED, ""):
        said = literal(repr(refused))
        st.error(
            f"{said} names no sample of this run. Write numbers and ranges separated by commas:"
            " 0-3, 7."
        )
    if not selection.publish(run):
        st.caption(
            "The selection is too scattered for the page's address; save it as a label set to"
            " keep it."
        )


def take_typed(run: Run) -> None:
    """Selects the typed sample numbers."""
    typed = st.session_state[TYPED]
    samples = selection.from_text(typed.replace(" ", ""), run.sample_ids)
    if samples:
        selection.select(run, samples)
        st.session_state[TYPED] = ""
    else:
        st.session_state[REFUSED] = typed.strip()


def selection_panel(run: Run) -> None:
    """Draws the uses of the selection, and its labels against the rest."""
    st.subheader("Selection")
    chosen = selection.mask(run)
    if not chosen.any():
        st.caption(NOTHING)
        return
    _actions(run)
    contrasts = contrast_labels(loaders.labels_of(run), chosen)
    if not contrasts:
        st.caption(
            "No label is known for both the selected and the other samples, so they cannot be"
            " compared."
        )
        return
    if len(contrasts) > SHOWN:
        names = [contrast.name for contrast in contrasts]
        wanted = state.many("Labels", "contrast-labels", names, names[:SHOWN])
        contrasts = (
            tuple(contrast for contrast in contrasts if contrast.name in wanted)
            or contrasts[:SHOWN]
        )
    left, right = st.columns([5, 6])
    with left:
        differences = "; ".join(
            f"{contrast.name.replace('_', ' ')} {_interval(contrast)}" for contrast in contrasts
        )
        st.plotly_chart(
            contrast_chart(contrasts),
            key="selection-contrast",
            config={"displayModeBar": False},
            alt=f"Mean of the selected minus mean of the others, by label: {differences}",
        )
    with right:
        st.dataframe(_table(contrasts), hide_index=True, width="stretch")
    st.caption(
        f"Mean of the {int(chosen.sum())} selected minus mean of the {int((~chosen).sum())} others,"
        " with its 95 % interval (Welch) over seeds. Filled points: the interval excludes zero."
        " About one in 20 labels that are unrelated to the selection is filled by chance. A label"
        " that was used to make the selection, or one that correlates with it, differs for that"
        " reason: this is not a finding."
    )


def _actions(run: Run) -> None:
    """Draws positives for the Edit page, a label set, and files."""
    samples, editable = selection.selected(run), _editable(run)
    with st.container(horizontal=True, vertical_alignment="center", key="selection-actions"):
        for method in METHODS.values():
            if not method.proposed or method.needs != (POSITIVES,):
                continue
            how = "" if method.quick else f", by {method.in_figures}"
            if st.button(
                f"Edit along them{how}",
                key=f"selection-{method.name}",
                icon=":material/tune:",
                disabled=not editable,
                help=EDITS if editable else NO_H,
            ):
                edit_along(method.name)
        with st.popover("Save as label", icon=":material/label:"):
            name = st.text_input(
                "Name",
                "selection",
                key="selection-name",
                help="1 for the selected, 0 for the rest.",
            )
            if st.button("Save", key="selection-save", type="primary"):
                try:
                    save_as_label(run, name.strip())
                    st.success(
                        f"Saved the label {literal(name)}."
                    )  # a toast from a fragment replaces the page's style
                except HcacheError as error:
                    st.error(literal(error))
        st.download_button(
            "Sample numbers",
            "\n".join(map(str, samples)) + "\n",
            f"{run.name}-selection.txt",
            "text/plain",
            key="selection-ids",
            icon=":material/download:",
        )
        st.download_button(
            "CSV with labels",
            _csv(run),
            f"{run.name}-selection.csv",
            "text/csv",
            key="selection-csv",
            icon=":material/download:",
        )


def edit_along(method: str) -> None:
    """Opens the Edit page with the selection as positives.

    They are those of a new direction.
    """
    with address.together():
        state.choose("direction", NEW)
        state.choose("method", method)
        state.choose("source", FROM_SELECTION)
    st.switch_page("pages/edit.py")


def save_as_label(run: Run, name: str) -> None:
    """Saves the selection as a label.

    It is 1 for the selected samples and 0 for the others.

    Raises:
        UsageError: there already is such a label set, or the name is not allowed.
    """
    if name in run.labels:
        raise UsageError(f"there is a label set {name!r} already; choose another name")
    chosen = selection.mask(run)
    save_labels(
        run, name, {name: {int(s): float(c) for s, c in zip(run.sample_ids, chosen, strict=True)}}
    )


def _editable(run: Run) -> bool:
    try:
        check_movable(run)
    except HcacheError:
        return False
    return True


def _csv(run: Run) -> str:
    """Returns the selected samples with seeds and all labels."""
    chosen = selection.mask(run)
    ids = run.sample_ids[chosen]
    columns = {name: values[chosen] for name, values in loaders.labels_of(run).items()}
    return pd.DataFrame({"sample": ids, "seed": [run.seed(int(i)) for i in ids], **columns}).to_csv(
        index=False
    )


def _table(contrasts: Sequence[LabelContrast]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "Label": contrast.name.replace("_", " "),
                "Selected": _rounded(contrast.selected, contrast.spread),
                "Others": _rounded(contrast.rest, contrast.spread),
                "Difference (95 % interval)": _interval(contrast),
            }
            for contrast in contrasts
        ]
    )


def _interval(contrast: LabelContrast) -> str:
    found, spread = contrast.difference, contrast.spread
    ends = [_rounded(value, spread, "+") for value in (found.low, found.high)]
    interval = " to ".join(ends) if found.low == found.low else "not defined"
    return f"{_rounded(found.value, spread, '+')} ({interval})"


def _rounded(value: float, spread: float, sign: str = "") -> str:
    """Rounds a number to the second digit of its label's spread. More digits have no meaning, and
    columns stay comparable.
    """
    decimals = max(0, 1 - math.floor(math.log10(spread))) if spread > 0 else 2
    return f"{round(value, decimals) + 0.0:{sign}.{decimals}f}"  # + 0.0: no -0.00
