"""Processes of hcache: started, found alive or dead, asked to stop.

Such a process outlives the one that started it. Whether it still lives is asked of the system.
Process ids are used again, so a process is known by its id *and* its start. The start is counted in
ticks since the machine's boot where the system tells it (Linux), because a time of day changes when
the clock is set. A process of another machine cannot be asked for: it is unknown.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import psutil

from ..cache.files import write_json
from ..errors import FULL, UsageError

STARTING, RUNNING, DONE, FAILED, CANCELLED, DIED = (
    "starting",
    "running",
    "done",
    "failed",
    "cancelled",
    "died",
)
State = Literal["starting", "running", "done", "failed", "cancelled", "died"]
"""What a status file says of its work."""

UNKNOWN = "unknown"
"""The state of work of another machine, which said last that it is at work."""
LIVE = (STARTING, RUNNING)

ALIVE, DEAD = "alive", "dead"

COMMAND = "background"
"""The command of hcache that reads a piece of work from its standard input and does it."""

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def this_process() -> dict[str, Any]:
    """What others know this process by: ``pid``, ``process_started``, ``host``, ``boot`` and
    ``ticks``.
    """
    return _of(os.getpid())


def life(pid: int, process_started: float, host: str = "", boot: str = "", ticks: int = 0) -> str:
    """Whether a process is ``alive``, ``dead`` or ``unknown``; a zombie is dead.

    Args:
        pid: Its process id.
        process_started: Its start in seconds since 1970; compared where there are no ``ticks``.
        host: The machine it runs on; "" is taken for this one.
        boot: The id of that machine's last boot, if it has one.
        ticks: Its start in ticks since that boot; 0 if that is not known.
    """
    same_boot = bool(boot) and boot == _boot()
    if host and host != platform.node():
        # A container may share the boot, and not the process ids, of its host: only a match tells
        # anything.
        return ALIVE if same_boot and ticks and _lives(pid, process_started, ticks) else UNKNOWN
    if boot and _boot() and not same_boot:
        return DEAD
    return ALIVE if _lives(pid, process_started, ticks) else DEAD


def is_alive(pid: int, process_started: float) -> bool:
    """Whether that very process runs on this machine; a zombie does not."""
    return life(pid, process_started) == ALIVE


def launch(order: bytes, log: Path, append: bool = False) -> dict[str, Any]:
    """Starts ``python -m hcache background`` in a session of its own.

    What it says goes into ``log``.

    What it is to do stands in ``order``, which it reads from its standard input. No word of it is
    on the command line.

    Returns what the process is known by, as :func:`this_process` does.
    """
    package_parent = str(Path(__file__).resolve().parent.parent.parent)
    paths = [package_parent, *filter(None, [os.environ.get("PYTHONPATH")])]
    with _open_log(log, append) as said, tempfile.TemporaryFile() as given:
        given.write(order)
        given.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-m", "hcache", COMMAND],
            stdin=given,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
    found = _of(process.pid)
    threading.Thread(
        target=process.wait, daemon=True
    ).start()  # so that it is no zombie once it has ended
    return found


def ask_to_stop(status: Path, said: Mapping[str, Any], what: str) -> None:
    """Sends SIGTERM, on which the commands stop after their current step.

    Args:
        status: The file in which the process says how far it is.
        said: What stands in it: ``pid`` and ``state`` among others.
        what: It is at, for people.

    Raises:
        UsageError: there is no such process any more, or it is another user's.
    """
    try:
        os.kill(said["pid"], signal.SIGTERM)
    except ProcessLookupError as error:
        raise UsageError(f"{what} has just ended; there is nothing to cancel") from error
    except PermissionError as error:
        raise UsageError(
            f"{what} is another user's process {said['pid']}; only that user can cancel it"
        ) from error
    if said["state"] == STARTING:  # not yet listening: it ends at once, and cannot say so itself
        write_status(status, {**said, "message": CANCELLED})


def write_status(status: Path, said: Mapping[str, Any]) -> None:
    """What a process says of itself. Where there is no space for another file, into the one that is
    there: it has room for as much. Where that fails too nothing: the work ends where its data are
    written, and is told there.
    """
    try:
        write_json(status, dict(said), durable=False)
    except OSError as error:
        if error.errno in FULL:
            with contextlib.suppress(OSError), status.open("rb+") as file:
                file.write((json.dumps(dict(said)) + "\n").encode())
                file.truncate()


def read_plain(path: Path, most: int, end: bool = False) -> bytes:
    """At most so many bytes of a plain file.

    Of its start or its end. Links are not followed.

    Raises:
        OSError: it cannot be read, or is no plain file.
    """
    handle = os.open(path, os.O_RDONLY | _NO_LINK | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is not a plain file")
        if end:
            file.seek(max(0, found.st_size - most))
        return file.read(most)


LONGEST_LOG = 4000
"""Characters of a log, of its end, where it is shown."""


def log_text(log: Path) -> str:
    """The end of what a process printed.

    Each bar is in its last state; "" if there is nothing.
    """
    try:
        text = read_plain(log, 16 * LONGEST_LOG, end=True).decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(line.rstrip("\r").split("\r")[-1] for line in text.strip().split("\n"))[
        -LONGEST_LOG:
    ]


def of_the_dead(log: Path) -> str:
    """What can be said of a process that ended without saying why."""
    last = log_text(log).split("\n")[-1].strip()
    return "the process ended without a word" + (f"; last in its log: {last}" if last else "")


def _open_log(log: Path, append: bool) -> Any:
    """The log to write, made anew where it is a link: what a received run links to is not
    written.
    """
    if log.is_symlink():
        log.unlink()
    flags = os.O_WRONLY | os.O_CREAT | _NO_LINK | (os.O_APPEND if append else os.O_TRUNC)
    return os.fdopen(os.open(log, flags, 0o644), "ab" if append else "wb")


def _of(pid: int) -> dict[str, Any]:
    try:
        started = psutil.Process(pid).create_time()
    except psutil.Error:  # it has ended already
        started = 0.0
    return {
        "pid": pid,
        "process_started": started,
        "host": platform.node(),
        "boot": _boot(),
        "ticks": _ticks(pid),
    }


def _lives(pid: int, process_started: float, ticks: int) -> bool:
    if pid < 1:
        return False
    try:
        process = psutil.Process(pid)
        now = _ticks(pid) if ticks else 0
        same = now == ticks if now else abs(process.create_time() - process_started) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


@cache
def _boot() -> str:
    """The id of this machine's last boot; "" where there is none to be had."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _ticks(pid: int) -> int:
    """When a process started, in ticks since the boot; 0 where that is not to be had."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(
            fields[19]
        )  # the 22nd of the line, of which two stand before the bracket: man 5 proc
    except (OSError, ValueError, IndexError):
        return 0
