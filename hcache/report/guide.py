"""The short page that every measure has: what it says, its formula, its null, and what it does
not say.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

from ..measures.cells import (
    ALIGNED,
    COMPONENTS_DCI,
    COMPONENTS_SAP,
    CONTROLLABLE,
    DECODABLE,
    DISENTANGLED,
    EDITS,
    IN_X,
    INTERACTION,
    LINEAR,
)

FOLDER = Path(__file__).resolve().parent.parent / "guide" / "measures"

_PAGES = {
    DECODABLE: ("decodability", "controllability"),
    IN_X: ("decodability",),
    ALIGNED: ("alignment",),
    CONTROLLABLE: ("controllability", "decodability"),
    LINEAR: ("linearity",),
    INTERACTION: ("additivity",),
    (DISENTANGLED, EDITS): ("leakage", "cosines"),
    (DISENTANGLED, COMPONENTS_DCI): ("dci",),
    (DISENTANGLED, COMPONENTS_SAP): ("sap",),
}


def pages_of(question: str, subject: str) -> tuple[str, ...]:
    """The names of the pages that explain a question's figure and the evidence behind it."""
    return _PAGES.get((question, subject), _PAGES.get(question, ("swaps",)))


@cache
def page(name: str) -> str:
    """A page's Markdown."""
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def page_html(name: str) -> str:
    """A page as HTML; its heading is one of the third level."""
    return MarkdownIt("commonmark", {"linkify": False}).render(page(name).replace("# ", "### ", 1))
