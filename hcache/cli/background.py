"""``python -m hcache background``: does a piece of work that is described on the standard input.

That is how the dashboard starts what goes on beside it. The description is JSON with the fields
``home``, ``run``, ``kind`` and ``order``. It is checked as one of a closed set of kinds, and names
no file to write: the status file follows from run and kind.
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
from ..cache.reading import Run, open_run
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
    home, work = read_order(sys.stdin.buffer.read(MOST_BYTES))
    folder = new_run_folder(home, work.run) if work.kind == EXTRACT else run_folder(home, work.run)
    with reported(str(status_path(folder, task_id(work)))):
        return DOERS[work.kind](work, home)


def read_order(text: bytes) -> tuple[Path, Work]:
    """The home and the work of a description.

    Raises:
        UsageError: it is none; the message says what is wrong.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"`background` reads JSON from its standard input: {error}") from error
    names = ("home", "run", "kind", "order")
    if (
        not isinstance(data, dict)
        or set(data) != set(names)
        or not all(isinstance(data[n], str) for n in names[:3])
    ):
        raise UsageError(
            f"`background` reads an object of {', '.join(names)} from its standard input"
        )
    return Path(data["home"]), read_work(data["kind"], data["run"], data["order"])


def _extract(work: Extraction, home: Path) -> Result:
    check_weights(work.spec)
    return run_job(work.spec, home, "auto")


def _fit(work: Fitting, home: Path) -> Result:
    return fit_and_save(_run(work, home), work.what, work.name)


def _import(work: Importing, home: Path) -> Result:
    run = _run(work, home)
    paths = [run.folder / TASKS / work.folder / file for file in work.files]
    if linked := [path for path in (paths[0].parent, *paths) if path.is_symlink()]:
        raise UsageError(f"{linked[0]} is a link; choose the files again")
    return import_and_save(run, paths, work.name)


def _measure(work: Measuring, home: Path) -> Result:
    return measure_run(_run(work, home), work.what, work.labels, work.chosen, reader=work.reader)


def _read(work: Reading, home: Path) -> Result:
    run = _run(work, home)
    if not work.form:
        return keep_and_read(run, work.name, None)
    encoder = work.encoder or PIXELS
    return keep_and_read(
        run, work.name, describe(run, work.form, work.source, work.attributes, encoder=encoder)
    )


def _run(work: Work, home: Path) -> Run:
    return open_run(run_folder(home, work.run))


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
