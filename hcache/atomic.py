"""Files that are written whole or not at all, whoever is killed, whatever disk is full, and however
many write.

Everything that hcache keeps goes through here: a temporary name that nobody else has, a flush, the
rename, and a flush of the folder. And what it reads from a run's folder is a regular file of that
folder, never a link to elsewhere.
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
"""Ends the name of every file that is being written."""

SET_ASIDE = ".bad"
"""Ends the name of a file that is kept, and is not part of its run any more."""

ABANDONED = 24 * 3600.0
"""Seconds after which a temporary file is nobody's whose writer cannot be asked for."""

_TEMPORARY = re.compile(r".+\.(?P<host>[0-9a-f]{6})-(?P<pid>[0-9]{1,20})-[0-9a-f]+\.partial")

MOST_TEXT = 2**28
"""Bytes. No description, manifest, record or table of labels is larger."""


NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS, errno.EISDIR)
"""What file systems say that flush no folders: SMB, FUSE, some of virtual machines."""


def host_mark() -> str:
    """Six hexadecimal digits that tell this host from others.

    They stand in the names of files. Containers of one name have process numbers of their own, so
    each is a host.
    """
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    return f"{zlib.crc32(f'{node()} {numbers}'.encode()) & 0xFFFFFF:06x}"


def partial_path(final: Path) -> Path:
    """A temporary name beside ``final`` that no other writer has.

    It is made of host, process and chance.
    """
    return final.with_name(
        f"{final.name}.{host_mark()}-{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}"
    )


@contextmanager
def replacing(final: Path, durable: bool = True) -> Iterator[IO[bytes]]:
    """A file to write into. It takes the place of ``final`` when the block ends, and vanishes if
    the block fails.

    Args:
        final: The name that it gets.
        durable: Whether it must survive a power cut; False spares the flush for what can be made
            again.

    Raises:
        OSError: it cannot be written; ``final`` is as it was.
    """
    with replacing_path(final, durable) as partial, partial.open("xb") as file:
        yield file


def sweep(final: Path) -> None:
    """Removes what killed writers of ``final`` left under temporary names."""
    with suppress(OSError), os.scandir(final.parent) as entries:
        for entry in entries:
            if entry.name.startswith(f"{final.name}.") and is_left_over(Path(entry.path)):
                _remove(Path(entry.path))


def is_left_over(path: Path) -> bool:
    """Whether a temporary file or folder was left over by its writer.

    It has a temporary name, and nobody writes into it any more. Its writer is known to be dead if
    no process of this host has its number. This cannot be known of another host, nor where the
    number was given again. The file is then taken for left over a day after its last change, by the
    disk's own clock.
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
    """The time now by the clock of the disk that a path is on."""
    probe = partial_path(path)
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _began(pid: int) -> float:
    """When a process began; 0 if that is not told."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def _runs(pid: int) -> bool:
    """Whether a process of this number runs. One that has ended and was not waited for counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _remove(path: Path) -> None:
    """Removes a file or a folder as far as the system lets it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


@contextmanager
def replacing_path(final: Path, durable: bool = True) -> Iterator[Path]:
    """Like :func:`replacing`, for what makes its file itself.

    It gives the temporary path, where nothing is yet.
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
    """A folder to fill. It gets the name ``final`` when the block ends, and vanishes if the
    block fails.

    Args:
        final: Nothing is there yet, or an empty folder.

    Raises:
        OSError: it cannot be written, or ``final`` is there and not empty.
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
    """Makes what was written into a file survive a power cut."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a power cut.

    Where the file system can do that for folders.
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
    """Finds an unused name beside a file that is set aside.

    The name ends in ``.bad``, and in a number where that name is taken.
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
    """Makes a folder that survives a power cut.

    With ``parents``, those above it that are missing too.

    Raises:
        OSError: it cannot be made.
    """
    if is_there(folder):
        folder.mkdir(exist_ok=True)  # which fails where it is no folder
        return
    if parents and folder.parent != folder:
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def is_there(path: Path) -> bool:
    """Whether there is something of that name. ``Path.exists`` takes what it may not look at for
    nothing.

    Raises:
        OSError: it cannot be told.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def open_file(path: Path) -> int:
    """A descriptor to read a regular file by that is no link.

    Raises:
        OSError: there is none, it cannot be opened, or it is something else (``ELOOP``).
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
    """The contents of a regular file that is no link.

    Raises:
        OSError: it cannot be read; ``EOVERFLOW``: it is larger than ``most`` bytes.
    """
    with os.fdopen(open_file(path), "rb") as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EOVERFLOW, f"it is larger than {most} bytes", str(path))
        return file.read()


def reason(error: BaseException) -> str:
    """What went wrong, in the system's words where it has some."""
    return (
        getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
    )
