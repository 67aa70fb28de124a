"""Writes files completely or not at all, even if processes are killed, disks are full, or several
processes write.

All files of hcache are written here: under a unique temporary name, with a flush, a rename, and a
flush of the folder. Files that hcache reads from a run's folder must be regular files of that
folder, never links to other places.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from platform import node
from typing import IO

import psutil

PARTIAL = ".partial"
"""The suffix of a file that is being written."""

SET_ASIDE = ".bad"
"""The suffix of a file that is kept but no longer part of its run."""

ABANDONED = 24 * 3600.0
"""The age in seconds after which a temporary file is left over if its writer cannot be checked."""

_TEMPORARY = re.compile(r".+\.(?P<host>[0-9a-f]{6})-(?P<pid>[0-9]{1,20})-[0-9a-f]+\.partial")

MOST_TEXT = 2**28
"""The largest description, manifest, record or table of labels, in bytes."""


NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS, errno.EISDIR)
"""The errors of file systems that do not flush folders: SMB, FUSE, some of virtual machines."""


def host_mark() -> str:
    """Returns six hexadecimal digits that identify this host.

    They are part of file names. Containers of one name have their own process numbers, so each
    counts as a host.
    """
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    return f"{zlib.crc32(f'{node()} {numbers}'.encode()) & 0xFFFFFF:06x}"


def partial_path(final: Path) -> Path:
    """Returns a unique temporary name beside ``final``.

    It is made of host, process and random characters.
    """
    return final.with_name(
        f"{final.name}.{host_mark()}-{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}"
    )


@contextmanager
def replacing(final: Path, durable: bool = True) -> Iterator[IO[bytes]]:
    """Yields a file to write into. At the end, it replaces ``final``.

    If the block fails, the file is deleted.

    Args:
        final: The final path.
        durable: Whether it must survive a power cut. False skips the flush, for files that can be
            made again.

    Raises:
        OSError: it cannot be written. ``final`` is unchanged.
    """
    with replacing_path(final, durable) as partial, partial.open("xb") as file:
        yield file


def sweep(final: Path) -> None:
    """Deletes the temporary files of killed writers of ``final``."""
    with suppress(OSError), os.scandir(final.parent) as entries:
        for entry in entries:
            if entry.name.startswith(f"{final.name}.") and is_left_over(Path(entry.path)):
                _remove(Path(entry.path))


def is_left_over(path: Path) -> bool:
    """Returns whether a temporary file or folder was left over.

    It has a temporary name, and nobody writes into it any more. Its writer is known to be dead if
    no process of this host has its number. This is unknown for another host, or if the number was
    reused. The file then counts as left over a day after its last change, by the disk's own clock.
    """
    if (found := _TEMPORARY.fullmatch(path.name)) is None:
        return False
    ours, pid = found["host"] == host_mark(), int(found["pid"])
    if ours and not _runs(pid):
        return True
    try:
        changed = os.lstat(path).st_mtime
        return not (ours and _began(pid) <= changed) and _disk_time(path) - changed > ABANDONED
    except OSError:
        return False


def _disk_time(path: Path) -> float:
    """Returns the time by the clock of the disk of a path."""
    probe = partial_path(path)
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _began(pid: int) -> float:
    """Returns when a process began, or 0 if it is unknown."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def _runs(pid: int) -> bool:
    """Returns whether a process of this number runs. A zombie counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _remove(path: Path) -> None:
    """Deletes a file or a folder as far as the system permits."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


@contextmanager
def replacing_path(final: Path, durable: bool = True) -> Iterator[Path]:
    """Works like :func:`replacing` for code that creates its own file.

    It yields the temporary path, which does not exist yet.
    """
    sweep(final)
    partial = partial_path(final)
    try:
        yield partial
        if durable:
            flush_file(partial)
        os.replace(partial, final)
        if durable:
            sync_folder(final.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextmanager
def making_folder(final: Path) -> Iterator[Path]:
    """Yields a folder to fill. At the end, it becomes ``final``.

    If the block fails, the folder is deleted.

    Args:
        final: The final path. It must not exist, or be an empty folder.

    Raises:
        OSError: it cannot be written, or ``final`` exists and is not empty.
    """
    make_folder(final.parent)
    sweep(final)
    partial = partial_path(final)
    try:
        partial.mkdir()
        yield partial
        for path in [*partial.rglob("*"), partial]:
            (sync_folder if path.is_dir() else flush_file)(path)
        os.rename(partial, final)
        sync_folder(final.parent)
    except BaseException:
        _remove(partial)
        raise


def write_bytes(final: Path, data: bytes, durable: bool = True) -> None:
    """Replaces a file's contents."""
    with replacing(final, durable) as file:
        file.write(data)


def flush_file(path: Path) -> None:
    """Makes the contents of a file survive a power cut."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a power cut.

    It does nothing if the file system cannot flush folders.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


def free_name(path: Path) -> Path:
    """Finds an unused name for a file that is moved aside.

    The name ends in ``.bad``, with a number if that name is taken.
    """
    aside, number = path.with_name(path.name + SET_ASIDE), 2
    while os.path.lexists(aside):
        aside, number = path.with_name(f"{path.name}{SET_ASIDE}{number}"), number + 1
    return aside


def put_in_place(flushed: Path, final: Path) -> None:
    """Gives a flushed file its final name, durably."""
    os.replace(flushed, final)
    sync_folder(final.parent)


def make_folder(folder: Path, parents: bool = True) -> None:
    """Creates a folder that survives a power cut.

    With ``parents``, missing parents are created too.

    Raises:
        OSError: it cannot be created.
    """
    if is_there(folder):
        folder.mkdir(exist_ok=True)  # this fails if it is not a folder
        return
    if parents and folder.parent != folder:
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def is_there(path: Path) -> bool:
    """Returns whether a path exists. ``Path.exists`` returns False for unreadable paths, and this
    raises an error.

    Raises:
        OSError: this cannot be determined.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def open_file(path: Path) -> int:
    """Opens a regular file for reading. It must not be a link.

    Raises:
        OSError: it does not exist, cannot be opened, or is something else (``ELOOP``).
    """
    flags = (
        os.O_RDONLY
        | getattr(os, "O_CLOEXEC", 0)
        | getattr(os, "O_NOFOLLOW", 0)
        | getattr(os, "O_NONBLOCK", 0)
    )
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ELOOP, "it is no regular file", str(path))
    return descriptor


def read_file(path: Path, most: int = MOST_TEXT) -> bytes:
    """Returns the contents of a regular file that is not a link.

    Raises:
        OSError: it cannot be read; ``EOVERFLOW``: it is larger than ``most`` bytes.
    """
    with os.fdopen(open_file(path), "rb") as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EOVERFLOW, f"it is larger than {most} bytes", str(path))
        return file.read()


def reason(error: BaseException) -> str:
    """Returns the reason of an error, in the system's words if possible."""
    return (
        getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
    )
