"""Writing files so that a crash leaves the old one or the new one, never half of either."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

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


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
