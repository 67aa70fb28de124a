"""The page of a measure: what it says, its formula, its null, and what it does not say."""

from __future__ import annotations

from markdown_it import MarkdownIt

from ..measures.measure import Explanation
from ..measures.registry import find_question


def pages_of(question: str, subject: str) -> tuple[Explanation, ...]:
    """Returns the pages that explain a question and its evidence."""
    found = find_question(question, subject)
    return () if found is None else found.pages


def page_html(page: Explanation) -> str:
    """Returns a page as HTML. Its heading is of the third level."""
    return MarkdownIt("commonmark", {"linkify": False, "html": False}).render(
        page.text.replace("# ", "### ", 1)
    )
