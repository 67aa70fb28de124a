"""Background tasks on a page: a button that starts one, and a list of them that is there again after a reload."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from .. import tasks
from ..cache.reading import Run
from ..errors import HcacheError
from ..processes import CANCELLED, DONE
from ..tasks import Task
from .frame import errors_shown
from .watching import format_seconds

MOST_ENDED = 4
"""Tasks that have ended and are still listed; their files stay until dismissed."""


def start_button(label: str, run: Run, kind: str, title: str, arguments: Sequence[str], **options: Any) -> None:
    """A button that starts a command of hcache as a background task; it cannot be pressed while that is at work.

    Args:
        label: On the button.
        run: What the task is about.
        kind: Of work, as ``task_list`` lists it.
        title: What it is, as the list says it.
        arguments: What to type after ``python -m hcache``, without the home.
        options: Of ``st.button``.
    """
    task = tasks.read_task(run.folder, tasks.task_id(kind, arguments))
    busy = bool(options.pop("disabled", False)) or bool(task and task.live)
    if st.button(label, key=f"start-{kind}", type="primary", disabled=busy, **options):
        start(run.folder, kind, title, arguments)


def start(folder: Path, kind: str, title: str, arguments: Sequence[str]) -> None:
    """Starts a task and draws the page anew, or says why it cannot be started."""
    try:
        tasks.start(folder, kind, title, arguments)
    except (HcacheError, OSError) as error:
        st.error(f"{title} could not be started: {error}")
    else:
        st.rerun(scope="app")


def task_list(run: Run, kind: str) -> None:
    """The run's tasks of a kind: those at work with a bar and a Cancel, those that ended with what they came to.

    Drawn every second while one is at work, and the whole page once when one has ended. Nothing if there are none.
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
    bar.progress(min(1.0, max(0.0, task.share)), text=in_words(task))
    if button.button("Cancel", key=f"cancel-{task.id}", width="stretch"):
        with errors_shown():  # it may have ended meanwhile
            tasks.cancel(folder, task.id)


def _row_ended(folder: Path, task: Task) -> None:
    text, again, dismiss = st.columns([5, 1, 1], vertical_alignment="center")
    took = format_seconds(max(0.0, task.updated - task.begun))
    if task.state == DONE:
        text.markdown(f":material/check: {task.title}: done in {took}")
    elif task.state == CANCELLED:
        text.markdown(f":material/block: {task.title}: cancelled after {took}")
    else:
        text.error(f"{task.title}: {task.message}", icon=":material/error:")
    if task.state != DONE and again.button("Try again", key=f"again-{task.id}", width="stretch"):
        start(folder, task.kind, task.title, task.arguments)
    if dismiss.button("Dismiss", key=f"dismiss-{task.id}", width="stretch", help="Takes it off this list."):
        with errors_shown():
            tasks.forget(folder, task.id)
        st.rerun(scope="app")
    if task.state not in (DONE, CANCELLED) and (log := tasks.log_of(folder, task.id)):
        with st.expander("Log"):
            st.code(log, language=None)
