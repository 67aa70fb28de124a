"""JSON files and checksums of a run. :mod:`hcache.atomic` writes files so that none is ever half
written.
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
    """Replaces ``path`` by ``data`` atomically.

    With ``durable=False`` the file is not flushed to the disk. Use this for files that may be lost.
    """
    write_bytes(path, (json.dumps(data, indent=1) + "\n").encode(), durable)


def read_json(path: Path, most: int = 2**26) -> Any:
    """Returns the contents of a JSON file.

    Raises:
        OSError, ValueError, RecursionError: it cannot be read, or is not JSON.
    """
    return json.loads(read_file(path, most).decode("utf-8"))


CHECKSUM = "xxh3_128"
CHECKSUMS: dict[str, Callable[[], Any]] = {CHECKSUM: xxhash.xxh3_128, "sha256": hashlib.sha256}
"""The kinds of checksums. New files get the first kind. It takes a seventh of the time of SHA-256
and detects the same faults: decay and truncated copies.
"""


def checksum_of(path: Path, kind: str = CHECKSUM) -> str:
    """Returns ``kind:hexadecimal`` for the contents of a file.

    The file must not be a link.

    Raises:
        ValueError: the kind is unknown.
        OSError: the file cannot be read.
    """
    if kind not in CHECKSUMS:
        raise ValueError(f"a checksum is one of {', '.join(CHECKSUMS)}, got {kind!r}")
    with os.fdopen(open_file(path), "rb") as file:
        return f"{kind}:{hashlib.file_digest(file, CHECKSUMS[kind]).hexdigest()}"


def has_checksum(path: Path, checksum: str) -> bool:
    """Returns whether a file still has the checksum of :func:`checksum_of`."""
    return checksum_of(path, checksum.partition(":")[0]) == checksum
