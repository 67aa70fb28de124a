"""Work while another process, such as a browser, keeps one of two cores busy.

Both sides are separate processes on the same two cores, however many cores the machine has.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from ..errors import HcacheError
from .setting import BenchRow, BenchSetting
from .timing import Clock, Ratio, Spent, in_child

CORES = 2
BUSY = "import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1].split(',')))\nwhile True: pass"

ALONE, BESIDE = "as it is, alone", "as it is, beside"
BEFORE, BEFORE_BESIDE = "threads, alone", "threads, beside"
WAYS = {
    ALONE: (False, False),
    BESIDE: (False, True),
    BEFORE: (True, False),
    BEFORE_BESIDE: (True, True),
}
"""Way -> (whether OpenMP's threads divide every operation and spin, as PyTorch has it; whether a
core is busy).
"""


COMMANDS = {
    "a fit (PCA)": ("direction", "fit", "RUN", "--method", "pca", "--option", "count=10"),
    "a measure (decodability)": ("measure", "RUN", "--what", "decodability"),
    "renders (swaps)": ("measure", "RUN", "--what", "swaps", "--samples", "PAIRS"),
}
"""Other work in the background -> its command, which is timed as a whole."""


def neighbour(setting: BenchSetting) -> Generator[float, None, list[BenchRow]]:
    """Times extraction alone and beside a busy process.

    It does the same for other work in the background.
    """
    if not hasattr(os, "sched_setaffinity"):
        note = "not measured: this system cannot hold a process to some cores"
        return [
            BenchRow(
                name="neighbour",
                what="extraction beside a busy process",
                against="alone",
                note=note,
            )
        ]
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    found: dict[str, list[Spent]] = {way: [] for way in WAYS}
    for number in range(setting.rounds):
        for way in list(WAYS) if number % 2 == 0 else reversed(WAYS):
            found[way].append(_extract(setting, f"{way}-{number}", cores, *WAYS[way]))
        yield (number + 1) / setting.rounds
    on = (
        f"extraction, {len(cores)} cores" if len(cores) > 1 else "extraction, the one core there is"
    )
    threads = "the same with PyTorch's threads in every operation, which spin"
    background = _background(setting, cores)
    return [
        BenchRow(
            name="neighbour",
            what=f"{on}, one of them busy",
            against="the same alone",
            aim=1.8,
            ratio=Ratio.of(found, BESIDE, ALONE),
        ),
        BenchRow(
            name="alone",
            what=f"{on}, alone",
            against=threads,
            aim=1.1,
            ratio=Ratio.of(found, ALONE, BEFORE),
        ),
        BenchRow(
            name="neighbour, threads",
            what=threads,
            against="that alone",
            ratio=Ratio.of(found, BEFORE_BESIDE, BEFORE),
            note="for comparison: what extraction took before it was computed in parts",
        ),
        *background,
    ]


def _background(setting: BenchSetting, cores: Sequence[int]) -> list[BenchRow]:
    """Times commands that compute in the background, alone and beside a busy process.

    Each begins from a copy of one run, because stored results are not computed again.
    """
    home, on = setting.work / "background", f"{len(cores)} cores"
    run = in_child(
        "extract",
        home=str(home),
        samples=setting.size(64, 12),
        steps=setting.size(20, 2),
        batch=setting.size(8, 2),
    )["run"]
    rows = []
    for what, command in COMMANDS.items():
        names = {"RUN": run, "PAIRS": str(setting.size(4, 2))}
        words = [names.get(word, word) for word in command]
        found: dict[str, list[Spent]] = {ALONE: [], BESIDE: []}
        for number in range(setting.rounds):
            for way in list(found) if number % 2 == 0 else reversed(list(found)):
                with busy(cores) if way == BESIDE else contextlib.nullcontext():
                    found[way].append(_command(words, home, cores))
        rows.append(
            BenchRow(
                name=f"neighbour, {what.split(' (')[0]}",
                what=f"{what}, {on}, one of them busy",
                against="the same alone",
                aim=1.8,
                ratio=Ratio.of(found, BESIDE, ALONE),
            )
        )
    return rows


def _command(words: Sequence[str], home: Path, cores: Sequence[int]) -> Spent:
    """Times a whole command of hcache on a copy of a home, on some cores.

    Raises:
        HcacheError: the command failed. The message has its last output.
    """
    copy = home.with_name("copy")
    shutil.copytree(home, copy)
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), Clock()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "hcache", *words, "--home", str(copy)],
            capture_output=True,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        spent, after = clock.read(), resource.getrusage(resource.RUSAGE_CHILDREN)
    finally:
        shutil.rmtree(copy)
    if done.returncode:
        raise HcacheError(f"{' '.join(words)} failed: {done.stderr.strip()[-500:]}")
    return Spent(spent.clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def _extract(
    setting: BenchSetting, name: str, cores: Sequence[int], threads: bool, beside: bool
) -> Spent:
    home = setting.work / name.replace(", ", "-").replace(" ", "-")
    with busy(cores) if beside else contextlib.nullcontext():
        found = in_child(
            "extract",
            home=str(home),
            samples=setting.size(16, 2),
            steps=setting.size(20, 2),
            batch=setting.size(8, 2),
            cores=list(cores),
            threads=threads,
        )
    return Spent(**found["spent"])


@contextlib.contextmanager
def busy(cores: Sequence[int]) -> Iterator[None]:
    """Starts a process that uses as much as it can get.

    It runs on one of these cores.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY, ",".join(map(str, cores))], cwd=Path(__file__).parent
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()
