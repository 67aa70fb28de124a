"""Runs long computations. Each is a generator that yields the share that is done, in [0, 1], and
returns its result.

The caller may show the share, and stop between two yields.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from tqdm import tqdm

from .thread_locks import ThreadLock

T = TypeVar("T")


class ProgressBar(tqdm):
    """A progress bar on standard error.

    It is redrawn at most twice a second. Its lock belongs to one process. The lock of tqdm itself
    is shared by a process and all that are forked from it. If one of them is killed while it draws,
    all others would wait for ever.

    Args:
        total: The number of units of the whole.
        unit: The name of the unit.
        title: The words before the bar.
    """

    monitor_interval = 0
    """No thread watches the bar. It would only adapt ``miniters``, which is fixed here."""

    def __init__(self, total: int, unit: str, title: str) -> None:
        super().__init__(
            total=total, unit=unit, desc=title, file=sys.stderr, mininterval=0.5, miniters=0
        )


ProgressBar.set_lock(ThreadLock())


def drive(work: Generator[float, None, T], report: Callable[[float], None] = lambda _: None) -> T:
    """Runs a computation to its end, and reports every share."""
    while True:
        try:
            share = next(work)
        except StopIteration as end:
            return end.value
        report(share)


def part(work: Generator[float, None, T], done: float, length: float) -> Generator[float, None, T]:
    """Returns a computation as a part of a larger one.

    The part is from ``done`` on and ``length`` long, and its shares are those of the larger one.
    """
    while True:
        try:
            share = next(work)
        except StopIteration as end:
            return end.value
        yield done + length * share


def one_by_one(works: Sequence[Generator[float, None, T]]) -> Generator[float, None, list[T]]:
    """Runs computations one after the other, and returns their results."""
    found = []
    for done, work in enumerate(works):
        found.append((yield from part(work, done / len(works), 1 / len(works))))
    return found


def in_turns(works: Sequence[Generator[float, None, T]]) -> Generator[float, None, list[T]]:
    """Runs computations in turns, one step of each.

    It returns their results in order. This is for computations that wait for results from
    elsewhere. If one fails, the others end.
    """
    shares, found = [0.0] * len(works), {}
    try:
        while len(found) < len(works):
            for number, work in enumerate(works):
                if number in found:
                    continue
                try:
                    shares[number] = next(work)
                except StopIteration as end:
                    found[number], shares[number] = end.value, 1.0
                yield sum(shares) / len(works)
    finally:
        for work in works:
            work.close()
    return [found[number] for number in range(len(works))]


def drive_under_bar(
    work: Generator[float, None, T],
    text: str | Callable[[], str],
    report: Callable[[float], None] = lambda _: None,
) -> T:
    """Runs a computation to its end under a progress bar.

    The bar is on standard error, and every share is reported. ``text`` is its title, or a function
    if the title changes.
    """
    now = (lambda: text) if isinstance(text, str) else text
    with ProgressBar(total=100, unit="%", title=now()) as bar:

        def show(share: float) -> None:
            bar.n = round(100 * share)
            bar.set_description(now(), refresh=False)
            bar.refresh()
            report(share)

        return drive(work, show)
