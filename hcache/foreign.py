"""Recognises files of other programs: macOS, NFS, sync clients and file managers."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SECOND_COPY = re.compile(r"(?i)\.sync-conflict-[0-9]|\((.*(conflict|copy).*|[0-9]+)\)")
"""Patterns of second copies by sync clients and file managers: Dropbox and Nextcloud write ``(...
conflicted copy ...)``, Syncthing ``.sync-conflict-<date>``, Google Drive ``(1)``.
"""


def is_foreign(name: str) -> bool:
    """Returns whether another program gave a file its name.

    Such names are macOS's ``._x``, NFS's ``.nfs...``, and second copies of sync clients.
    """
    return name.startswith(".") or is_second_copy(name)


def is_second_copy(name: str) -> bool:
    """Returns whether a name is that of a second copy."""
    return bool(_SECOND_COPY.search(name))


def is_apple_double(name: str) -> bool:
    """Returns whether macOS keeps another file's attributes in a file.

    It does so on disks without such attributes.
    """
    return name.startswith("._")


def same_but_for_case(name: str, others: Iterable[str]) -> str:
    """Finds a name that differs from ``name`` by capitals only.

    It is the first such name among ``others``, or "". Disks of macOS and Windows use one file for
    both names.
    """
    alike = (other for other in others if other.casefold() == name.casefold())
    return next((other for other in alike if other != name), "")
