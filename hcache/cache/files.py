"""Writing files so that a crash leaves the old one or the new one, never half of either."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xxhash

from .layout import PARTIAL


def sync_folder(folder: Path) -> None:
    """Makes a rename inside ``folder`` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_file(path: Path) -> None:
    """Makes what was written into a file survive a power cut."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def put_in_place(flushed: Path, final: Path) -> None:
    """Gives a flushed file its final name, durably."""
    os.replace(flushed, final)
    sync_folder(final.parent)


def commit_file(partial: Path, final: Path) -> None:
    """Flushes ``partial`` to the disk and gives it its final name."""
    flush_file(partial)
    put_in_place(partial, final)


def write_json(path: Path, data: Any, durable: bool = True) -> None:
    """Replaces ``path`` by ``data``, atomically; ``durable=False`` spares the flush for what may be lost."""
    partial = path.with_name(path.name + PARTIAL)
    try:
        partial.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        if durable:
            commit_file(partial, path)
        else:
            os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


CHECKSUM = "xxh3_128"
CHECKSUMS: dict[str, Callable[[], Any]] = {CHECKSUM: xxhash.xxh3_128, "sha256": hashlib.sha256}
"""The first is taken of what is written now; it takes a seventh of the time of
SHA-256 and guards against the same: decay, and copies cut short."""


def checksum_of(path: Path, kind: str = CHECKSUM) -> str:
    """``kind:hexadecimal`` of a file's contents.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in CHECKSUMS:
        raise ValueError(f"a checksum is one of {', '.join(CHECKSUMS)}, got {kind!r}")
    with path.open("rb") as file:
        return f"{kind}:{hashlib.file_digest(file, CHECKSUMS[kind]).hexdigest()}"


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file's contents are those that :func:`checksum_of` was taken of."""
    return checksum_of(path, checksum.partition(":")[0]) == checksum
