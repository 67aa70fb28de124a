"""Starts processes of hcache, checks whether they live, and asks them to stop.

Such a process may outlive the one that started it. The system says whether it still lives. Process
ids are reused, so a process is identified by its id *and* its start. If the system tells it
(Linux), the start is counted in ticks since the machine's boot, because the time of day changes
when the clock is set. A process of another machine cannot be checked: its state is unknown.
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
"""The states of a task in its status file."""

UNKNOWN = "unknown"
"""The state of a task on another machine whose last message was that it runs."""
LIVE = (STARTING, RUNNING)

ALIVE, DEAD = "alive", "dead"

COMMAND = "background"
"""The command of hcache that reads a task from its standard input and runs it."""

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def this_process() -> dict[str, Any]:
    """Returns the identity of this process for others.

    It has ``pid``, ``process_started``, ``host``, ``boot`` and ``ticks``.
    """
    return _of(os.getpid())


def life(pid: int, process_started: float, host: str = "", boot: str = "", ticks: int = 0) -> str:
    """Returns whether a process is ``alive``, ``dead`` or ``unknown``.

    A zombie is dead.

    Args:
        pid: Its process id.
        process_started: Its start in seconds since 1970; compared where there are no ``ticks``.
        host: Its machine; "" means this one.
        boot: The id of that machine's last boot, if it has one.
        ticks: Its start in ticks since that boot; 0 if unknown.
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
    """Returns whether that very process runs on this machine.

    A zombie does not.
    """
    return life(pid, process_started) == ALIVE


def launch(order: bytes, log: Path, append: bool = False) -> dict[str, Any]:
    """Starts ``python -m hcache background`` in its own session.

    Its output goes to ``log``. It reads ``order`` from its standard input, and no word of it is on
    the command line. Returns the identity of the process, as in :func:`this_process`.
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
    ).start()  # so that it does not remain a zombie
    return found


def ask_to_stop(status: Path, said: Mapping[str, Any], what: str) -> None:
    """Sends SIGTERM, after which commands stop after their current step.

    Args:
        status: The status file of the process.
        said: Its contents: ``pid``, ``state`` and others.
        what: The task in words, for people.

    Raises:
        UsageError: the process no longer exists, or belongs to another user.
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
    """Writes the status of a process. If there is no space for another file, it writes into the
    existing one, which has room. If that fails too, it does nothing: the task fails where it writes
    its data, and reports that there.
    """
    try:
        write_json(status, dict(said), durable=False)
    except OSError as error:
        if error.errno in FULL:
            with contextlib.suppress(OSError), status.open("rb+") as file:
                file.write((json.dumps(dict(said)) + "\n").encode())
                file.truncate()


def read_plain(path: Path, most: int, end: bool = False) -> bytes:
    """Reads a bounded number of bytes from a plain file.

    They are from its start or its end. Links are not followed.

    Raises:
        OSError: it cannot be read, or is not a plain file.
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
"""The number of characters at the end of a log that are shown."""


def log_text(log: Path) -> str:
    """Returns the end of a process's output.

    Each progress bar is in its last state. The text is "" if there is none.
    """
    try:
        text = read_plain(log, 16 * LONGEST_LOG, end=True).decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(line.rstrip("\r").split("\r")[-1] for line in text.strip().split("\n"))[
        -LONGEST_LOG:
    ]


def of_the_dead(log: Path) -> str:
    """Describes a process that ended without a reason."""
    last = log_text(log).split("\n")[-1].strip()
    return "the process ended without a word" + (f"; last in its log: {last}" if last else "")


def _open_log(log: Path, append: bool) -> Any:
    """Opens the log for writing. If it is a link, it is replaced, so that a received run cannot
    make hcache write to the target of a link.
    """
    if log.is_symlink():
        log.unlink()
    flags = os.O_WRONLY | os.O_CREAT | _NO_LINK | (os.O_APPEND if append else os.O_TRUNC)
    return os.fdopen(os.open(log, flags, 0o644), "ab" if append else "wb")


def _of(pid: int) -> dict[str, Any]:
    try:
        started = psutil.Process(pid).create_time()
    except psutil.Error:  # it has already ended
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
    """Returns the id of this machine's last boot, or "" if it is unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _ticks(pid: int) -> int:
    """Returns the start of a process in ticks since the boot, or 0 if it is unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(
            fields[19]
        )  # the 22nd field of the line, of which two precede the bracket: man 5 proc
    except (OSError, ValueError, IndexError):
        return 0
