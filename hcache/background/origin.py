"""Checks whether this user started a task on this machine, or whether it came with a run from
elsewhere.

Every task is sealed: its status file contains a keyed digest (HMAC, RFC 2104) of its run, its kind
and its order. The key is stored in the user's state folder, outside all homes and runs, so the
sender of a run cannot make a seal. A task without a valid seal runs only after it was shown and
confirmed.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import platformdirs

KEY_BYTES = 32


def seal_of(run: str, kind: str, order: Any) -> str:
    """Returns the seal of a task, in hex.

    Args:
        run: The name of its run.
        kind: The kind of task.
        order: The order, as plain JSON.
    """
    text = json.dumps([run, kind, order], sort_keys=True)
    return hmac.new(_key(_key_file()), text.encode(), hashlib.sha256).hexdigest()


def is_ours(seal: str, run: str, kind: str, order: Any) -> bool:
    """Returns whether a seal was made with this user's key."""
    return hmac.compare_digest(seal.encode(errors="replace"), seal_of(run, kind, order).encode())


def _key_file() -> Path:
    return Path(platformdirs.user_state_dir("hcache", appauthor=False)) / "key"


@lru_cache(maxsize=8)
def _key(path: Path) -> bytes:
    """Returns the user's key, which is made when it is first needed. If it cannot be stored, it is
    valid for this process only.
    """
    with contextlib.suppress(OSError):
        if not path.is_file():
            _make_key(path)
        if len(found := path.read_bytes()) == KEY_BYTES:
            return found
    return secrets.token_bytes(KEY_BYTES)


def _make_key(path: Path) -> None:
    """Writes a new key, completely or not at all. Another process may be first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, made = tempfile.mkstemp(dir=path.parent)  # readable only by its owner
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
    finally:
        os.unlink(made)
