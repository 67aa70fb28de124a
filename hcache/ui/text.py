"""Texts that others wrote, where Streamlit would read them as Markdown.

Names of models and runs, labels, prompts, captions, errors and what tasks say come from files,
uploads and addresses. Streamlit takes nearly every text for Markdown, in which ``![](http://...)``
fetches a picture from elsewhere.
"""

from __future__ import annotations

import re

_SPACE = re.compile(r"\s+")
_SPECIAL = re.compile(
    r"[\\`*\[\]<>$~|&]"  # code, emphasis, links, pictures, HTML, formulas, tables, entities
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis, but not inside a word
    r"|:(?=[A-Za-z/+-]|\d+:)"  # icons, emoji, colours, addresses
    r"|(?<=www)\."
    r"|^[#+=-]|(?<=^\d)[.)]|(?<=^\d\d)[.)]"  # headings, lists and lines, at the start alone
)


def sentence(text: str) -> str:
    """A choice as it is shown: with a capital letter first. Its value stays as it is."""
    return text[:1].upper() + text[1:]


def literal(text: object) -> str:
    """A text as Markdown that shows it as it is.

    In one line: no link, picture, HTML, formula, icon or colour.

    Args:
        text: Anything; an error is shown by its message.
    """
    return _SPECIAL.sub(r"\\\g<0>", _SPACE.sub(" ", str(text)).strip())
