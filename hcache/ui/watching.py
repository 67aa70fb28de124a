"""Shows extractions: progress, rate, remaining time, Cancel, the log, and what to do after a
failure.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from ..background import extractions as jobs
from ..background.kinds import Extraction
from ..background.processes import log_text
from ..cache.layout import JOB_LOG, run_folder
from ..cache.reading import open_run
from ..errors import HcacheError, told_of
from ..extraction.in_work import read_in_work
from ..specs import RunSpec
from .consent import agreed
from .text import literal

IN_WORK_WIDTH = 96
"""The width of a current sample, in pixels."""

_REDRAWN = "jobs-redrawn"


def job_monitor(home: Path, known: int, run_name: str) -> None:
    """Shows running jobs in short form. Redraws the page when the run of the page has grown."""
    st.fragment(_show_jobs, run_every=_pulse(home))(home, known, run_name, _pulse(home) is not None)


def job_panel(home: Path, run_name: str = "") -> None:
    """Shows jobs with their logs and buttons.

    The jobs are those of one run, or of all runs.
    """
    st.fragment(_show_panel, run_every=_pulse(home))(home, run_name)


def describe_job(job: jobs.Job) -> str:
    """Says ``toyfaces-…: 24 of 64 samples, 1.9 samples/s, 21 s left``."""
    if job.state == jobs.STARTING or not job.total:
        return f"{job.run}: starting, loading the model"
    text = f"{job.run}: {job.done} of {job.total} samples"
    if job.remaining is not None:
        text += f", {job.rate:.2g} samples/s, {format_seconds(job.remaining)} left"
    return text


def format_seconds(seconds: float) -> str:
    """Formats a duration: ``95`` -> ``1 min 35 s``."""
    seconds = int(round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _pulse(home: Path) -> float | None:
    """Seconds between two updates; None while no job is running."""
    return 1.0 if any(job.live for job in jobs.list_jobs(home)) else None


def _bar(job: jobs.Job) -> float:
    return min(1.0, job.work / max(1, job.total))


def _show_jobs(home: Path, known: int, run_name: str, was_live: bool) -> None:
    found = jobs.list_jobs(home)
    for job in found:
        if job.live:
            st.progress(_bar(job), text=literal(describe_job(job)))
        elif job.state in (jobs.FAILED, jobs.DIED) and job is found[0]:
            st.error(
                f"{literal(job.run)}: {literal(job.message)}. The Extract page has the log and a"
                " Resume button."
            )
    told = {
        job.run: job.done for job in found if job.done and (job.run == run_name or not run_name)
    }
    grown = not run_name or told.get(run_name, 0) > known
    new = bool(told) and grown and st.session_state.get(_REDRAWN) != told
    if was_live and (new or not any(job.live for job in found)):
        st.session_state[_REDRAWN] = (
            told  # once for each count: the run may never show this many samples
        )
        st.rerun(scope="app")


def _show_panel(home: Path, run_name: str) -> None:
    found = [job for job in jobs.list_jobs(home) if not run_name or job.run == run_name]
    if not found:
        st.caption("No extraction was started in this home yet.")
    for job in found:
        text, button = st.columns([6, 1], vertical_alignment="center")
        if job.live:
            text.progress(_bar(job), text=literal(describe_job(job)))
            if button.button("Cancel", key=f"cancel-{job.run}", width="stretch", help=_CANCEL):
                _try(lambda job=job: jobs.cancel(home / "runs" / job.run))
            _show_in_work(home / "runs" / job.run)
        else:
            message = f": {literal(job.message)}" if job.message else ""
            text.markdown(
                f"**{literal(job.run)}** {job.state}, {job.done} of {job.total} samples{message}"
            )
            place = st.container()
            if job.state not in (jobs.DONE, jobs.UNKNOWN):
                with button:
                    _try(lambda job=job, place=place: _resume(home, job.run, place))
        _log(home / "runs" / job.run / JOB_LOG)


def _show_in_work(folder: Path) -> None:
    """Shows the current samples at the current step."""
    if found := read_in_work(folder):
        said, picture = found
        with st.container(key=f"in-work-{folder.name}"):
            st.image(
                picture,
                caption=said.in_words(),
                alt=said.in_words(),
                width=IN_WORK_WIDTH * said.shown,
            )


def _resume(home: Path, run: str, place: st.delta_generator.DeltaGenerator) -> None:
    """Shows the button that continues the extraction of a run."""
    if resumes("Resume", f"resume-{run}", home, run, place, width="stretch", help=_RESUME):
        found = open_run(run_folder(home, run))
        jobs.start(found.spec, home, found.folder)
        st.rerun()


def resumes(
    label: str,
    key: str,
    home: Path,
    run: str,
    place: st.delta_generator.DeltaGenerator | None = None,
    **options: Any,
) -> bool:
    """Shows a button, and says whether an extraction may continue.

    It is the extraction of the run; see ``consent``.
    """

    def spec() -> RunSpec:
        return open_run(run_folder(home, run)).spec

    try:
        ours = jobs.is_from_here(home / "runs" / run, spec())
    except HcacheError:
        ours = True  # such a run cannot start: pressing the button says why
    return agreed(label, key, ours, lambda: Extraction(spec=spec()), place, **options)


_CANCEL = "Stops after the current step. Finished samples are kept."
_RESUME = "Continues where it stopped. Committed samples are not computed again."


def _try(action: Callable[[], object]) -> None:
    """Runs an action that may fail because the job has ended or was started again."""
    try:
        action()
    except (HcacheError, OSError) as error:
        st.error(literal(told_of(error)))


def _log(path: Path) -> None:
    """Shows the end of a job's log in an expander. Of a progress bar, only the last state is
    shown.
    """
    if path.is_symlink() or not path.is_file():
        return
    with st.expander("Log", icon=":material/article:"):
        st.code(log_text(path) or "The log is empty.", language=None, wrap_lines=True)
