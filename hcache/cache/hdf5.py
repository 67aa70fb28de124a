"""HDF5 files, read and written so that neither a stranger's file nor a full disk can do harm.

HDF5 never touches a disk here. It reads and writes through a small object that does, and that keeps
what the system refuses to itself:

    writing     HDF5 crashes when it is told that a write failed and then closes the file. So it
                is not told: the first failure is kept and raised by :meth:`Output.check` after
                the call. What HDF5 still writes until it has closed the file stays in memory.
    reading     No lock is asked for. An error of the disk (EIO, ESTALE) is raised as it is. What
                HDF5 then still finds wrong is wrong with the bytes themselves:
                :class:`Malformed`.

A file that came from elsewhere may refer to other files, or claim more than it holds. Of a file
only its structure is taken from HDF5, once it has been found to be what hcache writes: groups and
arrays of numbers, by hard links, each contiguous and within the file. The numbers are then read as
the plain bytes they are. Other tools write shards anew in chunks, which may be packed: these are
read by HDF5, if they claim no more than ``PACKED`` times the file.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..atomic import open_file, replacing_path

MOST_OBJECTS, DEEPEST = 20_000, 4
FILTERS = (
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_LZF,
)
PACKED, UNPACKED = 100, 2**26
"""The limit for an array in chunks: a multiple of the file's size, or a number of bytes."""

MOST_ATTRIBUTE = 2**20
"""The largest attribute, in bytes."""

_SMALL = 2**16
"""The number of bytes to keep after a failed write. HDF5 may want to read its own structures again.
"""


class Malformed(ValueError):
    """The file was read, but hcache does not write such bytes."""


@dataclass(frozen=True)
class ArrayPlace:
    """The place and type of an array in a file. An array without an ``offset`` is stored in
    chunks.
    """

    name: str
    offset: int | None
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def bytes(self) -> int:
        """The size of the array in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class FileStructure:
    """The structure of a file.

    It contains the attributes of the file, and the places of its arrays by path
    (``labels/set/name``).
    """

    attributes: Mapping[str, Any]
    places: Mapping[str, ArrayPlace]


class _Bytes:
    """The object through which HDF5 reads and writes a file, by a descriptor. It keeps the first
    error in ``failed`` and does not report it to HDF5.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.failed = descriptor, None
        self._at, self._kept = 0, {}

    def read(self, size: int = -1) -> bytes:  # h5py identifies files by it
        raise NotImplementedError

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = (
            offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size()}[whence]
        )
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer from the current position, with zeros past the end, and returns its
        length.
        """
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and (count := self._try(os.preadv, [view[done:]], self._at + done)):
            done += count
        view[done:] = bytes(len(view) - done)
        for (
            at,
            data,
        ) in (
            self._kept.items()
        ):  # write everything or nothing: HDF5 reads back the structures that it wrote
            start = at - self._at
            if 0 <= start and start + len(data) <= len(view):
                view[start : start + len(data)] = data
        return len(view)

    def write(self, buffer: Any) -> int:
        view, done = memoryview(buffer).cast("B"), 0
        while self.failed is None and done < len(view):
            done += self._try(os.pwrite, view[done:], self._at + done)
        if self.failed is not None and len(view) <= _SMALL:
            self._kept[self._at] = bytes(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        if self.failed is None:
            self._try(os.ftruncate, self._at if size is None else size)
        return self._at if size is None else size

    def flush(self) -> None:
        """Does nothing, because no write is delayed."""

    def _size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def _try(self, call: Callable[..., Any], *arguments: Any) -> int:
        """Returns the result of the call, or 0 if it fails."""
        try:
            return call(self.descriptor, *arguments) or 0
        except OSError as error:
            self.failed = self.failed or error
            return 0


class Output:
    """An HDF5 file that is being written.

    Its path may not exist yet. ``file`` is the h5py file.

    Raises:
        OSError: the file cannot be created.
    """

    def __init__(self, path: Path) -> None:
        flags = (
            os.O_RDWR
            | os.O_CREAT
            | os.O_TRUNC
            | getattr(os, "O_NOFOLLOW", 0)
            | getattr(os, "O_CLOEXEC", 0)
        )
        self._path, self._bytes = path, _Bytes(os.open(path, flags, 0o666))
        self._open = True
        self.file = h5py.File(self._bytes, "w", libver="v110", track_order=True)

    def check(self) -> None:
        """Makes sure that everything was written so far.

        Raises:
            OSError: the system's error for the first failed write.
        """
        if self._bytes.failed is not None:
            raise OSError(self._bytes.failed.errno, self._bytes.failed.strerror, str(self._path))

    def close(self) -> None:
        """Closes the file. A second call does nothing.

        Raises:
            OSError: a part of it could not be written.
        """
        if self._open:
            self._open = False
            try:
                self.file.close()
            finally:
                os.close(self._bytes.descriptor)
        self.check()


@contextmanager
def replacing_hdf5(final: Path, durable: bool = True) -> Iterator[h5py.File]:
    """Yields an HDF5 file to fill. At the end, it replaces ``final``.

    Raises:
        OSError: it cannot be written. ``final`` is unchanged.
    """
    with replacing_path(final, durable) as partial:
        output = Output(partial)
        try:
            yield output.file
        except BaseException:
            with suppress(OSError):
                output.close()
            raise
        output.close()


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Opens a descriptor of a regular file, for the functions below."""
    descriptor = open_file(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def structure_of(descriptor: int) -> FileStructure:
    """Returns the structure of a file that hcache wrote.

    Raises:
        Malformed: hcache did not write it.
        OSError: the system refuses to read it.
    """

    def look(file: h5py.File) -> FileStructure:
        return FileStructure(
            attributes=_attributes(file), places=_walk(file, os.fstat(descriptor).st_size)
        )

    return look_into(descriptor, look)


def look_into(descriptor: int, look: Callable[[h5py.File], Any]) -> Any:
    """Returns the result of ``look`` on an HDF5 file.

    Errors are either those of the system or faults of the file.

    Raises:
        Malformed: the bytes are wrong.
        OSError: the system refuses to read them.
    """
    source = _Bytes(descriptor)
    try:
        with h5py.File(source, "r") as file:
            found = look(file)
    except Malformed:
        raise
    except (
        OSError,
        RuntimeError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
    ) as error:
        if source.failed is not None:
            raise source.failed from error
        raise Malformed(
            f"it is no HDF5 file of hcache's: {(str(error).splitlines() or [''])[0]}"
        ) from error
    if source.failed is not None:
        raise source.failed
    return found


def hard_member(group: h5py.Group, name: str) -> h5py.Dataset | h5py.Group:
    """Returns a member of a group in the same file.

    Raises:
        Malformed: it is a link to another place, or it is missing.
    """
    raw = name.encode(errors="surrogateescape")
    if not group.id.links.exists(raw):
        raise Malformed(f"it has no {name}")
    hard = h5py.h5l.TYPE_HARD  # ty: ignore[missing-attribute]  # compiled, without a stub
    if group.id.links.get_info(raw).type != hard:
        raise Malformed(f"{name} is a link to elsewhere")
    return group[name]


def place_of(item: h5py.Dataset | h5py.Group, name: str, size: int) -> ArrayPlace:
    """Returns the place of an array in a file of ``size`` bytes.

    Raises:
        Malformed: it is not an array of numbers that lies completely in the file.
    """
    if not isinstance(item, h5py.Dataset):
        raise Malformed(f"{name} is no array of numbers")
    plist = item.id.get_create_plist()
    layout = plist.get_layout()
    if layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED) or plist.get_external_count():
        raise Malformed(f"{name} is not stored in the file itself")
    if item.shape is None or item.dtype.kind not in "fiub" or item.dtype.hasobject:
        raise Malformed(f"{name} is no array of numbers")
    if not h5py.h5t.py_create(item.dtype, logical=True).equal(item.id.get_type()):
        raise Malformed(f"{name} is of a number format that hcache does not write")
    count = math.prod(item.shape) * item.dtype.itemsize
    if layout == h5py.h5d.CHUNKED:
        _check_chunks(item, plist, name, count, size)
        return ArrayPlace(name=name, offset=None, shape=tuple(item.shape), dtype=item.dtype)
    offset = item.id.get_offset() if count else 0
    if offset is None or offset < 0 or offset + count > size:
        raise Malformed(f"{name} claims {count} bytes, which are not in the file")
    return ArrayPlace(name=name, offset=offset, shape=tuple(item.shape), dtype=item.dtype)


def _check_chunks(
    item: h5py.Dataset, plist: h5py.h5p.PropDCID, name: str, count: int, size: int
) -> None:
    """Makes sure that an array in chunks is complete, has a plausible size, and is compressed by a
    filter of h5py itself.
    """
    filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    if any(known not in FILTERS for known in filters):
        raise Malformed(f"{name} is packed in a way that hcache does not read")
    chunk = plist.get_chunk()
    if max(count, math.prod(chunk) * item.dtype.itemsize) > max(UNPACKED, PACKED * size):
        raise Malformed(f"{name} claims {count} bytes in a file of {size}")
    wanted = math.prod(-(-length // part) for length, part in zip(item.shape, chunk, strict=True))
    if item.id.get_num_chunks() != wanted or item.id.get_storage_size() > size:
        raise Malformed(f"{name} claims {count} bytes, which are not in the file")


def read_array(descriptor: int, place: ArrayPlace, index: int | None = None) -> np.ndarray:
    """Returns an array, or one part of it, in the stored dtype.

    The part is at an ``index`` of the first axis.

    Raises:
        IndexError: the array does not have this part.
        Malformed: the file is too short.
        OSError: it cannot be read.
    """
    if place.offset is None:
        return _read_chunks(descriptor, place, () if index is None else index)
    if index is None:
        return _read_bytes(descriptor, place.offset, place.shape, place.dtype)
    if not place.shape or not 0 <= index < place.shape[0]:
        raise IndexError(f"of shape {place.shape} part {index} was asked for")
    part = place.bytes // place.shape[0]
    return _read_bytes(descriptor, place.offset + index * part, place.shape[1:], place.dtype)


def read_row(descriptor: int, place: ArrayPlace, step: int, row: int) -> np.ndarray:
    """Returns the part at [step, row] of an array.

    The array has two axes or more. The result has the stored dtype.
    """
    if len(place.shape) < 2 or not (0 <= step < place.shape[0] and 0 <= row < place.shape[1]):
        raise IndexError(f"of shape {place.shape} part {step}, {row} was asked for")
    if place.offset is None:
        return _read_chunks(descriptor, place, (step, row))
    part = place.bytes // (place.shape[0] * place.shape[1])
    at = place.offset + (step * place.shape[1] + row) * part
    return _read_bytes(descriptor, at, place.shape[2:], place.dtype)


def _read_chunks(descriptor: int, place: ArrayPlace, at: Any) -> np.ndarray:
    return np.asarray(look_into(descriptor, lambda file: file[place.name][at]))


def _read_bytes(descriptor: int, at: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    result = np.empty(shape, dtype)
    left = result.reshape(-1).data.cast("B") if result.nbytes else b""
    while left:
        count = os.preadv(descriptor, [left], at)
        if count == 0:
            raise Malformed("the file ends too early")
        at, left = at + count, left[count:]
    return result


def _walk(file: h5py.File, size: int) -> dict[str, ArrayPlace]:
    """Returns the places of all arrays in a file of ``size`` bytes."""
    places: dict[str, ArrayPlace] = {}
    groups: list[tuple[str, h5py.Group]] = [("", file)]
    for count, (prefix, group) in enumerate(groups):  # the list grows during the loop
        if count + len(places) > MOST_OBJECTS or prefix.count("/") > DEEPEST:
            raise Malformed("it holds more than a file of hcache's does")
        for name in group:
            item = hard_member(group, name)
            if isinstance(item, h5py.Group):
                groups.append((f"{prefix}{name}/", item))
            elif isinstance(item, h5py.Dataset):
                places[f"{prefix}{name}"] = place_of(item, f"{prefix}{name}", size)
            else:
                raise Malformed(f"{prefix}{name} is neither a group nor an array")
            if len(groups) + len(places) > MOST_OBJECTS:
                raise Malformed("it holds more than a file of hcache's does")
    return places


def _attributes(file: h5py.File) -> dict[str, Any]:
    """Returns the attributes of the file itself: numbers, texts, and lists of them."""
    found = {}
    for name in file.attrs:
        stored = file.attrs.get_id(name)
        if math.prod(stored.shape or ()) * max(1, stored.dtype.itemsize) > MOST_ATTRIBUTE:
            raise Malformed(f"its attribute {name} is too large")
        found[name] = file.attrs[name]
    return found


def is_surroundings(error: BaseException) -> bool:
    """Returns whether an error concerns the surroundings and not the file.

    The surroundings are the disk, the system and this process.
    """
    return isinstance(error, OSError) and error.errno not in (
        None,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ELOOP,
    )
