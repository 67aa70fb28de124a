"""Buttons for work that a run's files describe. Work from elsewhere is shown first, and runs only
after the user agrees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ..background.kinds import Work, in_full

WARNING = (
    "You did not start this work on this machine. It is described in files that came from"
    " elsewhere, or from an earlier version of hcache. Read what would be done before you agree."
)


def agreed(
    label: str,
    key: str,
    ours: bool,
    work: Callable[[], Work],
    place: DeltaGenerator | None = None,
    **options: Any,
) -> bool:
    """Shows a button, and returns whether its work may start now.

    One press is enough if this user requested the work on this machine. Otherwise the press shows
    what would be done, with a second button to agree and one to decline.

    Args:
        label: The label of the button.
        key: Its key, from which the keys of the other two are made.
        ours: Whether this user requested the work on this machine.
        work: Returns the work, for showing it.
        place: Where to show it. Default: here.
        options: Options of ``st.button``.
    """
    asked = f"to agree to {key}"
    if st.button(label, key=key, **options):
        if ours:
            return True
        st.session_state[asked] = True
    if ours or asked not in st.session_state:
        return False
    with place or st.container():
        st.warning(WARNING, icon=":material/shield_question:")
        st.code(in_full(work()), language=None, wrap_lines=True)
        with st.container(horizontal=True):
            yes = st.button("Agree and start", key=f"agree-{key}")
            no = st.button("Do not start", key=f"leave-{key}")
    if yes or no:
        del st.session_state[asked]
    if no:
        st.rerun()
    return yes
