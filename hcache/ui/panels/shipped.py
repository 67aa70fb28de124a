"""The results that ship with the toy models, marked as such."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from ...toyfaces.shipped import Shipped, shipped_results


def shipped_panel(expanded: bool) -> None:
    """Shows the results of the toy models from when they were made."""
    found = shipped_results()
    if not found:
        return
    with st.expander(
        "Shipped results of the toy models", icon=":material/inventory_2:", expanded=expanded
    ):
        names = list(dict.fromkeys(effect.attribute for each in found for effect in each.effects))
        table = [
            {
                "Naive direction of": name.replace("_", " "),
                **{each.model: _effect(each, name) for each in found},
            }
            for name in names
        ]
        table.append(
            {
                "Naive direction of": "Weights (SHA-256)",
                **{each.model: each.weights[:16] for each in found},
            }
        )
        st.dataframe(pd.DataFrame(table), hide_index=True, width="stretch")
        old = [each.model for each in found if not each.current]
        st.caption(
            "Shipped results: measured when the models were made, not on your runs. Each cell is"
            " the change of the label when h is moved along its direction, in standard deviations"
            " of the label over the run, with its 95 % interval. The null is the same for a"
            " direction of random positives. "
            + "; ".join(
                f"{each.model}: fitted on {each.fitted} samples, tried on {each.unseen} others"
                for each in found
            )
            + "."
            + (
                f" Measured on other weights than those that are installed: {', '.join(old)}."
                if old
                else ""
            )
        )


def _effect(each: Shipped, name: str) -> str:
    """``+1.52 (+1.24 to +1.79), null +0.31``."""
    for effect in each.effects:
        if effect.attribute == name:
            e = effect.change
            return (
                f"{e.value:+.2f} ({e.low:+.2f} to {e.high:+.2f}) at strength {effect.strength:g}, "
                f"null {effect.null.value:+.2f}"
            )
    return "not measured"
