"""The similarity of the sites of two runs, over samples of the same noise or picture."""

from __future__ import annotations

import streamlit as st

from ...background.kinds import MEASURE
from ...cache.reading import Run
from ...errors import UsageError
from ...figures.evidence import heat_maps
from ...measures.alike import shared_samples
from ...measures.declared.cka import two_runs
from ...measures.evidence import Evidence
from ..tasks import start_button, task_list
from ..text import literal
from .measuring import beside


def alike_panel(a: Run, b: Run) -> None:
    """Shows the heat maps of CKA between two runs.

    A button measures them.
    """
    st.subheader("How alike the two runs' sites are")
    try:
        own, _ = shared_samples(a, b)
    except UsageError as error:
        st.caption(literal(str(error)))
        return
    shown = two_runs(Evidence(a), b.name)
    if shown is not None:
        title = f"CKA of {a.name} with {b.name}"
        st.plotly_chart(heat_maps(shown), key="compare-cka", alt=f"{title}, by site and step")
        st.caption(
            "Linear CKA without bias: 1 means the same up to rotation and scale. A dot: shuffled"
            " samples give as much. Hover over a cell for its interval."
        )
    else:
        st.caption(f"{len(own)} samples of both runs began alike. CKA was not measured yet.")
    start_button("Measure CKA", a, beside(a, b.name))
    task_list(a, MEASURE)
