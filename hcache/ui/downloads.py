"""Downloads of models. The page shows what a download contains, and a press starts it. A link alone
downloads nothing.
"""

from __future__ import annotations

import streamlit as st

from ..cache.plan import format_bytes
from ..cards import Card, find_card
from .text import literal

_SIZES = "sizes of models"
"""In the session: bytes by model, or None if the hub did not say."""


def may_read_configuration(model: str) -> bool:
    """Returns whether a model's configuration may be read now.

    It is on this disk or may be downloaded. Otherwise the button that allows the download is shown.
    """
    from ..models.downloads import configurations_are_here

    card = find_card(model)
    if configurations_are_here(card):
        return True
    st.info(
        f"{literal(model)} is not on this disk. Its configuration says which sites it has. The"
        f" configuration is a few small files of {literal(card.source)} on the Hugging Face hub."
        " No weights are downloaded.",
        icon=":material/cloud_download:",
    )
    return st.button("Read the configuration from the hub", key="read-configuration")


def weights_notice(card: Card) -> None:
    """Says that a start will download the weights.

    It shows their size once the user has asked for it.
    """
    from ..models.downloads import download_bytes, weights_are_here

    if not card.source or weights_are_here(card):
        return
    sizes = st.session_state.setdefault(_SIZES, {})
    known = sizes.get(card.name)
    text = (
        "size not known to the hub"
        if card.name in sizes and known is None
        else known and format_bytes(known)
    )
    st.warning(
        f"The weights of {literal(card.name)} are not on this disk. Starting downloads them from "
        f"{literal(card.source)} on the Hugging Face hub" + (f": {text}." if text else "."),
        icon=":material/cloud_download:",
    )
    if card.name not in sizes and st.button(
        "Ask the hub for their size", key="ask-size", type="tertiary"
    ):
        sizes[card.name] = download_bytes(card)
        st.rerun()
