"""Work that takes seconds, off the script thread: a button, a bar, a cancel, a result that stays.

A piece of work is a generator that yields the share done and returns its result. It runs in a thread of this
process and is stopped between two yields. Results are kept for the session, by what was asked for.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Generator, Hashable
from typing import Any

import streamlit as st

from ..errors import HcacheError

KEPT_RESULTS = 8


class Work:
    """One piece of work on its way."""

    def __init__(self, make: Callable[[], Generator[float, None, Any]], unit: tuple[str, int] | None = None) -> None:
        self.unit = unit
        self.share, self.result, self.error = 0.0, None, ""
        self.begun = time.monotonic()
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._drive, args=(make,), daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self) -> None:
        self._cancelled.set()

    def remaining(self) -> str:
        if self.share <= 0:
            return "starting"
        taken = time.monotonic() - self.begun
        left = taken * (1 - self.share) / self.share
        if not self.unit:
            return f"{self.share:.0%}, {left:.0f} s left"
        name, total = self.unit
        done = self.share * total
        return f"{done:.0f} of {total} {name}, {done / taken:.2g} a second, {left:.0f} s left"

    def _drive(self, make: Callable[[], Generator[float, None, Any]]) -> None:
        try:
            steps = make()
            while not self._cancelled.is_set():
                self.share = next(steps)
        except StopIteration as end:
            self.result = end.value
        except HcacheError as error:
            self.error = str(error)
        except Exception as error:  # a thread's exception would be lost: show it, and log where it came from
            traceback.print_exc()
            self.error = f"{type(error).__name__}: {error}"


def run_button(
    label: str,
    name: str,
    question: Hashable,
    make: Callable[[], Generator[float, None, Any]],
    auto: bool = False,
    unit: tuple[str, int] | None = None,
    **options: Any,
) -> Any:
    """The button, bar and cancel of a piece of work; returns its result once there is one for ``question``.

    Args:
        label: On the button.
        name: Of the kind of work: one at a time of each.
        question: All that the result depends on. A result for it is shown without asking again.
        make: Starts the work.
        auto: Begin by itself, once for every question; the button is there to begin again.
        unit: What is counted, and how many of it there are: the bar then says how fast it goes.
        options: Of the button.
    """
    works = st.session_state.setdefault("works", {})
    results = st.session_state.setdefault(f"results-{name}", {})
    notes = st.session_state.setdefault("notes", {})
    if name in works and not works[name][1].running:
        asked, work = works.pop(name)
        if work.result is not None:
            results[asked] = work.result
            while len(results) > KEPT_RESULTS:
                del results[next(iter(results))]
        elif work.error:
            notes[name] = (asked, work.error)

    def begin() -> None:
        works[name] = (question, Work(make, unit))
        notes.pop(name, None)

    begun = st.session_state.setdefault(f"begun-{name}", set())
    if auto and name not in works and question not in results and question not in begun:
        begun.add(question)
        begin()
    busy = name in works
    idle = busy or question in results
    if not (auto and idle):
        st.button(label, key=f"run-{name}", type="primary", disabled=idle, on_click=begin, **options)
    if busy:
        _watch(name, label if auto else "")
    elif name in notes and notes[name][0] == question:
        st.error(notes[name][1])
    return results.get(question)


@st.fragment(run_every=0.5)
def _watch(name: str, label: str) -> None:
    _, work = st.session_state.get("works", {}).get(name, (None, None))
    if work is None or not work.running:
        st.rerun(scope="app")
    bar, button = st.columns([5, 1], vertical_alignment="center")
    bar.progress(min(work.share, 1.0), text=f"{label}: {work.remaining()}" if label else work.remaining())
    if button.button("Cancel", key=f"cancel-{name}", width="stretch"):
        work.cancel()
