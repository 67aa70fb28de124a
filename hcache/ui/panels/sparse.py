"""Sparse features as a face of the PCA page: trained in the background, shown with what they
explain, when they fire, and the samples where they are strongest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st

from ...background.kinds import FIT, MEASURE, Fitting, Measuring
from ...cache.layout import H
from ...cache.reading import Run
from ...cache.records import Record
from ...directions.fitting import Fit
from ...errors import HcacheError
from ...figures.evidence import bars_with_null, curves_over_noise
from ...figures.pictures import png_bytes
from ...measures.costs import about, sparse_seconds
from ...measures.declared.sparse import CHOICES, SITE, bars_of, firing_of, sheet_of
from ...measures.evidence import Evidence
from ...measures.exhibits import Curves
from ...measures.setting import NULLS, SAMPLES
from ...measures.sparse import measured_features
from ...sparse.dictionary import Dictionary, load_dictionary
from ...sparse.plan import DictionaryPlan, plan_of
from ...specs import FULL
from .. import state
from ..scatter import Placed
from ..tasks import start_button, task_list
from ..text import literal

OVER = "sparse features"
"""What the PCA page offers beside components."""


def features_of(run: Run, site: str) -> tuple[Record, Dictionary] | None:
    """Loads the sparse features of a site.

    Until they are there, the button that trains them and its bar are shown, and None is returned.
    """
    plan = _plan(run, site)
    if plan is None:
        return None
    record, dictionary = measured_features(run, plan), load_dictionary(run, plan)
    if record is not None and dictionary is not None:
        return record, dictionary
    st.info(
        "These sparse features were not trained yet. Training takes no labels and no model. If it"
        " is cancelled, it goes on from there the next time."
    )
    start_button(f"Train, {about(sparse_seconds(run, plan))}", run, training_work(run, plan))
    task_list(run, MEASURE)
    return None


def _plan(run: Run, site: str) -> DictionaryPlan | None:
    """What is asked for; None, with the reason shown, if the run cannot have it."""
    left, right = st.columns(2)
    with left:
        features = state.whole(
            "Features",
            "sparse-features",
            0,
            65536,
            0,
            help="Of the dictionary. 0: 4 for each channel of the site.",
        )
    with right:
        active = state.whole(
            "Active at a place",
            "sparse-active",
            0,
            4096,
            0,
            help="How many may fire at one place (k). 0: an eighth of the channels, 16 at most.",
        )
    options = {name: each.default for name, each in CHOICES.items()}
    try:
        return plan_of(run, site, options | {"features": features, "active": active})
    except HcacheError as error:
        st.info(literal(str(error)))
        return None


def training_work(run: Run, plan: DictionaryPlan) -> Measuring:
    """The task that trains the dictionary of a plan."""
    site = {} if plan.site == H else {SITE.name: plan.site}
    return Measuring(
        run=run.name,
        what=("sparse",),
        labels=(),
        options=site | {each.name: getattr(plan, name) for name, each in CHOICES.items()},
        **{each.name: each.default for each in (SAMPLES, NULLS)},
    )


def plot_of(dictionary: Dictionary, axes: tuple[int, int]) -> Placed:
    """Plots samples on two features.

    The places are mean activations over all steps and places.
    """
    chosen = [min(axis, dictionary.alive) - 1 for axis in axes]
    first, second = (f"feature {feature} (mean activation, σ)" for feature in chosen)
    return Placed(places=dictionary.samples[:, chosen], axes=(first, second), ways=None)


def features_panel(run: Run, record: Record, dictionary: Dictionary, chosen: list[int]) -> None:
    """What the dictionary explains, when features fire, and their strongest samples."""
    found = record.result
    st.subheader("What these features explain")
    shown = bars_of({run.name: record})
    said = "; ".join(f"{name}: {bar.measured}" for name, bar in shown.runs[run.name].items())
    st.plotly_chart(bars_with_null(shown), key="sparse-explained", alt=said)
    st.caption(
        f"{found['alive']} of {found['features']} features fire, {found['dead']} are dead."
        f" {len(found['held_out'])} samples were held out."
    )
    st.subheader("When they fire")
    shares = firing_of(
        record, Evidence(run), [each for each in chosen if each < len(found["rate"])]
    )
    curves = Curves(runs={run.name: shares}, axis="share of samples and places", null="")
    mean = {name: np.mean([each.estimate.value for each in row]) for name, row in shares.items()}
    st.plotly_chart(
        curves_over_noise(curves),
        key="sparse-firing",
        alt="; ".join(f"{name} fires at {share:.1%} of places" for name, share in mean.items()),
    )
    _pictures(run, found, chosen)
    if dictionary.plan.site == H and run.policy(H) == FULL:
        _directions(run, dictionary.plan, chosen)


def _pictures(run: Run, found: Mapping[str, Any], chosen: list[int]) -> None:
    st.subheader("Samples where they are strongest")
    for feature in chosen:
        if feature >= len(found["top"]):
            continue
        sheet = sheet_of(run, found, [feature])
        if sheet is None:
            return
        row = np.concatenate(list(sheet.pictures[0]), axis=1)
        named = ", ".join(map(str, found["top"][feature][: len(sheet.columns)]))
        said = f"feature {feature}: samples {named}"
        st.image(png_bytes(row), caption=said.capitalize(), alt=said)


def _directions(run: Run, plan: DictionaryPlan, chosen: list[int]) -> None:
    """The button that saves the two features as directions."""
    options = {name: getattr(plan, name) for name in CHOICES}
    text = ",".join(map(str, chosen))
    what = Fit(method="sparse", run=run.name, options={**options, "chosen": text})
    name = f"sparse {text.replace(',', ' ')}"
    start_button("Save as directions", run, Fitting(what=what, name=name))
    task_list(run, FIT)
