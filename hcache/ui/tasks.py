"""Background tasks on a page: a button that starts one, and a list of tasks that survives a
reload.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from ..background import tasks
from ..background.kinds import Work
from ..background.processes import CANCELLED, DONE, UNKNOWN
from ..background.tasks import Task
from ..cache.reading import Run
from ..errors import HcacheError, told_of
from .consent import agreed
from .frame import errors_shown
from .text import literal
from .watching import format_seconds

MOST_ENDED = 4
"""The number of ended tasks in the list. Their files stay until they are dismissed."""


def start_button(label: str, run: Run, work: Work, **options: Any) -> None:
    """Draws a button that starts a background task.

    It is disabled while the task runs.

    Args:
        label: The label of the button.
        run: The run of the task.
        work: The task.
        options: Options of ``st.button``.
    """
    task = tasks.read_task(run.folder, tasks.task_id(work))
    busy = bool(options.pop("disabled", False)) or bool(task and task.live)
    if st.button(label, key=f"start-{work.kind}", type="primary", disabled=busy, **options):
        start(run.folder, work)


def start(folder: Path, work: Work) -> None:
    """Starts a task and redraws the page.

    If it cannot start, the reason is shown.
    """
    try:
        tasks.start(folder, work)
    except (HcacheError, OSError) as error:
        st.error(f"{literal(work.title)} could not be started: {literal(told_of(error))}")
    else:
        st.rerun(scope="app")


def task_list(run: Run, kind: str) -> None:
    """Draws the run's tasks of a kind.

    Running tasks have a progress bar and a Cancel button, and ended ones their result. The list is
    redrawn every second while a task runs, and the whole page once when one has ended. It is empty
    without tasks.
    """
    found = tasks.list_tasks(run.folder, kind)
    if not found:
        return
    live = frozenset(task.id for task in found if task.live)
    with st.container(border=True, key=f"tasks-{kind}-{run.name}"):
        st.fragment(_rows, run_every=1.0 if live else None)(run.folder, kind, live)


def in_words(task: Task) -> str:
    """``smile by vae: vae, 40 %, 21 s left``."""
    if task.share <= 0:
        return f"{task.title}: starting" if not task.stage else f"{task.title}: {task.stage}"
    text = f"{task.title}: {task.stage}, {task.share:.0%}"
    return text if task.remaining is None else f"{text}, {format_seconds(task.remaining)} left"


def _rows(folder: Path, kind: str, were_live: frozenset[str]) -> None:
    found = tasks.list_tasks(folder, kind)
    if were_live - {task.id for task in found if task.live}:
        st.rerun(scope="app")
    for task in [task for task in found if task.live]:
        _row_at_work(folder, task)
    for task in [task for task in found if not task.live][:MOST_ENDED]:
        _row_ended(folder, task)


def _row_at_work(folder: Path, task: Task) -> None:
    bar, button = st.columns([6, 1], vertical_alignment="center")
    bar.progress(min(1.0, max(0.0, task.share)), text=literal(in_words(task)))
    if button.button("Cancel", key=f"cancel-{task.id}", width="stretch"):
        with errors_shown():  # it may have ended meanwhile
            tasks.cancel(folder, task.id)


def _row_ended(folder: Path, task: Task) -> None:
    text, again, dismiss = st.columns([5, 1, 1], vertical_alignment="center")
    title, took = literal(task.title), format_seconds(max(0.0, task.updated - task.begun))
    if task.state == DONE:
        text.markdown(f":material/check: {title}: done in {took}")
    elif task.state == CANCELLED:
        text.markdown(f":material/block: {title}: cancelled after {took}")
    elif task.state == UNKNOWN:
        text.warning(f"{title}: {literal(task.message)}", icon=":material/help:")
    else:
        text.error(f"{title}: {literal(task.message)}", icon=":material/error:")
    if task.state not in (DONE, UNKNOWN):
        _again(folder, task, again)
    if dismiss.button(
        "Dismiss", key=f"dismiss-{task.id}", width="stretch", help="Removes it from this list."
    ):
        with errors_shown():
            tasks.forget(folder, task.id)
        st.rerun(scope="app")
    if task.state not in (DONE, CANCELLED) and (log := tasks.log_of(folder, task.id)):
        with st.expander("Log"):
            st.code(log, language=None)


def _again(folder: Path, task: Task, column: st.delta_generator.DeltaGenerator) -> None:
    """Draws the button that repeats a task, if the task describes itself."""
    place = st.container()
    with column:
        if not task.order:
            st.button(
                "Try again",
                key=f"again-{task.id}",
                width="stretch",
                disabled=True,
                help=(
                    "An earlier version of hcache wrote it. Start it again from the form on this"
                    " page."
                ),
            )
            return
        with errors_shown():
            if agreed(
                "Try again", f"again-{task.id}", task.ours, task.to_do, place, width="stretch"
            ):
                start(folder, task.to_do())
