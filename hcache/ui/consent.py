"""Buttons for work that a run's files describe. What came from elsewhere is shown, and done only
once agreed to.
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
    """A button, and whether its work may be started now.

    After one press if this user asked for it on this machine.

    Else the press shows what would be done, with a second button to agree and one to leave it.

    Args:
        label: On the button.
        key: Its key; those of the other two are made of it.
        ours: Whether this user asked for the work on this machine.
        work: What would be done, asked for only where it is to be shown.
        place: Where to show it; here, if it is not given.
        options: Of ``st.button``.
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
