"""The common parts of all pages: navigation, the choice of the run, the running jobs, and the
display of errors.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.scriptrunner_utils.exceptions import RerunException

from ..assets import read_asset
from ..background import extractions as jobs
from ..cache.layout import home_folder, run_folder, run_names, writable_home
from ..cache.plan import format_bytes
from ..cache.reading import Run
from ..cards import default_spec
from ..errors import HcacheError, HomeError, RunBusyError, told_of
from . import address, loaders, state
from .login import need_login
from .text import literal, with_commands
from .watching import job_monitor, job_panel

PENDING = "pending run"
"""In the session: a run that was started here, and is shown once it has samples."""

_GONE = "run is gone"
"""In the session: whether the page has already said so."""

MOST_OFFERED = 20
DEMO_MODEL = "toyfaces-ddpm-64"

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path d="M5 3v10a7 7 0 0 0 14 0V3"'
    ' fill="none" stroke="#0072B2" stroke-width="4"/></svg>'
)
"""The icon of the tab. Streamlit would load one of its own from another server."""

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
    ("pages/figures.py", "Figures", ":material/image:"),
    ("pages/help.py", "Help", ":material/help:"),
)


HELP, HELP_ON = "Help", "about"
"""The Help page, and the choice that names the page it was opened from."""


@contextmanager
def home_page(title: str) -> Iterator[Path]:
    """Runs a page from its navigation to its address.

    It yields the home, with a demo started if the home is empty. The links to the other pages
    contain all choices. They are drawn again at the end, after choices were made.
    """
    st.set_page_config(page_title=f"{title} · hcache", page_icon=ICON, layout="wide")
    need_login()
    address.read(title)
    st.html(STYLE)
    with st.sidebar:
        st.markdown("### hcache")
        st.caption("h-space and skips of diffusion U-Nets")
        links = [st.empty() for _ in PAGES]
    drawn = _draw_links(links, None, title)
    st.title(title)
    try:
        home = writable_home()
        is_empty = loaders.home_is_empty(home)
    except HcacheError as error:
        st.error(literal(error))
        st.stop()
    if is_empty:
        _start_demo(home)
    try:
        yield home
    finally:
        if not isinstance(sys.exception(), RerunException):
            _draw_links(links, drawn, title)
            address.end()


def _draw_links(
    places: Sequence[DeltaGenerator], drawn: dict[str, str] | None, title: str
) -> dict[str, str]:
    """Draws the links to all pages with the present choices, unless they are already drawn.

    The link to Help names the page that it is on.
    """
    now = address.current()
    if now != drawn:
        for place, (path, label, icon) in zip(places, PAGES, strict=True):
            about = {HELP_ON: title} if label == HELP != title else {}
            place.page_link(path, label=label, icon=icon, query_params=now | about)
    return now


@contextmanager
def run_page(title: str, needs: int = 1) -> Iterator[Run]:
    """Runs a page about one run with ``needs`` samples or more.

    If there are too few samples, it says so and stops. Errors of hcache are shown unchanged, in one
    line.
    """
    with home_page(title) as home:
        found: Run | None = None
        with errors_shown():
            run = pick_run(home, needed=True)
            if run is None or len(run) < needs:
                wait_for(home, run, needs)
            found = run
        if found is None:
            st.stop()  # the error is shown; another run can be chosen
        with errors_shown():
            yield found


@contextmanager
def errors_shown() -> Iterator[None]:
    """Shows the error of a part of a page. The rest of that part is skipped.

    The error is one of hcache, or of the system for a file. If the run itself was removed
    meanwhile, the page says that instead.
    """
    try:
        yield
    except (HcacheError, OSError) as error:
        wanted = state.recall(address.RUN, "")
        with suppress(HomeError):  # the error then says so
            if (
                wanted
                and wanted not in run_names(home_folder())
                and not st.session_state.get(_GONE)
            ):
                st.session_state[_GONE] = True
                st.rerun()  # of the whole page, even if only a fragment was drawn again
        st.error(with_commands(told_of(error)), icon=":material/error:")


def pick_run(home: Path, needed: bool = False) -> Run | None:
    """Draws the sidebar's choice of a run, with the jobs below it.

    It returns None while there is no run. If the chosen run does not exist, the page offers the
    others, and a page about a run stops.
    """
    names = run_names(home)
    if st.session_state.get(PENDING) in names:
        state.choose(address.RUN, st.session_state.pop(PENDING))
    begun = [job.run for job in jobs.list_jobs(home) if job.live]
    if not names and begun and not state.recall(address.RUN, ""):
        state.choose(
            address.RUN, begun[0]
        )  # the address contains it from the start, and need not change later
    wanted = state.recall(address.RUN, "")
    gone = bool(wanted) and wanted not in names and wanted not in begun
    st.session_state[_GONE] = gone
    run = None
    with st.sidebar:
        if names and not gone and wanted not in set(begun) - set(names):
            name = state.select(
                "Run", address.RUN, names, default=_first_readable(home, names), help=RUN_HELP
            )
            run = loaders.shared_run(run_folder(home, name))
            st.caption(
                f"{len(run)} of {run.spec.samples} samples · {run.spec.steps} steps ·"
                f" {format_bytes(run.bytes)}"
            )
        job_monitor(home, len(run) if run else 0, run.name if run else "")
    if gone:
        _offer_others(wanted, names)
        if needed:
            welcome(home, None)
            st.stop()
    return run


def _offer_others(wanted: str, names: list[str]) -> None:
    """Says that a run does not exist, and lists the existing ones."""
    st.warning(
        f"There is no run {literal(repr(wanted))} in this home.", icon=":material/folder_off:"
    )
    if names:
        st.markdown("These are its runs:")
        for name in names[:MOST_OFFERED]:
            if st.button(
                literal(name), key=f"instead-{name}", icon=":material/folder_open:", type="tertiary"
            ):
                state.choose(address.RUN, name)
                st.rerun()
    elif st.button("Continue without a run", key="instead-none"):
        state.choose(address.RUN, "")
        st.rerun()


def _first_readable(home: Path, names: list[str]) -> str:
    """Returns the newest readable run, or the newest if none is readable."""
    for name in names:
        try:
            loaders.shared_run(run_folder(home, name))
        except HcacheError:
            continue
        return name
    return names[0]


def _start_demo(home: Path) -> None:
    try:
        spec = default_spec(DEMO_MODEL)
        jobs.start(spec, home)
    except RunBusyError:
        return  # another tab was first
    except (HcacheError, OSError) as error:
        st.error(f"The demo run could not be started: {literal(told_of(error))}")
        return
    st.session_state["demo"] = True


def welcome(home: Path, run: Run | None) -> None:
    """Explains what happens in a home that was empty.

    It is shown with the progress as long as the demo is extracted.
    """
    live = [job for job in jobs.list_jobs(home) if job.live]
    if not st.session_state.get("demo") or not (live or run is None):
        return
    spec = default_spec(DEMO_MODEL)
    st.info(
        "Welcome. This home was empty, so a demo run was started in the background."
        f" {DEMO_MODEL}, a small diffusion model that ships with hcache, draws {spec.samples} faces"
        f" in {spec.steps} steps each. Its h and skips are written to disk at every step. The pages"
        " fill as samples arrive, and you can use them already.",
        icon=":material/rocket_launch:",
    )
    if live:
        job_panel(home, live[0].run)


def wait_for(home: Path, run: Run | None, needs: int) -> NoReturn:
    """Says what this page still needs, and stops the page."""
    have = len(run) if run else 0
    live = [job for job in jobs.list_jobs(home) if job.live]
    if st.session_state.get("demo") and (live or run is None):
        welcome(home, run)
    elif run is None and not live:
        st.info("There is no run yet. Start one on the Extract page.")
    else:
        st.info(
            f"This page needs {needs} sample{'s' if needs > 1 else ''}; the run has {have} so far."
        )
        for job in live[:1]:
            job_panel(home, job.run)
    st.stop()


def beside() -> tuple[DeltaGenerator, DeltaGenerator]:
    """Returns two places side by side.

    Controls are in a third of the page. Their result beside them stays in view.
    """
    controls, result = st.columns([5, 9], gap="medium")
    return controls, result.container(key="result")


RUN_HELP = (
    "A run is one extraction: a model, its samples and steps, and the stored sites. All"
    " pages show the same run."
)

STYLE = f"<style>{read_asset(__file__, 'frame.css')}</style>"
