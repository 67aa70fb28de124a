"""Widgets whose choices are kept across pages and written to the address: see address.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import streamlit as st

from .address import (
    another_widget,
    choose,
    is_late,
    keep,
    last_default,
    recall,
    restore,
    snapshot,
    widget_key,
)

__all__ = [
    "amount",
    "choose",
    "flag",
    "keep",
    "many",
    "number",
    "optional",
    "recall",
    "restore",
    "sample",
    "select",
    "slider",
    "snapshot",
    "span",
    "text",
    "whole",
    "window",
]

T = TypeVar("T")


def slider(label: str, name: str, low: int, high: int, default: int, **options: Any) -> int:
    """Draws a slider over whole numbers, or their only value as text."""
    if low >= high:
        keep(name, low, default)
        return low
    _offer(
        name,
        min(max(int(recall(name, default, int)), low), high),
        lambda value: low <= value <= high,
        (low, high),
    )
    value = st.slider(label, low, high, key=widget_key(name), **options)
    keep(name, value, default)
    return value


def window(label: str, name: str, steps: int, **options: Any) -> tuple[int, int]:
    """Draws a range of steps, both ends included."""

    def convert(text: str) -> tuple[int, int]:
        first, last = text.split("-")
        return (int(first), int(last))

    found = recall(name, (0, steps - 1), convert)
    found = convert(found) if isinstance(found, str) else found
    first, last = sorted(min(max(int(v), 0), steps - 1) for v in found)
    _offer(name, (first, last), lambda value: 0 <= value[0] <= value[1] < steps, (0, steps - 1))
    value = st.slider(label, 0, steps - 1, key=widget_key(name), **options)
    keep(name, f"{value[0]}-{value[1]}", f"0-{steps - 1}")
    return value


def select(label: str, name: str, options: Sequence[T], default: T | None = None, **more: Any) -> T:
    """Draws a choice of one option.

    Options are compared by their text, as in the address.
    """
    default = options[0] if default is None else default
    by_text = {str(option): option for option in options}
    _offer(
        name, by_text.get(str(recall(name, str(default))), default), lambda value: value in options
    )
    value = st.selectbox(label, options, key=widget_key(name), **more)
    keep(name, value, default)
    return value


def sample(
    label: str, name: str, samples: Sequence[int] | np.ndarray, default: int, **options: Any
) -> int:
    """Draws an input of a sample number."""
    low, high = int(min(samples)), int(max(samples))
    found = int(recall(name, default, int))
    _offer(name, found if low <= found <= high else default, lambda value: low <= value <= high)
    value = int(st.number_input(label, low, high, step=1, key=widget_key(name), **options))
    keep(name, value, default)
    return value


def many(
    label: str, name: str, options: Sequence[str], default: Sequence[str], **more: Any
) -> list[str]:
    """Draws a choice of any number of texts without commas."""
    wanted = [part for part in recall(name, ",".join(default)).split(",") if part in options]
    _offer(name, wanted or list(default), lambda values: all(value in options for value in values))
    found = st.multiselect(label, options, key=widget_key(name), **more)
    keep(name, ",".join(found), ",".join(default))
    return found


def flag(label: str, name: str, default: bool, **options: Any) -> bool:
    """Draws a yes-or-no choice."""
    _offer(name, recall(name, str(default)) == "True", lambda value: isinstance(value, bool))
    found = st.checkbox(label, key=widget_key(name), **options)
    keep(name, str(found), default)
    return found


def number(label: str, name: str, low: float, high: float, default: float, **options: Any) -> float:
    """Draws a number input."""
    _offer(
        name,
        min(max(float(recall(name, default, _real)), low), high),
        lambda value: low <= value <= high,
    )
    found = float(st.number_input(label, low, high, key=widget_key(name), **options))
    keep(name, found, default)
    return found


def amount(
    label: str, name: str, low: float, high: float, default: float, step: float, **options: Any
) -> float:
    """Draws a slider over numbers."""
    _offer(
        name,
        min(max(float(recall(name, default, _real)), low), high),
        lambda value: low <= value <= high,
        (low, high, step),
    )
    found = st.slider(label, low, high, step=step, key=widget_key(name), **options)
    keep(name, found, default)
    return found


def whole(label: str, name: str, low: int, high: int, default: int, **options: Any) -> int:
    """Draws an input of a whole number."""
    _offer(
        name,
        min(max(int(recall(name, default, int)), low), high),
        lambda value: low <= value <= high,
    )
    found = int(st.number_input(label, low, high, step=1, key=widget_key(name), **options))
    keep(name, found, default)
    return found


def optional(label: str, name: str, low: float, **options: Any) -> float | None:
    """Draws a number input that may be empty."""

    def convert(text: str) -> float | None:
        return float(text) if text and float(text) >= low else None

    found = recall(name, None, convert)
    _offer(
        name,
        convert(found) if isinstance(found, str) else found,
        lambda value: value is None or value >= low,
    )
    value = st.number_input(label, low, value=None, key=widget_key(name), **options)
    keep(name, "" if value is None else value, "")
    return value


def text(label: str, name: str, default: str = "", lines: bool = False, **options: Any) -> str:
    """Draws a text input of one or several lines."""
    _offer(name, str(recall(name, default)), lambda value: isinstance(value, str))
    widget = st.text_area if lines else st.text_input
    found = widget(label, key=widget_key(name), **options)
    keep(name, found, default)
    return found


def span(label: str, name: str, low: float, high: float, **options: Any) -> tuple[float, float]:
    """Draws a range of numbers, both ends included.

    The default is the whole range, even if it has grown since.
    """

    def convert(text: str) -> tuple[float, float]:
        first, last = (float(part) for part in text.split("~"))
        if not first <= last:
            raise ValueError(text)  # perhaps not a number
        return (first, last)

    def found() -> tuple[float, float]:
        said = recall(name, (low, high), convert)
        return convert(said) if isinstance(said, str) else said

    every, before = _span(low, high), last_default(name)
    if before not in (None, every):  # another range has another widget
        choose(name, every if _span(*found()) == before else _span(*found()))
    first, last = sorted(min(max(value, low), high) for value in found())
    _offer(name, (first, last), lambda value: low <= value[0] <= value[1] <= high, (low, high))
    value = st.slider(label, low, high, key=widget_key(name), **options)
    keep(name, _span(*value), every)
    return value


def _span(low: float, high: float) -> str:
    return f"{low:g}~{high:g}"


def _real(text: str) -> float:
    """Parses a number. It raises ValueError for anything else, including NaN."""
    value = float(text)
    if value != value:
        raise ValueError(text)
    return value


def _offer(
    name: str, value: Any, valid: Callable[[Any], bool], bounds: tuple[float, ...] = ()
) -> None:
    """Puts a value under the widget's key, unless this very widget has a valid one there.

    For Streamlit, a widget of another page, or a slider with other bounds, is another widget. The
    key still has the value of the previous one, but the new one would begin at its own default.

    Args:
        name: The choice.
        value: Its value, from the session or the address.
        valid: Whether the widget can show a value.
        bounds: For a slider: the smallest and the largest value, and the step if it has one.
    """
    key = widget_key(name)
    there = st.session_state.get(key)
    kept = key in st.session_state and valid(there) and not is_late(name, there)
    if another_widget(name, bounds) or not kept:
        st.session_state[key] = there if kept else value
