"""Escapes untrusted texts, because Streamlit reads texts as Markdown.

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
    r"|^[#+=-]|(?<=^\d)[.)]|(?<=^\d\d)[.)]"  # headings, lists and lines, only at the start
)

_COMMAND = re.compile(r"`(python -m hcache(?: [\w./=-]+)*)`")


def sentence(text: str) -> str:
    """Returns a choice with a capital letter first. Its value is unchanged."""
    return text[:1].upper() + text[1:]


def literal(text: object) -> str:
    """Returns Markdown that shows a text unchanged, in one line.

    It contains no link, picture, HTML, formula, icon or colour.

    Args:
        text: Anything. An error is shown by its message.
    """
    return _SPECIAL.sub(r"\\\g<0>", _SPACE.sub(" ", str(text)).strip())


def with_commands(text: object) -> str:
    """Returns what :func:`literal` returns, with hcache's commands as code.

    A command stands between backticks, and its words have no characters that mean something in
    code.

    Args:
        text: Anything. An error is shown by its message.
    """
    parts = _COMMAND.split(_SPACE.sub(" ", str(text)).strip())
    return "".join(
        f"`{part}`" if number % 2 else _SPECIAL.sub(r"\\\g<0>", part)
        for number, part in enumerate(parts)
    )
