"""Files that other programs put beside ours: macOS, NFS, sync clients and file managers."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SECOND_COPY = re.compile(r"(?i)\.sync-conflict-[0-9]|\((.*(conflict|copy).*|[0-9]+)\)")
"""In the names that sync clients and file managers give to second copies: Dropbox and Nextcloud
write ``(... conflicted copy ...)``, Syncthing ``.sync-conflict-<date>``, Google Drive ``(1)``.
"""


def is_foreign(name: str) -> bool:
    """Whether another program gave a file its name.

    These are macOS's ``._x``, NFS's ``.nfs...``, and second copies of sync clients.
    """
    return name.startswith(".") or is_second_copy(name)


def is_second_copy(name: str) -> bool:
    """Whether sync clients or file managers name second copies like that."""
    return bool(_SECOND_COPY.search(name))


def is_apple_double(name: str) -> bool:
    """Whether macOS keeps another file's attributes in a file.

    It does so on disks that have no attributes of their own.
    """
    return name.startswith("._")


def same_but_for_case(name: str, others: Iterable[str]) -> str:
    """Finds a name that differs from ``name`` by capitals alone.

    It is the first such name among ``others``; "" if there is none. Disks of macOS and Windows keep
    one file for both names.
    """
    alike = (other for other in others if other.casefold() == name.casefold())
    return next((other for other in alike if other != name), "")
