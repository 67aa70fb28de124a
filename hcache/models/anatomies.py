"""Stores the anatomies of all cards: see hcache/anatomies.py."""

from __future__ import annotations

import json

from ..anatomies import ANATOMIES, configurations_digest
from ..cards import load_cards
from .loading import load_anatomy


def write_anatomies() -> None:
    """Stores every card's anatomy with its configurations' digest.

    Anatomies are read from the configurations.
    """
    entries = {
        name: {
            "configurations": configurations_digest(name),
            "anatomy": load_anatomy(name).to_json(),
        }
        for name in load_cards()
    }
    lines = [f" {json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items()]
    ANATOMIES.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
