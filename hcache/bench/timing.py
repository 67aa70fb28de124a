"""Compares ways to do the same by running them in turn, again and again.

Other work on the machine then affects all ways alike, so ratios are meaningful even if the times
are not. The result has the median of every way, and the median, least and largest ratio over
rounds. It also has the ratio of processor time. Other processes hardly change that ratio, but it
does not include waiting for a disk.
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

    Processor time is that of all threads of the process together.
    """

    clock: float
    processor: float


Timed = Mapping[str, list[Spent]]
"""Way -> what it took, for each round."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How one way compares with another.

    It has the medians of both in their unit, and the ratio's median, least and largest over rounds.
    ``processor``: the median ratio of processor time, or None if the values are not times.
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
        """Compares times."""
        pairs = list(zip(timed[ours], timed[theirs], strict=True))
        found = cls.of_numbers(
            [spent.clock for spent in timed[ours]], [spent.clock for spent in timed[theirs]]
        )
        return replace(found, processor=median(a.processor / b.processor for a, b in pairs))

    @classmethod
    def of_numbers(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
        """Compares numbers such as bytes, one per round."""
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
    """A clock that runs from its creation."""

    def __init__(self) -> None:
        self._clock, self._processor = time.perf_counter(), time.process_time()

    def read(self) -> Spent:
        """Returns what was spent since the start."""
        return Spent(time.perf_counter() - self._clock, time.process_time() - self._processor)


def interleaved(
    ways: Mapping[str, Callable[[], Any]], rounds: int
) -> Generator[float, None, Timed]:
    """Runs every way once unmeasured, then all in turn, ``rounds`` times.

    Every other round has the opposite order.
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
    """Runs a task in a separate process and returns its results.

    It is a task of :mod:`hcache.bench.child`. The memory is that of this process only.

    Raises:
        HcacheError: the task failed. The message has its last output.
    """
    command = [sys.executable, "-m", "hcache.bench.child", task, json.dumps(arguments)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise HcacheError(f"the benchmark's process for {task} failed: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def peak() -> float:
    """Returns the peak memory of this process in MB.

    For a forked process, ``ru_maxrss`` includes what its parent held at the fork, even if the
    process runs another program since. Linux gives the program's own value elsewhere.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
