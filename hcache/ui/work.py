"""Work that takes seconds, outside the script thread, with a button, a progress bar, a cancel, a
log, and a result that is kept.

A piece of work is a generator that yields the share that is done and returns its result. It runs in
a thread of this process, and can be stopped between two yields. Results are kept in the session by
their question.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Generator, Hashable
from time import monotonic
from typing import Any

import streamlit as st

from ..bounded import bytes_of
from ..errors import HcacheError, told_of
from .text import literal
from .watching import format_seconds

SESSION_BYTES = 2**27
"""The bytes for the results of one session. The last result is always kept."""

_ORDER = "results in order"


class PageWork:
    """One running piece of work."""

    def __init__(
        self, make: Callable[[], Generator[float, None, Any]], unit: tuple[str, int] | None = None
    ) -> None:
        self.unit = unit
        self.share, self.result, self.error = 0.0, None, ""
        self.begun, self.log = monotonic(), [f"{time.strftime('%H:%M:%S')} begun"]
        self._told, self._ended = 0.0, None
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._drive, args=(make,), daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the work is still being done."""
        return self._thread.is_alive()

    @property
    def cancelled(self) -> bool:
        """Whether it was asked to end."""
        return self._cancelled.is_set()

    @property
    def elapsed(self) -> float:
        """The seconds since it began, until its end."""
        return (self._ended or monotonic()) - self.begun

    def cancel(self) -> None:
        """Asks it to stop between two steps."""
        self._cancelled.set()

    def wait(self, seconds: float) -> bool:
        """Waits for its end, at most some seconds.

        Returns whether it has ended.
        """
        self._thread.join(seconds)
        return not self.running

    def remaining(self) -> str:
        """Returns ``43%, 8.6%/s, 7 s left``, or counts in units."""
        if self.cancelled:
            return "stopping after this step"
        if self.share <= 0:
            return f"starting, {self.elapsed:.0f} s"
        rate = self.share / max(self.elapsed, 1e-6)
        left = f"{format_seconds((1 - self.share) / rate)} left"
        if self.unit is None:
            return f"{self.share:.0%}, {100 * rate:.2g}%/s, {left}"
        name, total = self.unit
        return f"{self.share * total:.0f} of {total} {name}, {rate * total:.2g}/s, {left}"

    def _drive(self, make: Callable[[], Generator[float, None, Any]]) -> None:
        try:
            steps = make()
            while not self._cancelled.is_set():
                self.share = next(steps)
                self._tell()
            self._say(f"cancelled at {self.share:.0%}")
        except StopIteration as end:
            self.result = end.value
            self._say(f"done, {self.elapsed:.1f} s")
        except (HcacheError, OSError, MemoryError) as error:
            self.error = str(told_of(error))
            self._say(f"failed: {self.error}")
        except (
            Exception
        ) as error:  # an exception in a thread would be lost: show it, and log its place
            traceback.print_exc()
            self.error = (
                f"{type(error).__name__}: {error}. This error was not expected; the log"
                " shows where it occurred"
            )
            self._say(traceback.format_exc())
        finally:
            self._ended = monotonic()

    def _tell(self) -> None:
        """Writes a line to the log for every tenth that is done."""
        if self.share >= self._told + 0.1:
            self._told = self.share
            self._say(f"{self.share:.0%}")

    def _say(self, text: str) -> None:
        self.log.append(f"{time.strftime('%H:%M:%S')} {text}")


def run_button(
    label: str,
    name: str,
    question: Hashable,
    make: Callable[[], Generator[float, None, Any]],
    auto: bool = False,
    unit: tuple[str, int] | None = None,
    **options: Any,
) -> Any:
    """Draws the button, progress bar and cancel of a piece of work.

    Returns its result once there is one for ``question``.

    Args:
        label: The label of the button.
        name: The kind of work. Only one of each kind runs at a time.
        question: Everything that the result depends on. An existing result for it is shown
            immediately.
        make: Starts the work.
        auto: Whether it starts automatically, once for every question. The button starts it again.
        unit: The unit of counting, and the total. The bar then shows the rate.
        options: Options of the button.
    """
    works = st.session_state.setdefault("works", {})
    results = _results_of(st.session_state, name)
    notes = st.session_state.setdefault("notes", {})
    if name in works and not works[name][1].running:
        asked, work = works.pop(name)
        if work.result is not None:
            keep_result(st.session_state, name, asked, work.result)
        else:
            notes[name] = (asked, work)

    def begin() -> None:
        works[name] = (question, PageWork(make, unit))
        notes.pop(name, None)

    begun = st.session_state.setdefault(f"begun-{name}", set())
    if auto and name not in works and question not in results and question not in begun:
        begun.add(question)
        begin()
    busy = name in works
    known = question in results
    if busy:  # the bar replaces the button, so that the page below hardly moves
        _watch(name, label if auto else "")
    elif not (auto and known):
        st.button(
            label, key=f"run-{name}", type="primary", disabled=known, on_click=begin, **options
        )
    if not busy and name in notes and notes[name][0] == question:
        _say_what_became(notes[name][1])
    return results.get(question)


def _results_of(state: Any, name: str) -> dict[Hashable, Any]:
    """Returns the results of a kind of work in a session: question -> result."""
    return state.setdefault(f"results-{name}", {})


def keep_result(state: Any, name: str, question: Hashable, result: Any) -> None:
    """Keeps a result for a session.

    The oldest results are dropped if all exceed SESSION_BYTES.

    Args:
        state: The session's state, or another mapping.
        name: The kind of work.
        question: The question of the result.
        result: The result to keep.
    """
    order: dict[tuple[str, Hashable], int] = state.setdefault(_ORDER, {})
    order.pop((name, question), None)
    order[name, question] = bytes_of(result)
    _results_of(state, name)[question] = result
    while sum(order.values()) > SESSION_BYTES and len(order) > 1:
        old, answered = next(iter(order))
        del order[old, answered]
        _results_of(state, old).pop(answered, None)


def _say_what_became(work: PageWork) -> None:
    """Says what happened to work without a result: it was cancelled, or failed. Shows its log."""
    if work.error:
        said = literal(work.error.rstrip("."))
        st.error(
            f"{said}. Correct this, or press the button to try again.", icon=":material/error:"
        )
    else:
        st.info(
            f"Cancelled at {work.share:.0%}, after {format_seconds(work.elapsed)}. Press the button"
            " to start again.",
            icon=":material/cancel:",
        )
    _log(work)


def _log(work: PageWork) -> None:
    with st.expander("Log", icon=":material/article:"):
        st.code("\n".join(work.log), language=None, wrap_lines=True)


@st.fragment(run_every=0.5)
def _watch(name: str, label: str) -> None:
    _, work = st.session_state.get("works", {}).get(name, (None, None))
    if work is None or not work.running:
        st.rerun(scope="app")
    bar, button = st.columns([5, 1], vertical_alignment="center")
    bar.progress(
        min(work.share, 1.0), text=f"{label}: {work.remaining()}" if label else work.remaining()
    )
    if button.button(
        "Cancel", key=f"cancel-{name}", width="stretch", help="Stops after the current step."
    ):
        work.cancel()
    _log(work)
