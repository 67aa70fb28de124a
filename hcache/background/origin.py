"""Whether a piece of work was asked for by this user on this machine, or came with a run from
elsewhere.

Every task is sealed: its status file carries a keyed digest (HMAC, RFC 2104) of its run, its kind
and what is to be done. The key lies with the user's state, outside all homes and runs, so that who
sends a run cannot make a seal. What has no right seal is done only after it was shown and
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
    """The seal of a piece of work, in hex.

    Args:
        run: Its run's name.
        kind: Of work.
        order: What is to be done, as plain JSON.
    """
    text = json.dumps([run, kind, order], sort_keys=True)
    return hmac.new(_key(_key_file()), text.encode(), hashlib.sha256).hexdigest()


def is_ours(seal: str, run: str, kind: str, order: Any) -> bool:
    """Whether a seal is the one that this user's key gives."""
    return hmac.compare_digest(seal.encode(errors="replace"), seal_of(run, kind, order).encode())


def _key_file() -> Path:
    return Path(platformdirs.user_state_dir("hcache", appauthor=False)) / "key"


@lru_cache(maxsize=8)
def _key(path: Path) -> bytes:
    """The user's key, made when it is first needed. Where it cannot be kept it is good for this
    process alone.
    """
    with contextlib.suppress(OSError):
        if not path.is_file():
            _make_key(path)
        if len(found := path.read_bytes()) == KEY_BYTES:
            return found
    return secrets.token_bytes(KEY_BYTES)


def _make_key(path: Path) -> None:
    """Writes a new key, whole or not at all; another process may be first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, made = tempfile.mkstemp(dir=path.parent)  # readable by its owner alone
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
    finally:
        os.unlink(made)
