"""``python -m hcache measure`` and ``compare``: the measures of a run, and several runs side by side."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..cache.labels import named_labels
from ..cache.layout import home_folder, run_folder
from ..cache.reading import Run, open_run
from ..cards import find_card
from ..errors import UsageError
from .commands import Result, table
from .progress import drive_with_bar

WHAT = ("decodability", "directions", "swaps")
STEPS = 5
"""Steps that decodability is measured at, evenly spread, beside the one whose signal and noise are nearest equal."""


def measure(arguments: argparse.Namespace) -> Result:
    """Measures a run; what is stored already is looked up."""
    from ..measures.verdict import verdict

    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    labels = _labels(run, arguments.label or [])
    what = arguments.what or list(WHAT)
    if "decodability" in what:
        _decodability(run, labels)
    if "directions" in what or "swaps" in what:
        _edits(run, what, labels, arguments)
    cells = verdict(run)
    rows = [(f"{question} {subject}", str(cell)) for (question, subject), cell in cells.items()]
    return Result(text=table(rows, ("question", "answer (95 % interval)")), data=_data(cells))


def _labels(run: Run, wanted: Sequence[str]) -> list[str]:
    known = list(named_labels(run))
    if not known:
        raise UsageError(f"run {run.name} has no labels to measure by; import some with labels-import")
    for name in wanted:
        if name not in known:
            raise UsageError(f"no label {name!r} in {run.name}; there are {', '.join(known)}")
    return list(wanted) or known


def _decodability(run: Run, labels: Sequence[str]) -> None:
    import numpy as np

    from ..measures.decodability import decodability
    from ..measures.verdict import middle_step

    spread = {int(s) for s in np.linspace(0, run.spec.steps - 1, min(STEPS, run.spec.steps)).round()}
    steps = sorted(spread | {middle_step(run, range(run.spec.steps))})
    sites = [site for site in ("h", "x") if site == "x" or run.policy("h") == "full"]
    drive_with_bar(decodability(run, labels, sites, steps), "decodability")


def _edits(run: Run, what: Sequence[str], labels: Sequence[str], arguments: argparse.Namespace) -> None:
    """Whatever renders: directions fitted to the readings' top against bottom, and swaps."""
    from ..directions.supervised import both_ends, difference_direction
    from ..edits.window import Window
    from ..extract import load_model_of
    from ..measures.responses import Driver, Grid, direction
    from ..measures.swapping import Pairs, swaps
    from ..readers import find_reader

    reader = find_card(run.spec.model).reader
    if not reader:
        raise UsageError(f"{run.spec.model} has no attribute reader: directions and swaps are measured by one")
    driver = Driver(load_model_of(run, arguments.device), run, find_reader(reader), reader)
    window, tried = Window(first=0, last=run.spec.steps - 1), run.sample_ids[: arguments.samples].tolist()
    readings = run.labels[reader]
    for name in [label for label in labels if label in readings] if "directions" in what else ():
        rest = [int(sample) for sample in run.sample_ids if sample not in tried]
        values = readings[name].copy()
        values[[run.position(sample) for sample in tried]] = float("nan")  # what is tried has no part in the fit
        move = difference_direction(run, *both_ends(run, values, max(2, len(rest) // 4)))
        work = direction(driver, move, Grid(samples=tuple(tried), window=window), name=name, nulls=arguments.nulls,
                         null=arguments.null)  # fmt: skip
        drive_with_bar(work, f"direction of {name}")
    if "swaps" in what:
        drive_with_bar(swaps(driver, Pairs.draw(run.sample_ids.tolist(), arguments.samples), window), "swaps")


def compare(arguments: argparse.Namespace) -> Result:
    """What was measured on several runs, side by side."""
    from ..measures.verdict import compare as side_by_side
    from ..measures.verdict import ranking

    home = home_folder(arguments.home)
    runs = [open_run(run_folder(home, name)) for name in dict.fromkeys(arguments.run_names)]
    found = side_by_side(runs)
    if not found:
        raise UsageError("nothing was measured on these runs yet; `python -m hcache measure RUN` does")
    rows, data = [], []
    for (question, subject), cells in found.items():
        order = [list(group) for group in ranking(cells)]
        answers = [str(cells[run.name].estimate) if run.name in cells else "not measured" for run in runs]
        rows.append((f"{question} {subject}", *answers, _in_words(order, [run.name for run in runs])))
        by_run = {name: asdict(cell.estimate) | {"p": cell.p} for name, cell in cells.items()}
        data.append({"question": question, "subject": subject, "ranking": order, "cells": by_run})
    letters = [f"{chr(65 + i)}" for i in range(len(runs))]
    head = "\n".join(f"{letter}: {run.name}" for letter, run in zip(letters, runs, strict=True))
    return Result(text=f"{head}\n{table(rows, ('question', *letters, 'larger'))}", data=data)


def _in_words(groups: Sequence[Sequence[str]], names: Sequence[str]) -> str:
    """``B > A``; nothing where intervals overlap or there is one only."""
    if len(groups) < 2:
        return ""
    return " > ".join(" = ".join(chr(65 + names.index(name)) for name in group) for group in groups)


def _data(cells: Mapping[tuple[str, str], Any]) -> list[dict[str, Any]]:
    return [
        {"question": question, "subject": subject, "estimate": asdict(cell.estimate), "p": cell.p, "note": cell.note}
        for (question, subject), cell in cells.items()
    ]


def add_measures(command: Any) -> None:
    """The parsers of both."""
    child = command("measure", measure, "Measure a run: decodability, directions, swaps; each with interval and null.")
    child.add_argument("run_name", metavar="RUN")
    child.add_argument("--what", action="append", choices=WHAT, help="repeat (default: all)")
    child.add_argument("--label", action="append", help="repeat (default: all)")
    child.add_argument("--samples", type=int, default=16, help="samples that edits are tried on (default: 16)")
    child.add_argument("--nulls", type=int, default=8, help="random directions beside each (default: 8)")
    child.add_argument("--null", choices=("noise", "samples"), default="samples",
                       help="noise in h, or differences of random samples, harder to beat (default)")  # fmt: skip
    child.add_argument("--device", default="auto", help="to compute on (default: the best there is)")
    child = command("compare", compare, "Runs side by side: what was measured on them, ranked only where it may be.")
    child.add_argument("run_names", metavar="RUN", nargs="+")
