"""The commands for labels and ``export``, which exchange tables with other tools."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..cache.export import export_run
from ..cache.labels import accept_labels, export_labels, import_labels
from ..cache.layout import (
    home_folder,
    run_folder,
)
from ..cache.reading import open_run
from .result import Result


def labels_import(arguments: argparse.Namespace) -> Result:
    """Imports labels from a CSV, as a whole or not at all."""
    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    names = import_labels(run, Path(arguments.file), arguments.set)
    return Result(
        text=f"{arguments.set}: {', '.join(names)}", data={"set": arguments.set, "labels": names}
    )


def labels_accept(arguments: argparse.Namespace) -> Result:
    """Accepts a label set with the present contents of its file."""
    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    names = accept_labels(run, arguments.set)
    text = f"{arguments.set}: accepted as it is, with {', '.join(names)}"
    return Result(
        text=text
        if names
        else f"{arguments.set}: its file is missing, and hcache no longer expects it",
        data={"set": arguments.set, "labels": names},
    )


def labels_export(arguments: argparse.Namespace) -> Result:
    """Prints labels as CSV."""
    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    text = export_labels(run, arguments.set)
    return Result(text=text.rstrip("\n"), data={"csv": text})


def export(arguments: argparse.Namespace) -> Result:
    """Writes a table of labels and pooled activations, or a projector's folder."""
    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    out = export_run(run, Path(arguments.out), arguments.format, arguments.site, arguments.step)
    return Result(text=str(out), data={"out": str(out), "samples": len(run)})


def add_exchange(command: Any) -> None:
    """Adds the commands that read and write tables."""
    child = command(
        "labels-import",
        labels_import,
        "Add a set of labels from a CSV to a run, as a whole or not at all.",
    )
    child.add_argument("run_name", metavar="RUN")
    child.add_argument(
        "file",
        metavar="CSV",
        help="table with a column sample or seed, and one column for each label; an empty cell"
        " means no value",
    )
    child.add_argument(
        "--set", required=True, help="name of the set; a set of the same name is replaced"
    )
    child = command(
        "labels-accept",
        labels_accept,
        "Accept a label set whose file you edited by hand.",
    )
    child.add_argument("run_name", metavar="RUN")
    child.add_argument("--set", required=True, help="name of the set")
    child = command("labels-export", labels_export, "Print a run's labels as CSV.")
    child.add_argument("run_name", metavar="RUN")
    child.add_argument("--set", help="print only this set (default: all)")
    child = command("export", export, "Write labels and pooled activations for other tools.")
    child.add_argument("run_name", metavar="RUN")
    child.add_argument("out", metavar="OUT", help="file to write, or folder for the projector")
    child.add_argument(
        "--format", choices=("csv", "parquet", "projector"), default="csv", help="default: csv"
    )
    child.add_argument("--site", default="h", help="site: h, skip.1, ... (default: h)")
    child.add_argument("--step", type=int, help="step (default: the middle one)")
