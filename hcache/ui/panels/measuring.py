"""Measures the answers of a verdict: automatically if they are cheap, all with one button, or part
by part.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import streamlit as st

from ...background import tasks
from ...background.kinds import MEASURE, Measuring
from ...background.processes import DONE
from ...cache.labels import named_labels
from ...cache.reading import Run
from ...directions.direction import check_full
from ...errors import HcacheError
from ...figures.verdict import row_title
from ...measures.costs import about
from ...measures.declared.cka import BESIDE
from ...measures.faults import Tell, faults_told
from ...measures.measure import LABELS, MODEL
from ...measures.parameter import Parameter
from ...measures.registry import (
    find_measure,
    find_question,
    measured_by,
    measures,
    parameters_of,
    registry,
)
from ...measures.sample_sizes import samples_for_width
from ...measures.setting import NULLS, SAMPLES
from ...measures.suite import Suite, not_needed
from ...measures.verdict import Row
from ...readers.reading import readers_of
from .. import state
from ..pace import starts_itself, step_seconds_of
from ..parameter_widgets import FAR, draw_parameter
from ..reader_choice import choose_reader
from ..tasks import start
from ..text import literal

BEGUN = "measured by itself"
"""In the session: measures that started automatically."""

_HOW_LONG = (
    "The time is estimated from the number of samples and steps, and from the time of one step in"
    " the last extraction of this model here. Under Measure you can choose parts and a smaller or"
    " larger size."
)

ACROSS = 3
"""The number of fields side by side."""

USUAL = "usual"
SIZES = ("quick", USUAL, "thorough")
"""The sizes. The parameters define their values."""


def start_cheap(
    runs: Sequence[Run], labels: Sequence[str], rows: Sequence[Row], tell: Tell
) -> None:
    """Starts missing measures that are cheap and start themselves.

    Each starts once per session, and not beside a running task of the run, or one that was
    cancelled or failed. ``tell`` receives the faults of measures of other packages.
    """
    begun = st.session_state.setdefault(BEGUN, set())
    for run in runs:
        for name, measure in measures().items():
            if not measure.starts_itself:
                continue
            known: list[str] = []
            with faults_told(measure, tell):
                known += [label for label in labels if measure.defined_on(run, label)]
            question = (name, run.name, len(run), tuple(known))
            if question in begun or not _unanswered(run, name, rows) & set(known):
                continue
            if any(task.state != DONE for task in tasks.list_tasks(run.folder, MEASURE)):
                continue
            if starts_itself(run, _seconds(run, [name], known)):
                begun.add(question)
                start(run.folder, measuring(run, known, [name]))


def _fields(parameters: Sequence[Parameter]) -> None:
    """Draws the fields of parameters side by side, row by row."""
    for start_at in range(0, len(parameters), ACROSS):
        places = st.columns(ACROSS, vertical_alignment="bottom")
        for place, each in zip(places, parameters[start_at : start_at + ACROSS], strict=False):
            with place:
                draw_parameter(each, _key(each))


def _unanswered(run: Run, name: str, rows: Sequence[Row]) -> set[str]:
    """Returns the labels for which a measure has answered none of its questions on a run."""
    own = [row for row in rows if measured_by(*row.key) == name]
    answered = {row.subject for row in own if run.name in row.cells}
    return {row.subject for row in own} - answered


def _missing(run: Run, rows: Sequence[Row]) -> list[str]:
    """Returns the measures that answer a run's missing questions, cheapest first."""
    found = {
        measured_by(*row.key) for row in rows if run.name not in row.cells and not _asked_for(row)
    }
    found |= {name for name, measure in measures().items() if measure.along_with in found}
    return [
        name
        for name, measure in measures().items()
        if name in found and (MODEL not in measure.needs or _rendered(run))
    ]


def _asked_for(row: Row) -> bool:
    """Returns whether a row's question needs a choice that no button can make."""
    question = find_question(*row.key)
    return question is not None and question.asked_for


def _seconds(run: Run, what: Sequence[str], labels: Sequence[str]) -> float | None:
    """Estimates the seconds of some measures at the chosen size, or None if unknown.

    Measures report themselves if they are impossible, for example because a label has too few
    values.
    """
    known = named_labels(run)
    chosen = tuple(label for label in labels if label in known)
    suite = Suite(run, chosen, not_needed, chosen_options(run, what))
    with suppress(HcacheError):
        return suite.seconds(what, step_seconds_of(run))
    return None


def _rendered(run: Run) -> bool:
    """Returns whether edits of a run can be rendered and read."""
    try:
        check_full(run)
        return bool(readers_of(run))
    except HcacheError:
        return False


def measure_all_panel(runs: Sequence[Run], labels: Sequence[str], rows: Sequence[Row]) -> None:
    """Draws one button for all missing answers of a run.

    It shows the time and the questions, for the first run with missing answers.
    """
    total, there = len(rows) * len(runs), sum(len(row.cells) for row in rows)
    for run in runs:
        missing = _missing(run, rows)
        at_work = any(task.live for task in tasks.list_tasks(run.folder, MEASURE))
        if not missing or at_work or not labels:
            continue
        seconds = _seconds(run, missing, labels)
        left, right = st.columns([2, 5], vertical_alignment="center")
        of_run = f" of {literal(run.name)}" if len(runs) > 1 else ""
        if left.button(
            f"Measure all{of_run}, {about(seconds)}",
            key="measure-all",
            type="primary",
            width="stretch",
            help=_HOW_LONG,
        ):
            start(run.folder, measuring(run, labels, missing))
        answers = ", ".join(find_measure(name).title for name in missing)
        right.caption(
            f"{there} of {total} answers are measured so far. This measures {answers}. It runs in"
            " the background, and finished results are kept."
        )
        return
    if there < total:
        st.caption(f"{there} of {total} answers are measured so far.")


WIDTH = "verdict-width"


def wanted_width() -> float | None:
    """Returns the width of intervals that the user chose.

    It is None if none was chosen.
    """
    with suppress(ValueError):
        chosen = float(str(state.recall(WIDTH, "0")))
        return chosen if chosen > 0 else None
    return None


def _plan(run: Run, what: Sequence[str], rows: Sequence[Row]) -> None:
    """Shows how many samples the chosen measures need for a width, by the existing pilot."""
    width = state.number("Width of the 95 % intervals that you need (0: any)", WIDTH, 0.0, FAR, 0.0)
    if not width > 0:
        return
    known = {
        row_title(row): needed
        for row in rows
        if measured_by(*row.key) in what
        and run.name in row.cells
        and (needed := samples_for_width(row.cells[run.name], width)) is not None
    }
    if not known:
        st.caption(
            "There are no results to plan with yet. First measure at size quick, as a pilot."
        )
        return
    said = "; ".join(f"{title}: about {needed}" for title, needed in known.items())
    st.caption(
        f"Samples needed for an interval of width {width:g}, estimated from the results so far (the"
        f" pilot): {literal(said)}. For probes, alignment and codes these are samples of the run;"
        " for"
        " directions and swaps, samples that edits are tried on (`--samples`)."
    )


def measure_panel(runs: Sequence[Run], labels: Sequence[str], rows: Sequence[Row]) -> None:
    """Draws the choice of measures, run and size.

    It shows them as a task and as a command.
    """
    with st.expander("Measure", icon=":material/play_circle:"):
        names = [run.name for run in runs]
        run = (
            runs[names.index(state.select("Run", "verdict-run", names))]
            if len(runs) > 1
            else runs[0]
        )
        what = state.many(
            "What",
            "verdict-what",
            list(measures()),
            list(measures()),
            format_func=lambda name: f"{name}: {find_measure(name).title}",
        )
        state.select("Size", "verdict-size", list(SIZES), default=USUAL, format_func=_size_words)
        _fields([each for each in parameters_of(what).values() if not each.sizes])
        _plan(run, what, rows)
        reader = choose_reader(run) if len(readers_of(run)) > 1 else ""
        needing = [name for name in what if MODEL in find_measure(name).needs]
        st.caption(
            (
                f"{literal(', '.join(needing))} render pictures, which takes minutes. "
                if needing
                else "Needs no model. "
            )
            + "It continues when this page is closed. Existing results are not measured again."
        )
        work = measuring(run, labels, what, reader)
        blind = not labels and all(LABELS in find_measure(name).needs for name in what)
        if st.button("Measure", key="measure", type="primary", disabled=not what or blind):
            start(run.folder, work)
        st.code(
            "python -m hcache " + shlex.join(work.arguments()), language="bash", wrap_lines=True
        )


def _key(parameter: Parameter) -> str:
    return f"verdict-{parameter.name}"


def chosen_options(run: Run, what: Sequence[str]) -> dict[str, Any]:
    """Returns the chosen values of the parameters of some measures."""
    size = str(state.recall("verdict-size", USUAL))
    found = {}
    for name, parameter in parameters_of(what).items():
        found[name] = parameter.at_size(size, len(run))
        if not parameter.sizes:
            with suppress(HcacheError):  # a link may contain an invalid value
                found[name] = parameter.parse(str(state.recall(_key(parameter), found[name])))
    return found


def measuring(run: Run, labels: Sequence[str], what: Sequence[str], reader: str = "") -> Measuring:
    """Returns the task for some measures.

    It uses the labels that the run has, and one of its readers or the first.
    """
    known, chosen = named_labels(run), chosen_options(run, what)
    size = {each.name: each.at_size(USUAL, len(run)) for each in (SAMPLES, NULLS)}
    defaults = {name: each.default for name, each in registry().parameters().items()}
    return Measuring(
        run=run.name,
        what=tuple(what),
        labels=tuple(label for label in labels if label in known),
        samples=chosen.pop("samples", size["samples"]),
        nulls=chosen.pop("nulls", size["nulls"]),
        reader=reader,
        options={name: value for name, value in chosen.items() if value != defaults[name]},
    )


def beside(run: Run, other: str) -> Measuring:
    """Returns the task for CKA of a run with another."""
    usual = {each.name: each.at_size(USUAL, len(run)) for each in (SAMPLES, NULLS)}
    options = {BESIDE.name: other}
    return Measuring(run=run.name, what=("cka",), labels=(), options=options, **usual)


def _size_words(size: str) -> str:
    known = [each for each in registry().parameters().values() if each.sizes]
    amounts = (f"{each.sizes.get(size, each.default)} {each.name}" for each in known)
    return f"{size}: {', '.join(amounts)}".replace("_", " ")
