"""``python -m hcache background``: does the work described on the standard input.

The dashboard starts its background work in this way. The description is JSON with the fields
``home``, ``run``, ``kind``, ``order`` and ``folder``. Its kind must be one of a closed set. The
description does not name the status file, which follows from folder and kind.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..background.kinds import (
    EXTRACT,
    FIT,
    IMPORT,
    MEASURE,
    READ,
    REPAIR,
    Extraction,
    Fitting,
    Importing,
    Measuring,
    Reading,
    Repairing,
    Work,
    read_work,
)
from ..background.processes import COMMAND
from ..background.tasks import status_path, task_id
from ..cache.layout import TASKS, home_of, new_run_folder, run_folder
from ..cache.reading import open_run
from ..cards import check_weights
from ..errors import UsageError
from ..schemas import checked
from ..specs import RunSpec
from .checking import repair_run
from .directions import fit_and_save, import_and_save
from .extraction import run_job
from .measures import measure_run
from .progress import reported
from .readers import describe, keep_and_read
from .result import Result

MOST_BYTES = 2**28


class Order(Struct, frozen=True, forbid_unknown_fields=True):
    """The order that a process of the dashboard gets.

    ``folder``: the name of the run's folder, if it differs from the run's name.
    """

    home: str
    run: str
    kind: str
    order: dict[str, Any]
    folder: str = ""


def background(_: argparse.Namespace) -> Result:
    """Does the work that the standard input describes.

    It keeps the work's status file up to date.
    """
    folder, work = read_order(sys.stdin.buffer.read(MOST_BYTES))
    with reported(str(status_path(folder, task_id(work)))):
        return DOERS[work.kind](work, folder)


def read_order(text: bytes) -> tuple[Path, Work]:
    """Returns the run's folder and the work of a description.

    ``folder`` is the folder's name, ``run`` if it is not given. An extraction asks for a run by its
    own name, and a user may have renamed its folder.

    Raises:
        UsageError: it is no description. The message says what is wrong.
        UnknownRunError: there is no such run.
    """
    try:
        given = checked(msgspec.json.decode(text), Order)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            "`background` reads an object of home, run, kind, order and folder from its standard"
            f" input: {error}"
        ) from error
    work, home = read_work(given.kind, given.run, given.order), Path(given.home)
    name = given.folder or given.run
    if work.kind == EXTRACT:
        return new_run_folder(home, name), work
    if name != work.run:
        raise UsageError(f"the task is for {work.run}, not for {name}; start it again")
    return run_folder(home, work.run), work


def _extract(work: Extraction, folder: Path) -> Result:
    check_weights(work.spec)
    return run_job(work.spec, home_of(folder), "auto", folder=folder)


def _repair(work: Repairing, folder: Path) -> Result:
    def agreed(spec: RunSpec) -> None:
        if spec.name != work.spec.name:
            raise UsageError(
                f"{work.run} has become another run meanwhile, of {spec.model}; look at it, and"
                " press Repair again"
            )

    return repair_run(folder, "auto", agreed)


def _fit(work: Fitting, folder: Path) -> Result:
    return fit_and_save(open_run(folder), work.what, work.name)


def _import(work: Importing, folder: Path) -> Result:
    run = open_run(folder)
    paths = [run.folder / TASKS / work.folder / file for file in work.files]
    if linked := [path for path in (paths[0].parent, *paths) if path.is_symlink()]:
        raise UsageError(f"{linked[0]} is a link; choose the files again")
    return import_and_save(run, paths, work.name)


def _measure(work: Measuring, folder: Path) -> Result:
    return measure_run(open_run(folder), work.what, work.labels, work.chosen, reader=work.reader)


def _read(work: Reading, folder: Path) -> Result:
    run = open_run(folder)
    if not work.form:
        return keep_and_read(run, work.name, None)
    description = describe(
        run,
        work.form,
        work.source,
        work.attributes,
        encoder=work.encoder,
        revision=work.revision,
        probability=work.probability,
    )
    return keep_and_read(run, work.name, description)


DOERS: Mapping[str, Callable[[Any, Path], Result]] = {
    EXTRACT: _extract,
    REPAIR: _repair,
    FIT: _fit,
    IMPORT: _import,
    MEASURE: _measure,
    READ: _read,
}
"""Kind of work -> the function that does it. A test checks that all kinds are here."""


def add_background(command: Any) -> None:
    """Adds the command's parser; ``command`` makes it."""
    text = "Run a task that is described on standard input. The dashboard uses this command."
    command(COMMAND, background, text, home=False)
