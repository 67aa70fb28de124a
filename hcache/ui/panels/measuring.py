"""What of a verdict is measured: by itself where that is cheap, by one button for all, or part by part."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress

import streamlit as st

from ... import tasks
from ...cache.labels import named_labels
from ...cache.reading import Run
from ...cards import find_card
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
from ...processes import DONE
from .. import state
from ..pace import starts_itself, step_seconds_of
from ..tasks import start

KIND = "measure"
"""Of background tasks."""

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
    "The time is estimated from the number of samples and steps, and from the time of one step in the last extraction "
    "of this model here. Under Measure you can choose parts and a smaller or larger size."
)

USUAL = "usual"
SIZES = {"quick": (8, 4), USUAL: (16, 8), "thorough": (64, 16)}
"""Samples that edits are tried on, and random directions beside each."""


def start_cheap(runs: Sequence[Run], labels: Sequence[str], rows: Sequence[Row]) -> None:
    """Starts probes of what was not probed yet, if they are cheap: once in a session, and not beside a task of the run
    that is at work, or that was cancelled or failed."""
    begun = st.session_state.setdefault(BEGUN, set())
    unread = {run.name: {row.subject for row in rows if row.question == IN_X and run.name not in row.cells}
              for run in runs}  # fmt: skip
    for run in runs:
        known = _probed(run, labels)
        question = (run.name, len(run), tuple(known))
        if question in begun or not unread[run.name] & set(known):
            continue
        if any(task.state != DONE for task in tasks.list_tasks(run.folder, KIND)):
            continue
        if starts_itself(run, suite_seconds(run, [DECODABILITY], known, Sizes(), None)):
            begun.add(question)
            arguments = measure_arguments(run, known, [DECODABILITY], chosen_size())
            start(run.folder, KIND, f"{DECODABILITY} of {run.name}", arguments)


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
        return bool(find_card(run.spec.model).reader)
    except HcacheError:
        return False


def measure_all_panel(runs: Sequence[Run], labels: Sequence[str], rows: Sequence[Row]) -> None:
    """One button for all that a run lacks, with how long it takes and what it answers; the first run that lacks any."""
    total, there = len(rows) * len(runs), sum(len(row.cells) for row in rows)
    for run in runs:
        missing = _missing(run, rows)
        at_work = any(task.live for task in tasks.list_tasks(run.folder, KIND))
        if not missing or at_work or not labels:
            continue
        size = chosen_size()
        seconds = suite_seconds(run, missing, labels, Sizes(samples=_tried(run, size), nulls=size[1]),
                                step_seconds_of(run))  # fmt: skip
        left, right = st.columns([2, 5], vertical_alignment="center")
        of_run = f" of {run.name}" if len(runs) > 1 else ""
        if left.button(f"Measure all{of_run}, {about(seconds)}", key="measure-all", type="primary", width="stretch",
                       help=_HOW_LONG):  # fmt: skip
            start(run.folder, KIND, f"all of {run.name}", measure_arguments(run, labels, missing, size))
        answers = ", ".join(ANSWERS[name] for name in missing)
        right.caption(f"{there} of {total} answers are measured so far. This measures {answers}. It runs in the "
                      "background, and what is done is kept.")  # fmt: skip
        return
    if there < total:
        st.caption(f"{there} of {total} answers are measured so far.")


def measure_panel(runs: Sequence[Run], labels: Sequence[str]) -> None:
    """What to measure, of which run, at which size; as a task, and as a command."""
    with st.expander("Measure", icon=":material/play_circle:"):
        names = [run.name for run in runs]
        run = runs[names.index(state.select("Run", "verdict-run", names))] if len(runs) > 1 else runs[0]
        what = state.many(
            "What", "verdict-what", list(WHAT), list(WHAT), format_func=lambda name: f"{name}: {WHAT[name]}"
        )
        size = SIZES[state.select("Size", "verdict-size", list(SIZES), default=USUAL, format_func=_size_words)]
        needing = [part for part in what if part in NEED_MODEL]
        st.caption(
            (f"{', '.join(needing)} render pictures, which takes minutes. " if needing else "Needs no model. ")
            + "It continues when this page is closed. What is measured already is not measured again."
        )
        arguments = measure_arguments(run, labels, what, size)
        if st.button("Measure", key="measure", type="primary", disabled=not (what and labels)):
            start(run.folder, KIND, f"{', '.join(what)} of {run.name}", arguments)
        st.code("python -m hcache " + shlex.join(arguments), language="bash", wrap_lines=True)


def chosen_size() -> tuple[int, int]:
    return SIZES.get(str(state.recall("verdict-size", USUAL)), SIZES[USUAL])


def measure_arguments(run: Run, labels: Sequence[str], what: Sequence[str], size: tuple[int, int]) -> list[str]:
    """What to type after ``python -m hcache``, without the home."""
    found = ["measure", run.name]
    for part in what:
        found += ["--what", part]
    known = named_labels(run)
    for label in labels:
        found += ["--label", label] if label in known else []
    return [*found, "--samples", str(_tried(run, size)), "--nulls", str(size[1])]


def _tried(run: Run, size: tuple[int, int]) -> int:
    """How many samples edits are tried on: half of the run at most."""
    return min(size[0], len(run) // 2)


def _size_words(name: str) -> str:
    samples, nulls = SIZES[name]
    return f"{name}: {samples} samples, {nulls} random directions"
