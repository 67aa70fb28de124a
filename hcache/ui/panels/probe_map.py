"""The Probes page: where and when a label can be read, and how much of that is chance.

The page also shows how many labels this takes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from ...analysis.estimate import Estimate
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
from ...measures.by_cell import ByCell, Choice, LearningCurves, ProbeMap, Work
from ...measures.costs import about
from ...measures.faults import faults_named
from ...measures.measure import Measure
from ...measures.noise import log_snr_of, middle_step
from ...measures.parameter import Parameter
from ...measures.registry import registry
from .. import address, loaders, state
from ..frame import errors_shown
from ..pace import starts_itself
from ..parameter_widgets import draw_parameter
from ..text import literal
from ..work import run_button

QUIET = {"displayModeBar": False}
MAP = "probe-map"

SHOWN = {
    SCORE: "Score",
    SELECTIVITY: "Selectivity: score minus shuffled labels",
    CONTROL: "Shuffled labels alone",
}


@dataclass(frozen=True, kw_only=True)
class ProbeQuestion:
    """The question that the page asks about a run.

    It names a label, sites, a measure that is taken cell by cell, and the measure's options.
    """

    run: Run
    measure: Measure
    by_cell: ByCell
    label: str
    sites: tuple[str, ...]
    options: Mapping[str, Any]

    @property
    def key(self) -> tuple[Hashable, ...]:
        """The key that distinguishes this question from others."""
        options = tuple(sorted(self.options.items()))
        named = (self.run.name, len(self.run), self.measure.name, self.label)
        return (*named, self.sites, options)

    def stored(self) -> ProbeMap:
        """Returns the known cells."""
        with faults_named(self.measure):
            return self.by_cell.stored(self.run, self.label, self.sites, self.options)

    def work(self) -> Work:
        """Measures all cells."""
        steps, take = range(self.run.spec.steps), self.by_cell.measure
        with faults_named(self.measure):
            return (yield from take(self.run, [self.label], self.sites, steps, self.options))

    def curves(self, curves: LearningCurves, step: int, sites: Sequence[str]) -> Work:
        """Measures learning curves at some sites."""
        with faults_named(self.measure):
            return (yield from curves.measure(self.run, self.label, step, sites, self.options))


def probes_panel(run: Run) -> None:
    """Draws the choices, the heat map, and a cell.

    The panel has the button that starts the probes. The cell is the one that was clicked.
    """
    for line in registry().refused:
        st.warning(literal(line), icon=":material/extension_off:")
    labels = loaders.labels_of(run)
    if not labels:
        raise AnalysisError(
            "this run has no labels to probe for: its model has no attribute reader. Click some in"
            " the Gallery, or import a CSV with `python -m hcache labels-import`"
        )
    measure = _measure()
    with faults_named(measure):
        _draw_question(_question(measure, run, list(labels)))


def _draw_question(asked: ProbeQuestion) -> None:
    """Draws what is known of a question, and the button that measures the rest."""
    run = asked.run
    if not asked.sites:
        st.info("Choose a site to probe.")
        return
    known = asked.stored()
    words = asked.by_cell.words(run, known, asked.options)
    seconds = asked.by_cell.seconds(run, known, asked.options) if known.missing else 0.0
    st.caption(words + ("" if known.missing else " Every cell is stored with the run."))
    if known.missing:
        cells = (
            f"{known.missing} of {len(asked.sites) * run.spec.steps}"
            if known.cells
            else str(known.missing)
        )
        run_button(
            f"Probe {cells} cells" + ("" if seconds is None else f", {about(seconds)}"),
            "probes",
            asked.key,
            asked.work,
            auto=starts_itself(run, seconds),
            unit=("cells", known.missing),
        )
    if known.cells:
        _map_and_cell(asked, known)


def _question(measure: Measure, run: Run, labels: Sequence[str]) -> ProbeQuestion:
    """Draws the choices of label, sites, and the measure's own options."""
    by_cell = measure.by_cell
    if by_cell is None:
        raise AnalysisError(f"the measure {measure.name} is not taken cell by cell")
    one, two, three = st.columns([2, 2, 4])
    with one:
        label = state.select(
            "Label", "label", labels, format_func=lambda text: text.replace("_", " ")
        )
    asks, every = list(by_cell.asks(run, labels)), tuple(by_cell.sites(run))
    options = by_cell.options({})
    with two:
        options |= dict(_choose(measure, each) for each in asks[:1])
    with three:
        sites = state.many(
            "Sites",
            "probed",
            every,
            every,
            format_func=site_name,
            help="x_t is the noisy picture, the input of the U-Net.",
        )
    options |= dict(_choose(measure, each) for each in asks[1:])
    return ProbeQuestion(
        run=run,
        measure=measure,
        by_cell=by_cell,
        label=label,
        sites=tuple(sites),
        options=options,
    )


def _measure() -> Measure:
    """Returns the measure. If several can be taken cell by cell, the user chooses."""
    known = registry()
    offered = known.by_cell()
    names = list(offered)
    if len(names) == 1:
        return known.measures[names[0]]
    name = state.select(
        "Measure", "probing", names, format_func=lambda each: offered[each].title or each
    )
    return known.measures[name]


def _choose(measure: Measure, ask: Choice | Parameter) -> tuple[str, Any]:
    """Draws one choice, and returns its parameter's name and its value."""
    if isinstance(ask, Choice):
        values = list(ask.values)
        chosen = state.select(
            ask.label, ask.key, values, format_func=ask.values.get, help=ask.help or None
        )
        return ask.parameter.name, chosen
    return ask.name, draw_parameter(ask, f"probe-{measure.name}-{ask.name}")


@st.fragment
def _map_and_cell(asked: ProbeQuestion, known: ProbeMap) -> None:
    """Draws the heat map and its chosen cell in one fragment. A click redraws only these."""
    # a fragment's errors do not reach its page
    with errors_shown(), faults_named(asked.measure):
        _draw_map_and_cell(asked, known)


def _draw_map_and_cell(asked: ProbeQuestion, known: ProbeMap) -> None:
    run = asked.run
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
            help="Step 0 has the most noise. Click a cell of the map to choose site and step.",
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
    if asked.by_cell.curves:
        _closer(asked, asked.by_cell.curves, known, (site, step))


def take_cell(known: ProbeMap) -> None:
    """Chooses the clicked cell of the map."""
    points = st.session_state[MAP]["selection"]["points"]
    site, step = next(
        (point["customdata"] for point in points if point.get("customdata")), (None, 0)
    )
    if site in known.sites:
        with address.together():
            state.choose("probe-site", site)
            state.choose("step", int(step))


def _map_in_words(known: ProbeMap, shown: str) -> str:
    """Describes the map in words."""
    rows = zip(known.sites, known.values(shown), strict=True)
    best = [
        f"{site_name(site)} at most {np.nanmax(row):.2f}, at step {np.nanargmax(row)}"
        for site, row in rows
        if np.isfinite(row).any()
    ]
    return f"{known.label} by site and step, {SHOWN[shown]}: {'; '.join(best)}"


def _at(known: ProbeMap, step: int) -> str:
    """Returns the scores at a step, by site."""
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
    """Draws a cell's numbers, each with its interval."""
    row = known.cells.get((site, step))
    if row is None:
        st.info("This cell is not probed yet.")
        return
    lines = ["| | | 95 % interval |", "|---|---|---|", _line(known.metric, row["score"])]
    if row.get("accuracy"):
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


def _closer(
    asked: ProbeQuestion, curves: LearningCurves, known: ProbeMap, cell: tuple[str, int]
) -> None:
    """Draws how many labelled samples are enough here, and what a site adds to x_t."""
    run, (site, step) = asked.run, cell
    st.subheader("How many labels are needed", anchor=False)
    found = curves.stored(run, known.label, step, known.sites, asked.options)
    missing = [each for each in known.sites if each not in found]
    if missing:
        run_button(
            f"Learning curves of {len(missing)} sites at step {step}",
            "learning",
            (*asked.key, tuple(missing), step),
            lambda: asked.curves(curves, step, missing),
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
            learning_chart(found, known.sites, chosen, known.nothing),
            key="probe-learning",
            config=QUIET,
            alt=(
                f"{known.metric} of {known.label} at step {step} by the samples that a probe is"
                " fitted on, one line per site; the table beside says how many are enough"
            ),
        )


def _enough(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Draws a table of sites, numbers of samples that are enough, and what exceeds x_t."""
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
