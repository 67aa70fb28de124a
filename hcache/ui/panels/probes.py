"""Probes: how much of a label can be read off each site at each step, and how much by chance."""

from __future__ import annotations

from functools import partial

import streamlit as st

from ...analysis.probes import check_labels, probe_map
from ...cache.reading import Run
from ...errors import AnalysisError
from ...figures.charts import probe_curves, probe_heatmaps
from .. import loaders, state
from ..work import run_button

FOLDS = 5


def probes_panel(run: Run) -> None:
    """The label, the Run button, the two heat maps."""
    labels = loaders.labels_of(run)
    if not labels:
        raise AnalysisError("this run has no labels to probe for: its model has no attribute reader")
    name = state.select("Label", "label", list(labels), format_func=lambda text: text.replace("_", " "))
    _, metric = check_labels(labels[name], FOLDS)
    sites = run.stored_sites
    steps = list(range(run.spec.steps))
    st.caption(
        f"A linear probe for **{name.replace('_', ' ')}** at {len(sites)} sites × {len(steps)} steps, "
        f"{len(run)} samples, "
        f"{FOLDS} folds, beside the same with shuffled labels. Metric: cross-validated {metric}."
    )
    probes = run_button(
        "Run the probes",
        "probes",
        (run.name, len(run), name),
        lambda: probe_map(lambda site, step: partial(run.blocks, site, step), sites, steps, labels[name], FOLDS),
    )
    if probes is None:
        return
    st.plotly_chart(probe_heatmaps(probes, run.timesteps), key="probe-map")
    st.plotly_chart(probe_curves(probes), key="probe-curves")
    pooled = [site for site in sites if run.policy(site) == "pooled"]
    note = f" Of {', '.join(pooled)} only the mean over space is stored, and probed." if pooled else ""
    chance = "0.5 is chance" if metric == "AUC" else "0 is no better than the mean, less is worse"
    st.caption(
        f"{metric}: {chance}. The penalty is chosen inside each fold (Alain, Bengio 2016; shuffled labels "
        "after Hewitt, "
        f"Liang 2019).{note} Readable does not mean that moving it moves the picture: see Edit."
    )
