"""Extract: choose a model and what to keep of it, see what it will weigh, start it, watch it, stop it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import streamlit as st

from ... import jobs
from ...cache.plan import Plan, format_bytes, make_plan
from ...cache.reading import open_run
from ...cards import default_spec, find_card, load_cards
from ...errors import HcacheError
from ...specs import NONE, POLICIES, Anatomy, RunSpec
from .. import state
from ..frame import describe_job, format_seconds

OTHER = "another folder or hub id …"


def model_panel() -> str | None:
    """The model to extract from; None until there is one."""
    cards = load_cards()
    choice = state.select(
        "Model", "model", [*cards, OTHER], help="A model known by name, or any folder in diffusers' format."
    )
    if choice != OTHER:
        st.caption(cards[choice].summary)
        return choice
    typed = st.text_input("Folder or hub id", key="other-model", placeholder="/data/my-ddpm or owner/name").strip()
    return find_card(typed).name if typed else None


def spec_panel(model: str, anatomy: Anatomy) -> RunSpec:
    """Samples, steps, seed and what to store."""
    card = find_card(model)
    left, middle, right = st.columns(3)
    samples = left.number_input("Samples", 1, 1_000_000, card.samples, help="More samples extend a run that is there.")
    steps = middle.number_input("Steps", 1, 1000, card.steps, help="DDIM steps (Song, Meng, Ermon, 2020).")
    seed = right.number_input("First seed", 0, 2**31, 0, help="Sample i starts from the noise of seed + i.")
    st.markdown("**What to store of each site, at every step**")
    store = {}
    columns = st.columns(len(anatomy.sites))
    for column, site in zip(columns, anatomy.sites, strict=True):
        default = card.store.get(site, NONE)
        picked = column.selectbox(site, POLICIES, POLICIES.index(default), key=f"store-{model}-{site}")
        store[site] = picked
    st.caption("full: as computed. pooled: the mean over space. none: computed again from the stored x_t when needed.")
    return default_spec(model, samples=int(samples), steps=int(steps), seed=int(seed), store=store)


def plan_panel(spec: RunSpec, anatomy: Anatomy, home: Path) -> Plan:
    """Bytes by part and in total, and the same run as a command."""
    plan = make_plan(spec, anatomy)
    free = shutil.disk_usage(home).free
    seconds = _expected_seconds(spec, home)
    total, sample, disk, duration = st.columns(4)
    total.metric("Total", format_bytes(plan.total))
    sample.metric("A sample", format_bytes(plan.total / plan.samples))
    disk.metric("Free on this disk", format_bytes(free))
    known = "unknown" if seconds is None else format_seconds(seconds)
    duration.metric("Time", known, help="At the rate of the last extraction of this model in this home.")
    with st.expander("Where the bytes go"):
        names = {"x": "x_t of every step (float32)", "x_0": "predicted x_0 of every step (small, uint8)",
                 "image": "finished pictures", "overhead": "HDF5's own"}  # fmt: skip
        rows = [
            {"part": names.get(part, part), "stored": spec.store.get(part, ""), "bytes": format_bytes(size)}
            for part, size in plan.parts.items()
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True)
    st.code("python -m hcache " + " ".join(jobs.extract_arguments(spec, home)), language="bash", wrap_lines=True)
    return plan


def _expected_seconds(spec: RunSpec, home: Path) -> float | None:
    """How long it would take at the rate of the last job of this model; None if there was none."""
    for job in jobs.list_jobs(home):
        try:
            earlier = open_run(home / "runs" / job.run).spec
        except HcacheError:
            continue
        if earlier.model == spec.model and job.rate > 0:
            return spec.samples * spec.steps / (job.rate * earlier.steps)
    return None


def start_panel(spec: RunSpec, plan: Plan, home: Path) -> None:
    """The Start button, or why it cannot be pressed."""
    job = jobs.read_job(home / "runs" / spec.name)
    busy = bool(job and job.live)
    short = plan.total > shutil.disk_usage(home).free
    if st.button("Start extraction", type="primary", disabled=busy or short, key="start-extraction"):
        try:
            jobs.start(spec, home)
        except HcacheError as error:
            st.error(str(error))
        else:
            state.choose("run", spec.name)
            st.rerun()
    if short:
        st.error(f"The disk has not enough free space for {format_bytes(plan.total)}; store less or free some.")


def jobs_panel(home: Path) -> None:
    """Every job with its state; those at work live, with a Cancel."""
    live = any(job.live for job in jobs.list_jobs(home))
    st.subheader("Jobs")
    st.fragment(_jobs_table, run_every=1.0 if live else None)(home)


def _jobs_table(home: Path) -> None:
    found = jobs.list_jobs(home)
    if not found:
        st.caption("Nothing has been extracted here yet.")
    for job in found:
        text, button = st.columns([6, 1], vertical_alignment="center")
        if job.live:
            text.progress(min(1.0, job.work / max(1, job.total)), text=describe_job(job))
            if button.button("Cancel", key=f"cancel-{job.run}", width="stretch"):
                jobs.cancel(home / "runs" / job.run)
        else:
            message = f": {job.message}" if job.message else ""
            text.markdown(f"`{job.run}` {job.state}{message}")
            log = home / "runs" / job.run / "job.log"
            if job.state in (jobs.FAILED, jobs.DIED) and log.is_file():
                with st.expander("Log"):
                    st.code(log.read_text(encoding="utf-8", errors="replace")[-4000:], language=None)
