"""What every page shares: navigation, the choice of the run, the jobs at work, and the one place for errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import streamlit as st

from .. import jobs
from ..cache.layout import run_folder, run_names, writable_home
from ..cache.plan import format_bytes
from ..cache.reading import Run
from ..cards import default_spec
from ..errors import HcacheError, RunBusyError
from . import loaders, state

PENDING = "pending run"
"""In the session: a run that was started here and is to be shown once there is anything of it."""

DEMO_MODEL = "toyfaces-ddpm-64"

PAGES = (
    ("dashboard.py", "Overview", ":material/schema:"),
    ("pages/extract.py", "Extract", ":material/download:"),
    ("pages/gallery.py", "Gallery", ":material/grid_view:"),
    ("pages/pca.py", "PCA", ":material/scatter_plot:"),
    ("pages/probes.py", "Probes", ":material/query_stats:"),
    ("pages/swap.py", "Swap", ":material/swap_horiz:"),
    ("pages/edit.py", "Edit", ":material/tune:"),
    ("pages/verdict.py", "Verdict", ":material/fact_check:"),
    ("pages/compare.py", "Compare", ":material/compare:"),
)


def start_page(title: str) -> Path:
    """Sets up a page up to its title and the sidebar's navigation; returns the home, started with a demo if empty."""
    loaders.freeze_modules()
    st.set_page_config(page_title=f"{title} · hcache", page_icon=":material/schema:", layout="wide")
    st.html(_STYLE)
    with st.sidebar:
        st.markdown("### hcache")
        st.caption("h-space and skips of diffusion U-Nets")
        for path, label, icon in PAGES:
            st.page_link(path, label=label, icon=icon)
    st.title(title)
    try:
        home = writable_home()
    except HcacheError as error:
        st.error(str(error))
        st.stop()
    if loaders.home_is_empty(home):
        _start_demo(home)
    return home


@contextmanager
def run_page(title: str, needs: int = 1) -> Iterator[Run]:
    """A page about one run with ``needs`` samples or more; says so and stops where there are not that many yet.

    Errors that hcache raises on purpose are shown as they are, in one line.
    """
    home, found = start_page(title), []
    with errors_shown():
        run = pick_run(home)
        if run is None or len(run) < needs:
            wait_for(run, needs)
        found.append(run)
    if not found:
        st.stop()  # the error stands there; another run can be chosen
    with errors_shown():
        yield found[0]


@contextmanager
def errors_shown() -> Iterator[None]:
    try:
        yield
    except HcacheError as error:
        st.error(str(error), icon=":material/error:")


def pick_run(home: Path) -> Run | None:
    """The sidebar's choice of a run, with the jobs under it; None as long as there is none."""
    names = run_names(home)
    if st.session_state.get(PENDING) in names:
        state.choose("run", st.session_state.pop(PENDING))
    wanted = state.recall("run", "")
    if wanted and wanted not in names and names:
        st.warning(f"There is no run {wanted!r} here (any more). Showing {names[0]}.")
    run = None
    with st.sidebar:
        if names:
            name = state.select("Run", "run", names, default=_first_readable(home, names))
            run = loaders.shared_run(run_folder(home, name))
            st.caption(f"{len(run)} of {run.spec.samples} samples · {run.spec.steps} steps · {format_bytes(run.bytes)}")
        job_monitor(home, len(run) if run else 0, run.name if run else "")
    return run


def _first_readable(home: Path, names: list[str]) -> str:
    """The newest run that can be read; the newest, if none can."""
    for name in names:
        try:
            loaders.shared_run(run_folder(home, name))
        except HcacheError:
            continue
        return name
    return names[0]


def job_monitor(home: Path, known: int, run_name: str) -> None:
    """The jobs at work, live; the page is drawn anew when the shown run has grown."""
    live = any(job.live for job in jobs.list_jobs(home))
    st.fragment(_show_jobs, run_every=1.0 if live else None)(home, known, run_name, live)


def _show_jobs(home: Path, known: int, run_name: str, was_live: bool) -> None:
    found = jobs.list_jobs(home)
    for job in found:
        if job.live:
            st.progress(min(1.0, job.work / max(1, job.total)), text=describe_job(job))
        elif job.state in (jobs.FAILED, jobs.DIED) and job is found[0]:
            st.error(f"{job.run}: {job.message}")
    grown = any(job.run == run_name and job.done > known for job in found)
    started = not run_name and any(job.done for job in found)
    if was_live and (grown or started or not any(job.live for job in found)):
        st.rerun(scope="app")


def describe_job(job: jobs.Job) -> str:
    """``extracting toyfaces-…: 24 of 64, 1.9 samples/s, 21 s left``."""
    if job.state == jobs.STARTING or not job.total:
        return f"{job.run}: starting"
    text = f"{job.run}: {job.done} of {job.total} samples"
    if job.remaining is not None:
        text += f", {job.rate:.2g} a second, {format_seconds(job.remaining)} left"
    return text


def format_seconds(seconds: float) -> str:
    """``95`` -> ``1 min 35 s``."""
    seconds = int(round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _start_demo(home: Path) -> None:
    try:
        spec = default_spec(DEMO_MODEL)
        jobs.start(spec, home)
    except RunBusyError:
        return  # another tab was first
    except (HcacheError, OSError) as error:
        st.error(f"The demo run could not be started: {error}")
        return
    st.session_state["demo"] = True


def wait_for(run: Run | None, needs: int) -> None:
    """What is missing before this page can show anything."""
    have = len(run) if run else 0
    if st.session_state.get("demo"):
        st.info(
            f"Welcome. This home was empty, so a demo run of {DEMO_MODEL} has been started in the background: a small "
            "diffusion model of drawn faces that ships with hcache. Pages fill as samples arrive, in a few seconds.",
            icon=":material/rocket_launch:",
        )
    elif run is None:
        st.info("There is no run yet. Start one on the Extract page.")
    else:
        st.info(f"This page needs {needs} samples; the run has {have} so far.")
    st.stop()


_STYLE = """<style>
.block-container {padding-top: 2.2rem; padding-bottom: 3rem}
h1 {font-size: 1.9rem !important; padding-bottom: .2rem !important}
</style>
"""
