"""The Help page: the documentation, and an explanation of the page that the user came from."""

from __future__ import annotations

import streamlit as st

from ...documentation import Document, documents, markdown_of, part_of
from .. import state
from ..frame import HELP_ON

PAGES = "reference/pages"

_SECTIONS = {
    "explanation": "Explanation",
    "how-to": "How-to",
    "reference": "Reference",
    "results": "Results",
}


def help_panel() -> None:
    """Draws the list of documents beside the chosen one."""
    texts = documents()
    left, right = st.columns([1, 3], gap="large")
    with left:
        name = state.select(
            "Text", "doc", list(texts), default=PAGES, format_func=lambda name: _words(texts[name])
        )
        st.caption(
            "The same texts are in the folder docs of the checkout, as a site that is built with"
            " `mkdocs build`."
        )
    with right:
        page = str(state.recall(HELP_ON, ""))
        if page and name == PAGES:
            said = part_of(markdown_of(texts[PAGES], lambda words, _: None), f"**{page}**")
            if said:
                st.info(said, icon=":material/help:")
        st.markdown(markdown_of(texts[name], _link))


def _words(document: Document) -> str:
    return f"{_SECTIONS[document.name.split('/')[0]]} · {document.title}"


def _link(words: str, name: str) -> str:
    """Returns a link to another document."""
    return f"[{words}](help?doc={name})"
