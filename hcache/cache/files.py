"""JSON and checksums of a run's files. How files are written so that nothing is half written:
:mod:`hcache.atomic`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xxhash

from ..atomic import open_file, read_file, write_bytes


def write_json(path: Path, data: Any, durable: bool = True) -> None:
    """Replaces ``path`` by ``data``, atomically.

    ``durable=False`` spares the flush for what may be lost.
    """
    write_bytes(path, (json.dumps(data, indent=1) + "\n").encode(), durable)


def read_json(path: Path, most: int = 2**26) -> Any:
    """What a JSON file holds.

    Raises:
        OSError, ValueError, RecursionError: it cannot be read, or is no JSON.
    """
    return json.loads(read_file(path, most).decode("utf-8"))


CHECKSUM = "xxh3_128"
CHECKSUMS: dict[str, Callable[[], Any]] = {CHECKSUM: xxhash.xxh3_128, "sha256": hashlib.sha256}
"""The first is taken of what is written now; it takes a seventh of the time of
SHA-256 and guards against the same: decay, and copies cut short."""


def checksum_of(path: Path, kind: str = CHECKSUM) -> str:
    """``kind:hexadecimal`` of the contents of a file that is no link.

    Raises:
        ValueError: there is no such kind.
        OSError: the file cannot be read.
    """
    if kind not in CHECKSUMS:
        raise ValueError(f"a checksum is one of {', '.join(CHECKSUMS)}, got {kind!r}")
    with os.fdopen(open_file(path), "rb") as file:
        return f"{kind}:{hashlib.file_digest(file, CHECKSUMS[kind]).hexdigest()}"


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file's contents are those that :func:`checksum_of` was taken of."""
    return checksum_of(path, checksum.partition(":")[0]) == checksum
