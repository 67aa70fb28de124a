"""Who changes what: a lock of a run, or of a part of it, that one process holds at a time.

The system's own lock on a file (``flock``) comes first: it ends with its holder, however that ends.
Some disks have none (ENOLCK, ENOSYS), and on others two hosts do not see each other's. So there is
a lease too, in a file beside the lock: host, boot, process, when that process began, and a
heartbeat. A lease counts for nothing once its holder is known to be dead:

    of this boot of this host    that process does not run, or began at another time; or the lease
                                 came with the system's lock, which this process has now
    of any other                 there was no heartbeat for ``STALE`` seconds, by the disk's own
                                 clock

No clock of a host is asked: heartbeats are times of change that the file system gives, and they are
compared with the time of change of a file that was made just now. When a process began is told in
the system's ticks since its start.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from platform import node

import psutil
from filelock import FileLock, Timeout

from ..atomic import partial_path, read_file, sweep
from ..errors import RunBusyError
from ..schemas import checked, parse_json
from .layout import HOLDER_JSON, LOCK

BEAT, STALE = 10.0, 60.0
"""Seconds between heartbeats, and after which a lease of another host that has none any more is
nobody's.
"""

WITHOUT = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
"""What disks say that have no locks."""

HOLDER, WAITING = ".holder", ".waiting"
"""End the names of the lease beside a lock, and of the file that tells of processes that wait."""

POLL = 0.02
"""Seconds between two tries to get a lock."""

_held: dict[str, Holder] = {}
"""The leases of this process, by lock."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lock. ``locked``: by the system's own lock; else by the lease alone."""

    pid: int
    started: str
    host: str
    boot: str
    since: str
    token: str
    locked: bool = False

    def in_words(self) -> str:
        """Returns who holds the lock, for a message."""
        return f"process {self.pid} on {self.host} since {self.since}"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """The lock of a run, for what changes its samples.

    That is extraction and repair.

    Raises:
        RunBusyError: another process holds it; the message names it.
        OSError: no lock can be made in the folder.
    """
    with _held_lock(
        folder / LOCK,
        folder / HOLDER_JSON,
        0.0,
        lambda who: (
            f"{folder.name} is being extracted by {who}; watch it with `python -m hcache runs`"
        ),
    ):
        yield


@contextmanager
def part_lock(folder: Path, patience: float = 20.0) -> Iterator[None]:
    """The lock of a folder of a run (labels, directions).

    For what reads in it and then writes.

    Raises:
        RunBusyError: another process holds it for longer than ``patience`` seconds.
        OSError: no lock can be made in the folder.
    """
    path = folder.with_name(f"{LOCK}.{folder.name}")
    with _held_lock(
        path,
        path.with_name(path.name + HOLDER),
        patience,
        lambda who: f"{folder} is being written by {who}; try again when that is done",
    ):
        yield


def check_run_lock(folder: Path) -> None:
    """Makes sure that a run's lock is still this process's.

    It is asked before something is made part of the run: a host that slept for longer than
    ``STALE`` may have lost it.

    Raises:
        RunBusyError: another process has taken the run over meanwhile.
    """
    path, holder = os.path.realpath(folder / LOCK), holder_of(folder / HOLDER_JSON)
    mine = _held.get(path)
    if holder is not None and (mine is None or holder.token != mine.token):
        raise RunBusyError(
            f"{folder.name} was taken over by {holder.in_words()}, because this process gave no"
            " sign of life"
        )


def holder_of(lease: Path) -> Holder | None:
    """Who a lease says that it is of.

    None if it says nothing.
    """
    try:
        return checked(parse_json(read_file(lease, 2**16)), Holder)
    except (OSError, ValueError, RecursionError):
        return None


def this_holder(locked: bool) -> Holder:
    """This process."""
    return Holder(
        pid=os.getpid(),
        started=started(os.getpid()),
        host=node(),
        boot=boot_of_host(),
        locked=locked,
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        token=secrets.token_hex(8),
    )


@lru_cache(maxsize=1)
def boot_of_host() -> str:
    """Names the time since this host was last started.

    And the container whose process numbers these are.
    """
    try:
        return (
            f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"
            f" {os.readlink('/proc/self/ns/pid')}"
        )
    except OSError:
        return f"{psutil.boot_time():.0f}"


def started(pid: int) -> str:
    """When a process began; nothing of one that has ended.

    In a form that no change of the clock alters. Nothing too if there is no such process.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return ""
    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return ""


def is_dead(holder: Holder | None, lease: Path, locked: bool) -> bool:
    """Whether nobody holds a lease any more.

    Args:
        holder: What it says; None if it cannot be understood.
        lease: The file.
        locked: Whether this process holds the system's lock meanwhile.
    """
    if holder is not None and (holder.host, holder.boot) == (node(), boot_of_host()):
        # the system gave us what it had; or its process has ended
        return (holder.locked and locked) or started(holder.pid) != holder.started
    return _age(lease) > STALE


def _age(path: Path) -> float:
    """Seconds since a file was last changed, by the clock of its disk."""
    probe = partial_path(path)
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


@contextmanager
def _held_lock(
    path: Path, lease: Path, patience: float, busy: Callable[[str], str]
) -> Iterator[None]:
    key, waiting = os.path.realpath(path), path.with_name(path.name + WAITING)
    deadline = time.monotonic() + patience
    with ExitStack() as stack:
        stack.callback(_let_others, waiting)
        while (mine := _taken(stack, path, lease)) is None:
            if time.monotonic() >= deadline:
                stack.pop_all()
                holder = holder_of(lease)
                raise RunBusyError(busy(holder.in_words() if holder else "another process"))
            with suppress(OSError):
                waiting.touch()
            time.sleep(POLL)
        _held[key] = mine
        stack.callback(_held.pop, key, None)
        yield


def _let_others(waiting: Path) -> None:
    """Gives those a chance who wait for a lock that was just given up. A process that writes again
    and again would otherwise be first each time, and the others be refused in the end.
    """
    with suppress(OSError):
        waiting.unlink()  # which fails where nobody waits
        time.sleep(3 * POLL)


def _taken(stack: ExitStack, path: Path, lease: Path) -> Holder | None:
    """Takes lock and lease, to be given up by the stack; None if they are not to be had."""
    with ExitStack() as now:
        locked = False
        try:
            # who may write into the folder may take its locks, whoever made their files
            mode = path.parent.stat().st_mode & 0o666
            lock = FileLock(path, 0, mode, thread_local=False, fallback_to_soft=False)
            now.enter_context(lock)
            locked = True
        except Timeout:
            return None
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and not _does_without(path, error):
                raise
        mine = this_holder(locked)
        if not _take_lease(lease, mine):
            return None
        now.callback(_give_up, lease, mine)
        now.enter_context(_heartbeat(lease))
        stack.push(now.pop_all())
        return mine


def _does_without(path: Path, error: OSError) -> bool:
    """Whether the lease alone serves: the disk has no file locks, or a colleague made the lock's
    file for himself, in a folder that this user may write.
    """
    if error.errno in (errno.EACCES, errno.EPERM):
        return path.exists() and os.access(path.parent, os.W_OK)
    return error.errno in WITHOUT


def _take_lease(lease: Path, mine: Holder) -> bool:
    """Whether it is ours now. A dead holder's is taken over, by one at a time."""
    if _create(lease, mine):
        return True
    if not is_dead(holder_of(lease), lease, mine.locked):
        return False
    turn = lease.with_name(f"{lease.name}.turn")
    if not _create(turn, mine):
        if _age(turn) > STALE:  # its taker died within the next few lines
            with suppress(OSError):
                turn.unlink()
        return False
    try:
        if is_dead(holder_of(lease), lease, mine.locked):
            lease.unlink(missing_ok=True)
        return _create(lease, mine)
    finally:
        turn.unlink(missing_ok=True)


def _create(path: Path, holder: Holder) -> bool:
    """Makes a file that says who holds it, all of it at once, if there is none."""
    sweep(path)
    partial = partial_path(path)
    try:
        partial.write_bytes(json.dumps(asdict(holder)).encode())
        try:
            os.link(partial, path)
        except FileExistsError:
            return False
        except OSError:  # a disk without hard links: there the file is empty for a moment
            with suppress(FileExistsError), path.open("xb") as file:
                file.write(partial.read_bytes())
                return True
            return False
        return True
    finally:
        partial.unlink(missing_ok=True)


def _give_up(lease: Path, mine: Holder) -> None:
    holder = holder_of(lease)
    if holder is not None and holder.token == mine.token:
        with suppress(OSError):
            lease.unlink(missing_ok=True)


@contextmanager
def _heartbeat(lease: Path) -> Iterator[None]:
    """Tells others every few seconds that this process is still there."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            with suppress(OSError):
                os.utime(lease)

    thread = threading.Thread(target=beat, name="hcache-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
