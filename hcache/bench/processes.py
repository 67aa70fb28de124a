"""Measurements in separate processes: peak memory, start-up, and the allocator's settings."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from .planted import planted_run
from .setting import BenchRow, BenchSetting
from .timing import Ratio, Spent, Timed, in_child

COMPONENTS = 10


def components(setting: BenchSetting) -> Generator[float, None, list[BenchRow]]:
    """Compares joint PCA over all steps with scikit-learn's.

    hcache reads its cache. scikit-learn has the array in memory.
    """
    from scipy.linalg import subspace_angles

    samples, steps = setting.size(2000, 40), setting.size(20, 2)
    run = planted_run(
        setting.work, samples, steps, (128, 8, 8) if not setting.quick else (8, 4, 4), 8
    )
    yield 0.2
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
    rounds = max(1, setting.rounds // 2)
    for number in range(rounds):
        for way, task in (("ours", "pca_cached"), ("theirs", "pca_sklearn")):
            out = str(setting.work / f"{way}.npy")
            found[way].append(in_child(task, folder=str(run.folder), count=COMPONENTS, out=out))
        yield 0.2 + 0.75 * (number + 1) / rounds
    import numpy as np

    ours, theirs = (np.load(setting.work / f"{way}.npy").T for way in ("ours", "theirs"))
    angle = float(subspace_angles(ours, theirs).max())
    what = f"joint PCA of {samples} x ({steps} x {run.width('h')}), {COMPONENTS} components"
    against = "scikit-learn's PCA (randomised) on the array in memory"
    note = f"largest principal angle between the two subspaces {angle:.1g}"
    return [
        BenchRow(
            name="PCA, time",
            what=what,
            against=against,
            aim=0.5,
            ratio=_times(found),
            note=f"{note}; ours reads the run, theirs has it in memory",
        ),
        BenchRow(
            name="PCA, memory", what=what, against=against, aim=0.5, unit="MB", ratio=_peaks(found)
        ),
    ]


def memory(setting: BenchSetting) -> Generator[float, None, list[BenchRow]]:
    """Measures that peak memory of extraction does not grow with samples."""
    few, many = setting.size(64, 4), setting.size(1024, 12)
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
    for way, samples in (("theirs", few), ("ours", many)):
        home = str(setting.work / way)
        found[way].append(
            in_child("extract", home=home, samples=samples, steps=2, batch=setting.size(8, 2))
        )
        yield 0.1 if way == "theirs" else 1.0
    return [
        BenchRow(
            name="memory",
            what=f"peak memory of extraction, {many} samples",
            unit="MB",
            aim=1.1,
            against=f"{few} samples",
            ratio=_peaks(found),
            note="2 steps each, h stored",
        )
    ]


def dashboard(setting: BenchSetting) -> Generator[float, None, list[BenchRow]]:
    """Times the dashboard from the process's start to the first page.

    The time ends with the first run of the page's script.
    """
    home = setting.work / "home"
    planted_run(home, 16, 2, (4, 4, 4), 8)
    timed = yield from _children(
        {
            "ours": lambda: in_child("page", page="dashboard.py", home=str(home)),
            "theirs": lambda: in_child("page", page="hello", home=str(home)),
        },
        setting.rounds,
    )
    return [
        BenchRow(
            name="dashboard",
            what="import of the dashboard, first page without a model",
            aim=2.0,
            against="bare streamlit hello page",
            ratio=Ratio.of(timed, "ours", "theirs"),
        )
    ]


def allocator(setting: BenchSetting) -> Generator[float, None, list[BenchRow]]:
    """Compares keeping freed memory in the process with glibc's defaults."""
    calls = setting.size(8, 1)
    timed = yield from _children(
        {
            "ours": lambda: in_child("network", calls=calls, kept=True),
            "theirs": lambda: in_child("network", calls=calls, kept=False),
        },
        max(1, setting.rounds - 2),
    )
    return [
        BenchRow(
            name="allocator",
            what="the U-Net, batch 8, freed memory kept (as in all rows above)",
            against="the U-Net with glibc's defaults",
            ratio=Ratio.of(timed, "ours", "theirs"),
        )
    ]


def _children(
    ways: dict[str, Callable[[], dict[str, Any]]], rounds: int
) -> Generator[float, None, Timed]:
    """Does the same as ``interleaved`` for processes that time themselves."""
    timed: dict[str, list[Spent]] = {way: [] for way in ways}
    for number in range(rounds):
        for name in list(ways) if number % 2 == 0 else reversed(ways):
            timed[name].append(Spent(**ways[name]()["spent"]))
        yield (number + 1) / rounds
    return timed


def _times(found: dict[str, list[dict[str, Any]]]) -> Ratio:
    return Ratio.of(
        {way: [Spent(**one["spent"]) for one in runs] for way, runs in found.items()},
        "ours",
        "theirs",
    )


def _peaks(found: dict[str, list[dict[str, Any]]]) -> Ratio:
    return Ratio.of_numbers(*([one["peak"] for one in found[way]] for way in ("ours", "theirs")))
