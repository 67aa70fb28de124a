"""``python -m hcache bench``: the cost of hcache on this machine, as ratios to alternatives."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .progress import drive_with_bar
from .result import Result, table


def bench(arguments: argparse.Namespace) -> Result:
    """Measures, and returns the machine and a table of ratios."""
    from ..bench.machine import in_words
    from ..bench.setting import BenchSetting
    from ..bench.suite import bench as run_bench
    from ..bench.suite import check_names

    only = check_names(arguments.only or [])
    with tempfile.TemporaryDirectory(prefix="hcache-bench-", dir=arguments.work) as folder:
        setting = BenchSetting(
            work=Path(folder),
            quick=arguments.quick,
            rounds=1 if arguments.quick else arguments.rounds,
        )
        data = drive_with_bar(run_bench(setting, only), "measuring")
    head = (
        "what",
        "against",
        "ours",
        "theirs",
        "ratio (least to largest)",
        "in processor time",
        "aim",
        "on",
    )
    notes = [f"{row['name']}: {row['note']}" for row in data["rows"] if row["note"]]
    quick = "\nquick: the numbers of such a small measurement mean nothing" if data["quick"] else ""
    text = (
        f"{in_words(data['machine'])}{quick}\n\n{table(map(_cells, data['rows']), head)}\n\n"
        + "\n".join(notes)
    )
    return Result(text=text, data=data)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    found, aim = row["ratio"], "" if row["aim"] is None else f"{row['aim']:.3g}"
    if found is None:
        return (row["what"], row["against"], "", "", "not measured", "", aim, row["on"])
    verdict = {True: ", met", False: ", not met", None: ""}[row["met"]]
    spread = f" ({found['least']:.3g} to {found['largest']:.3g})" if found["rounds"] > 1 else ""
    sides = (f"{found[side]:.3g} {row['unit']}" for side in ("ours", "theirs"))
    processor = "" if found["processor"] is None else f"{found['processor']:.3g}"
    ratio = f"{found['ratio']:.3g}{spread}"
    return (row["what"], row["against"], *sides, ratio, processor, f"{aim}{verdict}", row["on"])


def add_bench(command: Any) -> None:
    """Adds its parser."""
    child = command(
        "bench",
        bench,
        "Measure the speed of hcache on this machine, as ratios to common alternatives.",
        home=False,
    )
    child.set_defaults(spins=True)  # the other side of a ratio is left as whoever runs it has it
    names = (
        "extraction, preview, edit, figure, reading, pca, memory, dashboard, allocator, neighbour"
        " or growth"
    )
    child.add_argument(
        "--only", action="append", metavar="NAME", help=f"{names}; repeat (default: all)"
    )
    child.add_argument(
        "--quick", action="store_true", help="make a very small measurement, to test the command"
    )
    child.add_argument(
        "--rounds", type=int, default=5, help="repetitions of every timing (default: 5)"
    )
    child.add_argument(
        "--work", metavar="FOLDER", help="folder for temporary files (default: the system's)"
    )
