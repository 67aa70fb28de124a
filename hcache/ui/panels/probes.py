"""Probes: where and when a label can be read off, how much of that is chance, and how many
labels that takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st

from ...analysis.estimate import Estimate
from ...analysis.probes import AUC, LOGISTIC, RIDGE
from ...cache.layout import X
from ...cache.reading import Run
from ...errors import AnalysisError
from ...figures.probe_charts import (
    CONTROL,
    SCORE,
    SELECTIVITY,
    learning_chart,
    probe_curves,
    probe_heatmap,
    site_name,
    step_in_words,
)
from ...measures.costs import about, probe_seconds
from ...measures.decodability import (
    ProbeMap,
    ProbeOptions,
    decodability,
    default_sites,
    stored_decodability,
)
from ...measures.duplicates import duplicates_in_words
from ...measures.groups import APART, BY_RUN, groups_of, in_words
from ...measures.learning import learning, stored_learning
from ...measures.noise import log_snr_of, middle_step
from ...specs import NONE, POOLED
from .. import address, loaders, state
from ..frame import errors_shown
from ..pace import starts_itself
from ..text import sentence
from ..work import run_button

OWN = "own"
KINDS = {OWN: "Automatic", RIDGE: "Ridge: values (R²)", LOGISTIC: "Logistic: two classes (AUC)"}
MOST_NAMED = 6
QUIET = {"displayModeBar": False}
MAP = "probe-map"

SHOWN = {
    SCORE: "Score",
    SELECTIVITY: "Selectivity: score minus shuffled labels",
    CONTROL: "Shuffled labels alone",
}


def probes_panel(run: Run) -> None:
    """What to probe, the heat map, and a cell.

    The button that starts it, and the cell that was clicked.
    """
    labels = loaders.labels_of(run)
    if not labels:
        raise AnalysisError(
            "this run has no labels to probe for: its model has no attribute reader. Click some in"
            " the Gallery, or import a CSV with `python -m hcache labels-import`"
        )
    label, sites, options = _question(run, list(labels))
    if not sites:
        st.info("Choose a site to probe.")
        return
    known = stored_decodability(run, label, sites, options)
    st.caption(_what(run, known, options))
    if known.missing:
        cells = (
            f"{known.missing} of {len(sites) * run.spec.steps}"
            if known.cells
            else str(known.missing)
        )
        seconds = _seconds(run, known)
        run_button(
            f"Probe {cells} cells, {about(seconds)}",
            "probes",
            (run.name, len(run), label, tuple(sites), options),
            lambda: decodability(run, [label], sites, None, options),
            auto=starts_itself(run, seconds),
            unit=("cells", known.missing),
        )
    if known.cells:
        _map_and_cell(run, known, options)


def _question(run: Run, labels: Sequence[str]) -> tuple[str, list[str], ProbeOptions]:
    """The label, the sites and the kind of probe."""
    one, two, three = st.columns([2, 2, 4])
    with one:
        label = state.select(
            "Label", "label", labels, format_func=lambda text: text.replace("_", " ")
        )
    with two:
        kind = state.select(
            "Probe",
            "probe",
            list(KINDS),
            format_func=KINDS.get,
            help=(
                "Automatic: ridge for a continuous label, logistic for a binary one. Logistic on a"
                " continuous label separates the samples above its median from the others."
            ),
        )
    with three:
        sites = state.many(
            "Sites",
            "probed",
            default_sites(run),
            default_sites(run),
            format_func=site_name,
            help="x_t is the noisy picture, the input of the U-Net.",
        )
    return (
        label,
        sites,
        ProbeOptions(kind=None if kind == OWN else kind, groups=_together(run, labels)),
    )


def _together(run: Run, labels: Sequence[str]) -> str:
    """Which samples belong together; asked where the run says that some do, or somebody chose
    otherwise.
    """
    found = in_words(run, groups_of(run))
    if not found:
        return BY_RUN
    words = {BY_RUN: f"from the run: {found}", APART: "none: each sample on its own"}
    return state.select(
        "Samples that belong together",
        "groups",
        [BY_RUN, APART, *labels],
        format_func=lambda name: sentence(words.get(name, f"samples with the same {name}")),
        help="Samples of one prompt, class or picture are never on both sides of a fold.",
    )


def _seconds(run: Run, known: ProbeMap) -> float:
    """What the cells that are not known will take."""
    missing = {
        site: sum((site, step) not in known.cells for step in range(known.steps))
        for site in known.sites
    }
    return probe_seconds(run, missing, [loaders.labels_of(run)[known.label]])


def _what(run: Run, known: ProbeMap, options: ProbeOptions) -> str:
    """What is measured, and what is not stored."""
    kind = "logistic" if known.metric == AUC else "ridge"
    chance = "0.5 is chance" if known.metric == AUC else "0 is as good as predicting the mean"
    text = (
        f"A {kind} probe at {len(known.sites)} sites × {known.steps} steps, {len(run)} samples."
        f" {known.metric} is measured on held-out samples ({options.folds} folds; the penalty is"
        f" chosen inside each); {chance}. The null is"
        f" {options.shuffles(loaders.labels_of(run)[known.label])} fits with shuffled labels"
        " (Hewitt, Liang 2019)."
    )
    together = in_words(run, groups_of(run, options.groups))
    text += (
        f" {together[:1].upper()}{together[1:]}: folds, shuffles and intervals are of groups."
        if together
        else ""
    )
    text += f" {copies}." if (copies := duplicates_in_words(run)) else ""
    pooled = [site for site in known.sites if site != X and run.policy(site) == POOLED]
    text += (
        f" Of {', '.join(pooled)} only the mean over space is stored and probed." if pooled else ""
    )
    absent = [site for site in run.anatomy.sites if run.policy(site) == NONE]
    if absent:
        names = ", ".join(absent) if len(absent) <= MOST_NAMED else f"{len(absent)} sites"
        text += (
            f" Not stored, so not probed: {names}. To probe them, extract a run with `--store"
            f" {absent[0]}=pooled`."
        )
    return text + ("" if known.missing else " Every cell is stored with the run.")


@st.fragment
def _map_and_cell(run: Run, known: ProbeMap, options: ProbeOptions) -> None:
    """The heat map and the cell it chooses, in one fragment: a click redraws no more than these."""
    with errors_shown():  # a fragment's errors do not reach its page
        _draw_map_and_cell(run, known, options)


def _draw_map_and_cell(run: Run, known: ProbeMap, options: ProbeOptions) -> None:
    snr = log_snr_of(run)
    one, two, three = st.columns([3, 1, 4])
    with one:
        shown = state.select("Show", "quantity", list(SHOWN), format_func=SHOWN.get)
    with two:
        site = state.select("Site", "probe-site", known.sites, format_func=site_name)
    with three:
        step = state.slider(
            "Step",
            "step",
            0,
            run.spec.steps - 1,
            middle_step(run, range(run.spec.steps)),
            help="Step 0 has most noise. Click a cell of the map to choose site and step.",
        )
    st.plotly_chart(
        probe_heatmap(known, shown, run.timesteps, snr, (site, step)),
        key=MAP,
        on_select=lambda: take_cell(known),
        selection_mode="points",
        config=QUIET,
        alt=_map_in_words(known, shown),
    )
    left, right = st.columns([2, 3])
    with left:
        st.markdown(f"**{site_name(site)}** at {step_in_words(step, run.timesteps, snr)}")
        _numbers(known, site, step)
    with right:
        st.plotly_chart(
            probe_curves(known, (site, step), run.timesteps, snr),
            key="probe-curves",
            config=QUIET,
            alt=(
                f"{known.metric} of {known.label} over the steps, a line per site; at step {step} "
                f"{_at(known, step)}"
            ),
        )
    _closer(run, known, site, step, options)


def take_cell(known: ProbeMap) -> None:
    """Chooses the cell that was clicked in the map."""
    points = st.session_state[MAP]["selection"]["points"]
    site, step = next(
        (point["customdata"] for point in points if point.get("customdata")), (None, 0)
    )
    if site in known.sites:
        with address.together():
            state.choose("probe-site", site)
            state.choose("step", int(step))


def _map_in_words(known: ProbeMap, shown: str) -> str:
    """The map, for who does not see it."""
    rows = zip(known.sites, known.values(shown), strict=True)
    best = [
        f"{site_name(site)} at most {np.nanmax(row):.2f}, at step {np.nanargmax(row)}"
        for site, row in rows
        if np.isfinite(row).any()
    ]
    return f"{known.label} by site and step, {SHOWN[shown]}: {'; '.join(best)}"


def _at(known: ProbeMap, step: int) -> str:
    """The scores at a step, by site."""
    found = {
        site: known.cells[site, step]["score"]["value"]
        for site in known.sites
        if (site, step) in known.cells
    }
    return (
        ", ".join(f"{site_name(site)} {value:.2f}" for site, value in found.items())
        or "nothing is probed yet"
    )


def _numbers(known: ProbeMap, site: str, step: int) -> None:
    """A cell's figures, each with its interval."""
    row = known.cells.get((site, step))
    if row is None:
        st.info("This cell is not probed yet.")
        return
    lines = ["| | | 95 % interval |", "|---|---|---|", _line(known.metric, row["score"])]
    if row["accuracy"]:
        lines.append(_line("Balanced accuracy", row["accuracy"]))
    lines += [
        f"| Shuffled labels, mean | {row['control']:.2f} | |",
        _line("Selectivity", row["selectivity"]),
        f"| p of this cell alone | {row['p']:.2g} | |",
        f"| p among all {len(known.cells)} cells | {known.family()[site, step]:.2g} | |",
    ]
    st.markdown("\n".join(lines))
    st.caption(
        f"{known.in_words()} Cells with p above 0.05 among all cells of the map are crossed out."
        " That a label is decodable does not imply that moving h along it changes the picture: see"
        " Edit."
    )


def _line(name: str, found: dict[str, Any]) -> str:
    estimate = Estimate.from_json(found)
    return f"| {name} | {estimate.value:.2f} | {estimate.low:.2f} to {estimate.high:.2f} |"


def _closer(run: Run, known: ProbeMap, site: str, step: int, options: ProbeOptions) -> None:
    """How many labelled samples are enough at this step, and what a site holds beyond x_t."""
    st.subheader("How many labels are needed", anchor=False)
    found = stored_learning(run, known.label, step, known.sites, options)
    missing = [each for each in known.sites if each not in found]
    if missing:
        run_button(
            f"Learning curves of {len(missing)} sites at step {step}",
            "learning",
            (run.name, len(run), known.label, tuple(missing), step, options),
            lambda: learning(run, known.label, step, missing, options),
            unit=("sites", len(missing)),
        )
    if not found:
        st.caption(
            "Fits probes on fewer and fewer samples and tests them on the same held-out ones. Also"
            " compares each site's score with that of x_t."
        )
        return
    left, right = st.columns([2, 3])
    with left:
        st.markdown(_enough(found))
        st.caption(
            "Needed: the smallest number of samples whose interval reaches the score of all"
            " samples. Beyond x_t: the site's score minus that of x_t at this step, paired by"
            " sample, with its 95 % interval. If the interval is above 0, a linear probe reads more"
            " from the site than from the noisy picture."
        )
    with right:
        chosen = site if site in found else next(iter(found))
        st.plotly_chart(
            learning_chart(found, known.sites, chosen),
            key="probe-learning",
            config=QUIET,
            alt=(
                f"{known.metric} of {known.label} at step {step} by the samples that a probe is"
                " fitted on, one line per site; the table beside says how many are enough"
            ),
        )


def _enough(found: dict[str, dict[str, Any]]) -> str:
    """A table: site, samples that are enough, what is read beyond x_t."""
    lines = ["| Site | Needed | Beyond x_t |", "|---|---|---|"]
    for site, result in found.items():
        most = result["sizes"][-1]
        beyond = Estimate.from_json(result["beyond_x"]) if result["beyond_x"] else None
        more = (
            ""
            if beyond is None
            else f"{beyond.value:+.2f} ({beyond.low:+.2f} to {beyond.high:+.2f})"
        )
        lines.append(f"| {site_name(site)} | {result['enough'] or f'more than {most}'} | {more} |")
    return "\n".join(lines)
