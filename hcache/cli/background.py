"""``python -m hcache background``: does a piece of work that is described on the standard input.

That is how the dashboard starts what goes on beside it. The description is JSON with the fields
``home``, ``run``, ``kind``, ``order`` and ``folder``. It is checked as one of a closed set of
kinds, and names no file to write: the status file follows from folder and kind.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..background.kinds import (
    EXTRACT,
    FIT,
    IMPORT,
    MEASURE,
    READ,
    Extraction,
    Fitting,
    Importing,
    Measuring,
    Reading,
    Work,
    read_work,
)
from ..background.processes import COMMAND
from ..background.tasks import status_path, task_id
from ..cache.layout import TASKS, new_run_folder, run_folder
from ..cache.reading import open_run
from ..cards import check_weights
from ..errors import UsageError
from ..readers.clicks import PIXELS
from .commands import Result, run_job
from .directions import fit_and_save, import_and_save
from .measures import measure_run
from .progress import reported
from .readers import describe, keep_and_read

MOST_BYTES = 2**28


def background(_: argparse.Namespace) -> Result:
    """Does the work that the standard input describes, and keeps its status file."""
    folder, work = read_order(sys.stdin.buffer.read(MOST_BYTES))
    with reported(str(status_path(folder, task_id(work)))):
        return DOERS[work.kind](work, folder)


def read_order(text: bytes) -> tuple[Path, Work]:
    """The run's folder and the work of a description.

    ``folder`` is the folder's name, ``run`` if it is not given. An extraction asks for a run by its
    own name, and a user may have renamed its folder.

    Raises:
        UsageError: it is none; the message says what is wrong.
        UnknownRunError: there is no such run.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"`background` reads JSON from its standard input: {error}") from error
    names = ("home", "run", "kind", "order", "folder")
    if isinstance(data, dict):
        data.setdefault("folder", data.get("run"))
    if (
        not isinstance(data, dict)
        or set(data) != set(names)
        or not all(isinstance(data[n], str) for n in names if n != "order")
    ):
        raise UsageError(
            f"`background` reads an object of {', '.join(names)} from its standard input"
        )
    work, home = read_work(data["kind"], data["run"], data["order"]), Path(data["home"])
    if work.kind == EXTRACT:
        return new_run_folder(home, data["folder"]), work
    if data["folder"] != work.run:
        raise UsageError(f"the work is for {work.run}, not for {data['folder']}; start it anew")
    return run_folder(home, work.run), work


def _extract(work: Extraction, folder: Path) -> Result:
    check_weights(work.spec)
    return run_job(work.spec, folder.parent.parent, "auto", folder=folder)


def _fit(work: Fitting, folder: Path) -> Result:
    return fit_and_save(open_run(folder), work.what, work.name)


def _import(work: Importing, folder: Path) -> Result:
    run = open_run(folder)
    paths = [run.folder / TASKS / work.folder / file for file in work.files]
    if linked := [path for path in (paths[0].parent, *paths) if path.is_symlink()]:
        raise UsageError(f"{linked[0]} is a link; choose the files again")
    return import_and_save(run, paths, work.name)


def _measure(work: Measuring, folder: Path) -> Result:
    return measure_run(
        open_run(folder), work.what, work.labels, work.samples, work.nulls, reader=work.reader
    )


def _read(work: Reading, folder: Path) -> Result:
    run = open_run(folder)
    if not work.form:
        return keep_and_read(run, work.name, None)
    encoder = work.encoder or PIXELS
    return keep_and_read(
        run, work.name, describe(run, work.form, work.source, work.attributes, encoder=encoder)
    )


DOERS: Mapping[str, Callable[[Any, Path], Result]] = {
    EXTRACT: _extract,
    FIT: _fit,
    IMPORT: _import,
    MEASURE: _measure,
    READ: _read,
}
"""Who does a kind of work; a test holds it to all that there are."""


def add_background(command: Any) -> None:
    """The command's parser; ``command`` makes one."""
    text = "Do a piece of work that is described on standard input; the dashboard starts it."
    command(COMMAND, background, text, home=False)
