"""The anatomies of the cards that ship with hcache, as they were read from their configurations
once.

Reading one takes torch and diffusers, which take seconds to import, and the first page that anybody
sees shows one. An entry holds only for the very configurations that it was read from, by their
digest; without one they are read. To write them anew, after a card was added or changed:

    python -c "from hcache.models.anatomies import write_anatomies; write_anatomies()"
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from .cards import PACKAGE, find_card
from .foreign import is_apple_double
from .schemas import checked
from .specs import Anatomy

ANATOMIES = PACKAGE / "anatomies.json"


def known_anatomy(model: str) -> Anatomy | None:
    """Returns the anatomy of a model known by name.

    It is None if it must be read from the configurations.
    """
    entry = _entries().get(model)
    if entry is None or entry["configurations"] != configurations_digest(model):
        return None
    return checked(entry["anatomy"], Anatomy)


def configurations_digest(model: str) -> str:
    """Returns the SHA-256 over the configurations of a model.

    These are the files of its network and autoencoder, with their relative names. It is "" if there
    are none.
    """
    card = find_card(model)
    folder = card.folder or card.configs
    if folder is None or not folder.is_dir():
        return ""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.json")):
        if is_apple_double(path.name):
            continue
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _entries() -> dict[str, dict]:
    path = Path(ANATOMIES)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
