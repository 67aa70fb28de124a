"""Two or more ways to do the same, measured side by side: one after the other, again and again.

Whatever else the machine does meanwhile then falls on all of them alike, and a ratio means
something where the times themselves do not. What is told is the median of every way, and the
median, least and largest of the ratios that the rounds gave; and beside it the ratio of processor
time, which others on the machine hardly change, but which knows nothing of waiting for a disk.
"""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from ..errors import HcacheError


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, and of the processor.

    Of all threads of the process together.
    """

    clock: float
    processor: float


Timed = Mapping[str, list[Spent]]
"""Way -> what it took, a round each."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How one way compares with another.

    Medians of both in their unit, and the ratio's median, least and largest over rounds.
    ``processor``: the median ratio of processor time; None of what is not a time.
    """

    ours: float
    theirs: float
    ratio: float
    least: float
    largest: float
    rounds: int
    processor: float | None = None

    @classmethod
    def of(cls, timed: Timed, ours: str, theirs: str) -> Ratio:
        """Of times."""
        pairs = list(zip(timed[ours], timed[theirs], strict=True))
        found = cls.of_numbers(
            [spent.clock for spent in timed[ours]], [spent.clock for spent in timed[theirs]]
        )
        return replace(found, processor=median(a.processor / b.processor for a, b in pairs))

    @classmethod
    def of_numbers(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
        """Of bytes, say; a round each."""
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        return cls(
            ours=median(ours),
            theirs=median(theirs),
            ratio=median(ratios),
            least=min(ratios),
            largest=max(ratios),
            rounds=len(ratios),
        )


class Clock:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._clock, self._processor = time.perf_counter(), time.process_time()

    def read(self) -> Spent:
        """Returns what was spent since the start."""
        return Spent(time.perf_counter() - self._clock, time.process_time() - self._processor)


def interleaved(
    ways: Mapping[str, Callable[[], Any]], rounds: int
) -> Generator[float, None, Timed]:
    """Every way once unmeasured, then all in turn, ``rounds`` times.

    Every other round in the opposite order.
    """
    timed: dict[str, list[Spent]] = {way: [] for way in ways}
    for way in ways.values():
        way()
    for number in range(rounds):
        for name in list(ways) if number % 2 == 0 else reversed(list(ways)):
            clock = Clock()
            ways[name]()
            timed[name].append(clock.read())
        yield (number + 1) / rounds
    return timed


def in_child(task: str, **arguments: Any) -> dict[str, Any]:
    """What a task finds in a process of its own.

    A task of :mod:`hcache.bench.child`; the memory is its alone.

    Raises:
        HcacheError: it failed; the message has its last words.
    """
    command = [sys.executable, "-m", "hcache.bench.child", task, json.dumps(arguments)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise HcacheError(f"the benchmark's process for {task} failed: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def peak() -> float:
    """The most memory that this process ever held, in MB.

    Of a process that was forked ``ru_maxrss`` counts what its parent held then, even when it has
    become another program since; Linux tells of the program alone elsewhere.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
