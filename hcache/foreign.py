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
    """Whether macOS keeps the attributes of another file in it, on disks that have none."""
    return name.startswith("._")


def same_but_for_case(name: str, others: Iterable[str]) -> str:
    """The first of ``others`` that differs from a name by capitals alone; "" if there is none.

    Disks of macOS and Windows keep one file for both names.
    """
    alike = (other for other in others if other.casefold() == name.casefold())
    return next((other for other in alike if other != name), "")
