"""Commands of hcache as processes of their own: started, found alive or dead, asked to stop.

Such a process outlives whoever started it. Whether it still lives is asked of the system, by process id *and* start
time, because ids are used again.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from .cache.files import write_json
from .errors import FULL, UsageError

STARTING, RUNNING, DONE, FAILED, CANCELLED, DIED = "starting", "running", "done", "failed", "cancelled", "died"
LIVE = (STARTING, RUNNING)


def this_process() -> dict[str, Any]:
    """``pid`` and ``process_started``, by which others know this process."""
    return _of(psutil.Process())


def is_alive(pid: int, process_started: float) -> bool:
    """Whether that very process runs; a zombie does not."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - process_started) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def launch(arguments: Sequence[str], log: Path, append: bool = False) -> dict[str, Any]:
    """Starts ``python -m hcache`` with these arguments, in a session of its own; what it says goes into ``log``.

    Returns ``pid`` and ``process_started``.
    """
    package_parent = str(Path(__file__).resolve().parent.parent)
    paths = [package_parent, *filter(None, [os.environ.get("PYTHONPATH")])]
    with log.open("ab" if append else "wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "hcache", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
    return _of(psutil.Process(process.pid))


def ask_to_stop(status: Path, said: Mapping[str, Any], what: str) -> None:
    """Sends SIGTERM, on which the commands stop after their current step.

    Args:
        status: The file in which the process says how far it is.
        said: What stands in it: ``pid`` and ``state`` among others.
        what: It is at, for people.

    Raises:
        UsageError: there is no such process any more.
    """
    try:
        os.kill(said["pid"], signal.SIGTERM)
    except ProcessLookupError as error:
        raise UsageError(f"{what} has just ended; there is nothing to cancel") from error
    if said["state"] == STARTING:  # not yet listening: it ends at once, and cannot say so itself
        write_status(status, {**said, "message": CANCELLED})


def write_status(status: Path, said: Mapping[str, Any]) -> None:
    """What a process says of itself. Where there is no space for another file, into the one that is there: it has room
    for as much. Where that fails too nothing: the work ends where its data are written, and is told there."""
    try:
        write_json(status, dict(said), durable=False)
    except OSError as error:
        if error.errno in FULL:
            with contextlib.suppress(OSError), status.open("rb+") as file:
                file.write((json.dumps(dict(said)) + "\n").encode())
                file.truncate()


def last_words(log: Path) -> str:
    """The last line of a log, of a bar its last state; nothing if there is none."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].split("\r")[-1].strip() if lines else ""


def of_the_dead(log: Path) -> str:
    """What can be said of a process that ended without saying why."""
    last = last_words(log)
    return "the process ended without a word" + (f"; last in its log: {last}" if last else "")


def _of(process: psutil.Process) -> dict[str, Any]:
    return {"pid": process.pid, "process_started": process.create_time()}
