"""What the user has chosen, and the address that says it.

A link opens what it was copied from, and Back goes back. Streamlit's own
``bind="query-params"`` (tried with 1.67) does not do that: it replaces the entry of the browser's
history at every choice, so that Back leaves the page in place of taking a choice back; a link to
another page leaves out what is bound, so that a choice which both pages have is lost there; and
going to another page makes two entries, between which Back stops.

Choices are kept in the session under their own names, since Streamlit forgets a widget's value when
another page is shown. The address holds every choice that is not at its default, of all pages, so
that going to another page changes the path alone. It is written once a run of a page: every write
is an entry in the browser's history.

When a page begins, its address is either the one that this session left there, or another: a link
was opened, or the browser went back or forward. Then the address decides, and what it does not name
goes back to its default.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import streamlit as st

T = TypeVar("T")
_KEPT, _MEMORY = "kept", "address"
_WIDGET = "choose-"
RUN = "run"
"""The choice that every address of hcache has. An address without it is incomplete."""

STALE = 0.3
"""Seconds in which a browser may still tell the address as it was before the last write.

A press of Back that soon cannot be told from a button pressed on the page as it was. It is not
followed: a choice that was just made must not be undone by a button.
"""


LATE = 1.0
"""Seconds in which a browser may still tell the value that a widget had before a choice was made.

Every message of the browser brings the values of all widgets. One that was sent before the browser
had heard of a choice brings the old value, and Streamlit takes it for a new one.
"""


@dataclass
class _Memory:
    """The state of a session's address."""

    page: str = ""
    left: dict[str, str] | None = None
    """The address as the session left it; None before the first page."""
    before: dict[str, str] = field(default_factory=dict)
    written: float = 0.0
    offered: dict[str, str] = field(default_factory=dict)
    """What the address says of choices that no widget has asked for yet."""
    defaults: dict[str, str] = field(default_factory=dict)
    widgets: dict[str, Any] = field(default_factory=dict)
    drawn: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """The widget that showed each choice last: its page and its bounds."""
    replaced: dict[str, tuple[Any, float]] = field(default_factory=dict)
    """Of each choice that was made for the user: its widget's value before, and when."""
    since_links: set[str] = field(default_factory=set)
    """Choices made by parts of a page since its links were drawn; the links do not know of them."""
    gathering: bool = False
    """Whether a page is being run from its top, which ends with one write."""


def recall(name: str, default: Any, convert: Callable[[str], Any] = str) -> Any:
    """Returns a choice by name.

    It comes from this session, or from the address, or is ``default``.
    """
    if name in _kept():
        return _kept()[name]
    if name in _memory().offered:
        try:
            return convert(_memory().offered[name])
        except ValueError:
            pass
    return default


def keep(name: str, value: Any, default: Any = None) -> None:
    """Remembers a choice.

    The address contains it unless it is at its ``default``.
    """
    memory = _memory()
    _kept()[name] = value
    memory.offered.pop(name, None)
    if default is not None:
        memory.defaults[name] = str(default)
    _write_alone(name)


def choose(name: str, value: Any) -> None:
    """Makes a choice for the user.

    A click on a picture does so. The choice's widget shows it from the next run on.
    """
    _kept()[name] = value
    _memory().offered.pop(name, None)
    key = widget_key(name)
    if key in st.session_state:
        _memory().replaced[name] = (st.session_state.pop(key), time.monotonic())
    _write_alone(name)


def last_default(name: str) -> str | None:
    """Returns the default of a choice, which the address leaves out.

    It is the last default of its widget, or None before it was shown.
    """
    return _memory().defaults.get(name)


@contextmanager
def together() -> Iterator[None]:
    """Makes several choices one entry in the browser's history.

    They are the response to one action of the user.
    """
    memory = _memory()
    before, memory.gathering = memory.gathering, True
    kept = dict(_kept())
    try:
        yield
    finally:
        memory.gathering = before
        if not before and memory.left is not None and _kept() != kept:
            memory.since_links |= {
                name for name, value in _kept().items() if kept.get(name) != value
            }
            write()


def _write_alone(name: str) -> None:
    """Writes a choice that was made outside a full run of the page: by a fragment, or in response
    to a click.
    """
    memory = _memory()
    if not memory.gathering and memory.left is not None:
        memory.since_links.add(name)
        write()


def widget_key(name: str) -> str:
    """Returns the key of the widget of a choice."""
    return f"{_WIDGET}{name}"


def is_late(name: str, value: Any) -> bool:
    """Returns whether a widget's value is older than a choice.

    It is if it arrives within :data:`LATE` of the choice without another value in between. Such a
    value would show that the browser had received the choice.
    """
    replaced = _memory().replaced
    before, when = replaced.get(name, (None, -LATE))
    late = value == before and time.monotonic() - when < LATE
    if not late:
        replaced.pop(name, None)
    return late


def another_widget(name: str, bounds: tuple[float, ...]) -> bool:
    """Returns whether Streamlit treats a choice's widget as a new one.

    It compares it with the widget that showed the choice last.

    Args:
        name: The choice.
        bounds: For a slider: the smallest and the largest value, and the step if it has one.
    """
    memory = _memory()
    now = (memory.page, *bounds)
    another = memory.drawn.get(name) != now
    memory.drawn[name] = now
    return another


def snapshot() -> dict[str, Any]:
    """Returns all present choices."""
    return dict(_kept())


def restore(choices: dict[str, Any]) -> None:
    """Restores the choices of a snapshot.

    Every widget shows them from the next run on.
    """
    st.session_state[_KEPT] = dict(choices)
    _memory().offered = {}
    for key in [key for key in st.session_state if str(key).startswith(_WIDGET)]:
        del st.session_state[key]


def read(page: str) -> None:
    """Reads the choices in the address, at the start of a page.

    It does so only if the user went there from outside this session.
    """
    memory, address = _memory(), st.query_params.to_dict()
    if memory.left is None or _went(memory, page, address):
        spared = memory.since_links if page != memory.page else set()
        _adopt(memory, address, spared)
    memory.page, memory.left, memory.gathering = page, address, True


def write() -> None:
    """Writes the address, as one entry in the browser's history.

    It runs at the end of a page, or of a fragment that made a choice. If nothing changed, it writes
    nothing.
    """
    memory, there, address = _memory(), st.query_params.to_dict(), current()
    said = {
        name: value
        for name, value in there.items()
        if name == RUN or memory.defaults.get(name) != value
    }
    if said != address:  # an address may contain defaults too
        memory.before, memory.written = there, time.monotonic()
        st.query_params.from_dict(address)
    memory.left = st.query_params.to_dict()
    memory.widgets = _widgets()


def end() -> None:
    """Finishes a page after its links were drawn."""
    write()
    memory = _memory()
    memory.gathering = False
    memory.since_links = set()


def current() -> dict[str, str]:
    """Returns the address of the present choices, for links."""
    memory = _memory()
    made = {
        name: str(value)
        for name, value in _kept().items()
        if str(value) != ("" if name == RUN else memory.defaults.get(name))
    }
    return {**memory.offered, **made}


def _went(memory: _Memory, page: str, address: dict[str, str]) -> bool:
    """Returns whether the user went to this address, instead of acting on the shown page.

    Any action on a widget comes with the address of a moment before, which is not a step back.
    """
    if page != memory.page:
        return bool(address)
    if address == memory.left or (
        address == memory.before and time.monotonic() - memory.written < STALE
    ):
        return False
    now = _widgets()
    return all(now[key] == value for key, value in memory.widgets.items() if key in now)


def _adopt(memory: _Memory, address: dict[str, str], spared: set[str]) -> None:
    kept = _kept()
    names = set(address) | (set(kept) | set(memory.offered) if RUN in address else set())
    for name in names - spared:
        memory.offered.pop(name, None)
        default = memory.defaults.get(name)
        if name in kept and str(kept[name]) == address.get(name, default):
            continue
        kept.pop(name, None)
        st.session_state.pop(widget_key(name), None)
        if name in address:
            memory.offered[name] = address[name]


def _widgets() -> dict[str, Any]:
    return {
        str(key): st.session_state[key] for key in st.session_state if str(key).startswith(_WIDGET)
    }


def _kept() -> dict[str, Any]:
    return st.session_state.setdefault(_KEPT, {})


def _memory() -> _Memory:
    return st.session_state.setdefault(_MEMORY, _Memory())
