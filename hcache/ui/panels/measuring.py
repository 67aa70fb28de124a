"""What of a verdict is measured: by itself where that is cheap, by one button for all, or part
by part.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress

import streamlit as st

from ...background import tasks
from ...background.kinds import MEASURE, Measuring
from ...background.processes import DONE
from ...cache.labels import named_labels
from ...cache.reading import Run
from ...directions.direction import check_full
from ...errors import AnalysisError, HcacheError
from ...measures.cells import IN_X
from ...measures.costs import about, suite_seconds
from ...measures.decodability import ProbeOptions
from ...measures.suite import (
    ADDITIVITY,
    ALIGNMENT,
    CODES,
    DECODABILITY,
    DIRECTIONS,
    NEED_MODEL,
    SWAPS,
    WHAT,
    WINDOWS,
    Sizes,
)
from ...measures.verdict import Row, measured_by
from ...readers.reading import readers_of
from .. import state
from ..pace import starts_itself, step_seconds_of
from ..reader_choice import choose_reader
from ..tasks import start
from ..text import literal

BEGUN = "measured by itself"
"""In the session: what was started without being asked for."""

ANSWERS = {
    DECODABILITY: "what a linear probe reads from h and from x_t",
    ALIGNMENT: "how well the positives of a label agree in h",
    CODES: "how disentangled the components of h are",
    DIRECTIONS: "how far and how linearly each direction moves its label, and what else it moves",
    WINDOWS: "at which noise levels a direction acts",
    ADDITIVITY: "whether two directions add up",
    SWAPS: "what h and each skip group carry",
}
_HOW_LONG = (
    "The time is estimated from the number of samples and steps, and from the time of one step in"
    " the last extraction of this model here. Under Measure you can choose parts and a smaller or"
    " larger size."
)

USUAL = "usual"
SIZES = {"quick": (8, 4), USUAL: (16, 19), "thorough": (64, 39)}
"""Samples that edits are tried on, and random directions beside each."""


def start_cheap(runs: Sequence[Run], labels: Sequence[str], rows: Sequence[Row]) -> None:
    """Starts probes of what was not probed yet, if they are cheap: once in a session, and not
    beside a task of the run that is at work, or that was cancelled or failed."""
    begun = st.session_state.setdefault(BEGUN, set())
    unread = {
        run.name: {
            row.subject for row in rows if row.question == IN_X and run.name not in row.cells
        }
        for run in runs
    }
    for run in runs:
        known = _probed(run, labels)
        question = (run.name, len(run), tuple(known))
        if question in begun or not unread[run.name] & set(known):
            continue
        if any(task.state != DONE for task in tasks.list_tasks(run.folder, MEASURE)):
            continue
        if starts_itself(run, suite_seconds(run, [DECODABILITY], known, Sizes(), None)):
            begun.add(question)
            start(run.folder, measuring(run, known, [DECODABILITY], chosen_size()))


def _probed(run: Run, labels: Sequence[str]) -> list[str]:
    """The labels that probes are defined on."""
    known, found = named_labels(run), []
    for label in labels:
        with suppress(AnalysisError):
            if label in known:
                ProbeOptions().check(label, known[label])
                found.append(label)
    return found


def _missing(run: Run, rows: Sequence[Row]) -> list[str]:
    """The parts of the suite that would answer what is not answered for a run, cheapest first."""
    found = {measured_by(row.question, row.subject) for row in rows if run.name not in row.cells}
    found |= {WINDOWS} if DIRECTIONS in found else set()
    return [name for name in WHAT if name in found and (name not in NEED_MODEL or _rendered(run))]


def _rendered(run: Run) -> bool:
    """Whether edits of a run can be rendered and read."""
    try:
        check_full(run)
        return bool(readers_of(run))
    except HcacheError:
        return False


def measure_all_panel(runs: Sequence[Run], labels: Sequence[str], rows: Sequence[Row]) -> None:
    """One button for all that a run lacks, with how long it takes and what it answers; the first
    run that lacks any.
    """
    total, there = len(rows) * len(runs), sum(len(row.cells) for row in rows)
    for run in runs:
        missing = _missing(run, rows)
        at_work = any(task.live for task in tasks.list_tasks(run.folder, MEASURE))
        if not missing or at_work or not labels:
            continue
        size = chosen_size()
        seconds = suite_seconds(
            run,
            missing,
            labels,
            Sizes(samples=_tried(run, size), nulls=size[1]),
            step_seconds_of(run),
        )
        left, right = st.columns([2, 5], vertical_alignment="center")
        of_run = f" of {literal(run.name)}" if len(runs) > 1 else ""
        if left.button(
            f"Measure all{of_run}, {about(seconds)}",
            key="measure-all",
            type="primary",
            width="stretch",
            help=_HOW_LONG,
        ):
            start(run.folder, measuring(run, labels, missing, size))
        answers = ", ".join(ANSWERS[name] for name in missing)
        right.caption(
            f"{there} of {total} answers are measured so far. This measures {answers}. It runs in"
            " the background, and what is done is kept."
        )
        return
    if there < total:
        st.caption(f"{there} of {total} answers are measured so far.")


def measure_panel(runs: Sequence[Run], labels: Sequence[str]) -> None:
    """What to measure, of which run, at which size; as a task, and as a command."""
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
            list(WHAT),
            list(WHAT),
            format_func=lambda name: f"{name}: {WHAT[name]}",
        )
        size = SIZES[
            state.select(
                "Size", "verdict-size", list(SIZES), default=USUAL, format_func=_size_words
            )
        ]
        reader = choose_reader(run) if len(readers_of(run)) > 1 else ""
        needing = [part for part in what if part in NEED_MODEL]
        st.caption(
            (
                f"{', '.join(needing)} render pictures, which takes minutes. "
                if needing
                else "Needs no model. "
            )
            + "It continues when this page is closed. What is measured already is not measured"
            " again."
        )
        work = measuring(run, labels, what, size, reader)
        if st.button("Measure", key="measure", type="primary", disabled=not (what and labels)):
            start(run.folder, work)
        st.code(
            "python -m hcache " + shlex.join(work.arguments()), language="bash", wrap_lines=True
        )


def chosen_size() -> tuple[int, int]:
    return SIZES.get(str(state.recall("verdict-size", USUAL)), SIZES[USUAL])


def measuring(
    run: Run, labels: Sequence[str], what: Sequence[str], size: tuple[int, int], reader: str = ""
) -> Measuring:
    """The measures to be taken, of those labels that the run has, by one of its readers or the
    first.
    """
    known = named_labels(run)
    return Measuring(
        run=run.name,
        what=tuple(what),
        labels=tuple(label for label in labels if label in known),
        samples=_tried(run, size),
        nulls=size[1],
        reader=reader,
    )


def _tried(run: Run, size: tuple[int, int]) -> int:
    """How many samples edits are tried on: half of the run at most."""
    return min(size[0], len(run) // 2)


def _size_words(name: str) -> str:
    samples, nulls = SIZES[name]
    return f"{name}: {samples} samples, {nulls} random directions"
