"""The widget of a measure's parameter, drawn from what the parameter says."""

from __future__ import annotations

from typing import Any

from ..measures.parameter import Parameter
from . import state
from .text import literal, sentence

FAR = 1e9
"""Where a number has no bound of its own: what a browser's field still steps through."""


_WRITTEN = {"pca": "PCA"}
"""How a word of a name is written in a label."""


def draw_parameter(parameter: Parameter, key: str) -> Any:
    """Draws the widget of a parameter, and returns its value.

    ``key``: what links call the choice. The type of the default tells which widget it is.
    """
    words = parameter.name.split("_")
    label = sentence(" ".join(_WRITTEN.get(word, word) for word in words))
    default, text = parameter.default, literal(parameter.text)
    if parameter.choices:
        return state.select(label, key, list(parameter.choices), default=default, help=text)
    if isinstance(default, bool):
        return state.flag(label, key, default, help=text)
    if parameter.several:
        chosen = [word for word in default.split(",") if word]
        return ",".join(state.many(label, key, list(parameter.several), chosen, help=text))
    if isinstance(default, str):
        return state.text(label, key, default, help=text)
    low = -FAR if parameter.least is None else parameter.least
    high = FAR if parameter.most is None else parameter.most
    if isinstance(default, int):
        return state.whole(label, key, int(low), int(high), default, help=text)
    return state.number(label, key, float(low), float(high), default, help=text)
