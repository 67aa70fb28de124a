"""Work that takes its time is a generator: it yields the share done, in [0, 1], and returns its
result.

Whoever drives it may show the share, and stop between two yields.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def drive(work: Generator[float, None, T], report: Callable[[float], None] = lambda _: None) -> T:
    """Runs a piece of work to its end.

    Tells every share that it yields.
    """
    while True:
        try:
            share = next(work)
        except StopIteration as end:
            return end.value
        report(share)


def part(work: Generator[float, None, T], done: float, length: float) -> Generator[float, None, T]:
    """Work that is a part of a larger one.

    From ``done`` on ``length`` long: its shares in the larger one's terms.
    """
    while True:
        try:
            share = next(work)
        except StopIteration as end:
            return end.value
        yield done + length * share


def drive_under_bar(
    work: Generator[float, None, T],
    text: str | Callable[[], str],
    report: Callable[[float], None] = lambda _: None,
) -> T:
    """Runs a piece of work to its end under a bar.

    On the standard error, telling every share that it yields.

    ``text``: what it is; a function, if that changes on the way.
    """
    now = (lambda: text) if isinstance(text, str) else text
    with tqdm(total=100, unit="%", desc=now(), file=sys.stderr, mininterval=0.5) as bar:

        def show(share: float) -> None:
            bar.n = round(100 * share)
            bar.set_description(now(), refresh=False)
            bar.refresh()
            report(share)

        return drive(work, show)
