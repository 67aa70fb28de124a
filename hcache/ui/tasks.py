"""Background tasks on a page: a button that starts one, and a list of them that is there again
after a reload.
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
"""Tasks that have ended and are still listed; their files stay until dismissed."""


def start_button(label: str, run: Run, work: Work, **options: Any) -> None:
    """A button that starts a background task.

    It cannot be pressed while that is at work.

    Args:
        label: On the button.
        run: What the task is about.
        work: What is to be done.
        options: Of ``st.button``.
    """
    task = tasks.read_task(run.folder, tasks.task_id(work))
    busy = bool(options.pop("disabled", False)) or bool(task and task.live)
    if st.button(label, key=f"start-{work.kind}", type="primary", disabled=busy, **options):
        start(run.folder, work)


def start(folder: Path, work: Work) -> None:
    """Starts a task and draws the page anew.

    Or says why it cannot be started.
    """
    try:
        tasks.start(folder, work)
    except (HcacheError, OSError) as error:
        st.error(f"{literal(work.title)} could not be started: {literal(told_of(error))}")
    else:
        st.rerun(scope="app")


def task_list(run: Run, kind: str) -> None:
    """The run's tasks of a kind.

    Those at work with a bar and a Cancel, those that ended with what they came to.

    Drawn every second while one is at work, and the whole page once when one has ended. Nothing if
    there are none.
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
    """The button that does it again, of a task that says what it is."""
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
