"""What the user has chosen: kept across pages, and in the address, so that a link opens what it was copied from.

Streamlit forgets a widget's value when another page is shown. So every shared choice lives under its own name,
is offered to the widget when it appears, and is written back to the session and the address afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import streamlit as st

T = TypeVar("T")
_KEPT = "kept"


def recall(name: str, default: T, convert: Callable[[str], T] = str) -> T:
    """The choice of that name: of this session, else from the address, else ``default``."""
    kept = st.session_state.setdefault(_KEPT, {})
    if name in kept:
        return kept[name]
    if name in st.query_params:
        try:
            return convert(st.query_params[name])
        except ValueError:
            pass
    return default


def keep(name: str, value: Any) -> None:
    """Remembers a choice, and puts it into the address."""
    st.session_state.setdefault(_KEPT, {})[name] = value
    if st.query_params.get(name) != str(value):
        st.query_params[name] = str(value)


def choose(name: str, value: Any) -> None:
    """Makes a choice for the user, as a click on a picture does; its widget shows it from the next run on."""
    st.session_state.setdefault(_KEPT, {})[name] = value
    st.session_state.pop(_key(name), None)


def slider(label: str, name: str, low: int, high: int, default: int, **options: Any) -> int:
    """A slider over whole numbers, or their only value in words."""
    if low >= high:
        keep(name, low)
        return low
    _offer(name, min(max(int(recall(name, default, int)), low), high), lambda value: low <= value <= high)
    value = st.slider(label, low, high, key=_key(name), **options)
    keep(name, value)
    return value


def window(label: str, name: str, steps: int, **options: Any) -> tuple[int, int]:
    """A range of steps, both ends included."""

    def convert(text: str) -> tuple[int, int]:
        first, last = text.split("-")
        return (int(first), int(last))

    found = recall(name, (0, steps - 1), convert)
    found = convert(found) if isinstance(found, str) else found
    first, last = sorted(min(max(int(v), 0), steps - 1) for v in found)
    _offer(name, (first, last), lambda value: 0 <= value[0] <= value[1] < steps)
    value = st.slider(label, 0, steps - 1, key=_key(name), **options)
    keep(name, f"{value[0]}-{value[1]}")
    return value


def select(label: str, name: str, options: Sequence[T], default: T | None = None, **more: Any) -> T:
    """One of several; options are compared by their text, as they stand in the address."""
    by_text = {str(option): option for option in options}
    wanted = str(recall(name, str(default if default is not None else options[0])))
    _offer(name, by_text.get(wanted, default if default is not None else options[0]), lambda value: value in options)
    value = st.selectbox(label, options, key=_key(name), **more)
    keep(name, value)
    return value


def sample(label: str, name: str, samples: Sequence[int], default: int, **options: Any) -> int:
    """A sample number, typed or stepped through."""
    low, high = int(min(samples)), int(max(samples))
    found = int(recall(name, default, int))
    _offer(name, found if low <= found <= high else default, lambda value: low <= value <= high)
    value = int(st.number_input(label, low, high, step=1, key=_key(name), **options))
    keep(name, value)
    return value


def many(label: str, name: str, options: Sequence[str], default: Sequence[str], **more: Any) -> list[str]:
    """Any number of several texts without commas."""
    wanted = [part for part in recall(name, ",".join(default)).split(",") if part in options]
    _offer(name, wanted or list(default), lambda values: all(value in options for value in values))
    found = st.multiselect(label, options, key=_key(name), **more)
    keep(name, ",".join(found))
    return found


def flag(label: str, name: str, default: bool, **options: Any) -> bool:
    """Yes or no."""
    _offer(name, recall(name, str(default)) == "True", lambda value: isinstance(value, bool))
    found = st.checkbox(label, key=_key(name), **options)
    keep(name, str(found))
    return found


def number(label: str, name: str, low: float, high: float, default: float, **options: Any) -> float:
    """A number, typed."""
    _offer(name, min(max(float(recall(name, default, float)), low), high), lambda value: low <= value <= high)
    found = float(st.number_input(label, low, high, key=_key(name), **options))
    keep(name, found)
    return found


def amount(label: str, name: str, low: float, high: float, default: float, step: float, **options: Any) -> float:
    """A slider over numbers."""
    _offer(name, min(max(float(recall(name, default, float)), low), high), lambda value: low <= value <= high)
    found = st.slider(label, low, high, step=step, key=_key(name), **options)
    keep(name, found)
    return found


def text(label: str, name: str, default: str, **options: Any) -> str:
    """A line of text."""
    _offer(name, recall(name, default), lambda value: isinstance(value, str))
    found = st.text_input(label, key=_key(name), **options)
    keep(name, found)
    return found


def snapshot() -> dict[str, Any]:
    """All choices as they are."""
    return dict(st.session_state.setdefault(_KEPT, {}))


def restore(choices: dict[str, Any]) -> None:
    """Makes the choices of a snapshot again; every widget shows them from the next run on."""
    st.session_state[_KEPT] = dict(choices)
    for key in [key for key in st.session_state if str(key).startswith(_key(""))]:
        del st.session_state[key]
    for name in [name for name in st.query_params if name not in choices]:
        del st.query_params[name]


def _key(name: str) -> str:
    return f"choose-{name}"


def _offer(name: str, value: Any, valid: Callable[[Any], bool]) -> None:
    """Puts a value under the widget's key unless a valid one is there."""
    key = _key(name)
    if key not in st.session_state or not valid(st.session_state[key]):
        st.session_state[key] = value
