"""Maps by t-SNE and UMAP on the PCA page. They are made in the background, and shown with how well
they keep neighbours.
"""

from __future__ import annotations

import numpy as np
import streamlit as st

from ...background.kinds import MEASURE, Measuring
from ...cache.reading import Run
from ...cache.records import Record
from ...errors import HcacheError
from ...figures.evidence import bars_with_null
from ...measures.costs import about, map_seconds
from ...measures.declared.maps import (
    ALL,
    AT,
    BY,
    NAMES,
    NEIGHBOURS,
    SITE,
    bars_of,
    neighbours_of,
)
from ...measures.maps import made_map, nearest, together
from ...measures.setting import NULLS, SAMPLES
from .. import state
from ..scatter import Placed
from ..tasks import start_button, task_list
from ..text import literal

OVER = {
    "map by t-SNE of this step": ("tsne", False),
    "map by UMAP of this step": ("umap", False),
    "map by t-SNE of all steps": ("tsne", True),
    "map by UMAP of all steps": ("umap", True),
}
"""The maps that the PCA page offers: the way, and whether all steps are together."""


def map_record(run: Run, site: str, over: str, step: int) -> Record | None:
    """Shows the chosen map, or the button that makes it.

    Until the map is made, the button and its bar are shown, and None is returned.
    """
    way, everything = OVER[over]
    neighbours = state.whole(
        "Neighbours",
        "map-neighbours",
        2,
        max(2, (len(run) - 1) // 2),
        neighbours_of(run, 0),
        help="Number of neighbours that the method uses, and that the map is judged by. t-SNE"
        " calls this perplexity.",
    )
    where = None if everything else step
    record = made_map(run, site, way, where, neighbours)
    if record is None:
        steps = len(together(run)) if everything else 1
        st.info(f"This map by {NAMES[way]} has not been made yet. It needs no labels and no model.")
        label = f"Make the map, {about(map_seconds(run, site, way, steps))}"
        start_button(label, run, map_work(run, site, way, where, neighbours))
    task_list(run, MEASURE)
    return record


def plot_of(record: Record, step: int) -> Placed:
    """Plots a map at a step.

    If all steps are mapped together, every sample has its path over the steps.
    """
    places = np.array(record.result["places"], np.float32)
    steps, name = record.parameters["steps"], NAMES[record.parameters["way"]]
    at = int(np.argmin(np.abs(np.array(steps) - step)))
    axes = (f"{name} 1 (no unit)", f"{name} 2 (no unit)")
    return Placed(places=places[at], axes=axes, ways=places if len(steps) > 1 else None)


def quality_panel(run: Run, record: Record) -> None:
    """Shows how well the map keeps neighbours, beside PCA and chance."""
    st.subheader("How far to trust this map")
    for quantity, axis in (
        ("kept", f"share of the {record.parameters['neighbours']} nearest neighbours kept"),
        ("trustworthiness", "trustworthiness"),
    ):
        shown = bars_of({run.name: record}, quantity, axis)
        bars = shown.runs[run.name]
        said = "; ".join(
            f"{name}: {bar.measured}, at random {bar.null}" for name, bar in bars.items()
        )
        st.plotly_chart(bars_with_null(shown), key=f"map-{quantity}", alt=f"{axis}: {said}")
    if record.parameters["together"] and len(record.parameters["steps"]) < run.spec.steps:
        few = ", ".join(map(str, record.parameters["steps"]))
        st.caption(f"The map holds steps {few}; the nearest one is shown.")
    st.caption(
        "Distances between groups and the axes mean nothing on such a map. With few neighbours,"
        " noise also forms clumps."
    )


def nearest_samples(run: Run, site: str, step: int, sample: int, count: int) -> list[int]:
    """Finds a sample's nearest samples in the activations of a step.

    The sample itself is among them.
    """
    try:
        rows = nearest(run, site, step, run.position(sample), count)
    except HcacheError as error:
        st.error(literal(str(error)))
        return []
    return run.sample_ids[rows].tolist()


def map_work(run: Run, site: str, way: str, step: int | None, neighbours: int) -> Measuring:
    """Returns the task that makes a map. ``step`` is None for all together."""
    at = ALL if step is None else str(step)
    usual = neighbours if neighbours != neighbours_of(run, 0) else 0
    chosen = ((SITE, site), (BY, way), (AT, at), (NEIGHBOURS, usual))
    return Measuring(
        run=run.name,
        what=("maps",),
        labels=(),
        options={each.name: value for each, value in chosen if value != each.default},
        **{each.name: each.default for each in (SAMPLES, NULLS)},
    )
