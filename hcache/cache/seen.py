"""Checks whether another machine sees a run's folder under the same path and has the same
libraries.
"""

from __future__ import annotations

import platform
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .. import __version__
from ..atomic import read_file, write_bytes
from ..errors import CacheError
from .layout import TOKEN
from .provenance import library_versions


@dataclass(frozen=True, kw_only=True)
class Token:
    """A small file that every machine must be able to read.

    ``path`` is the file and ``text`` is its content.
    """

    path: Path
    text: str


@contextmanager
def token_in(folder: Path) -> Iterator[Token]:
    """Keeps a token in a run's folder during the block."""
    token = Token(path=folder / TOKEN, text=secrets.token_hex(16))
    write_bytes(token.path, token.text.encode())
    try:
        yield token
    finally:
        token.path.unlink(missing_ok=True)


def look_for(token: Token) -> str:
    """Returns why this machine does not see the token's folder.

    The text is empty if it sees the folder.
    """
    try:
        found = read_file(token.path).decode(errors="replace")
    except OSError:
        return "does not see" if not token.path.parent.is_dir() else "sees another folder under"
    return "" if found == token.text else "sees another folder under"


def versions() -> dict[str, str]:
    """Returns the versions that must be equal on all machines."""
    libraries = library_versions()
    named = {name: libraries[name] for name in ("torch", "diffusers") if name in libraries}
    python = ".".join(map(str, sys.version_info[:2]))
    return {"hcache": __version__, **named, "python": python}


def disagreement(
    folder: Path, seen: str, theirs: Mapping[str, str], ours: Mapping[str, str] | None = None
) -> str:
    """Returns why a machine cannot compute parts of a run.

    The words follow the machine's name. They are empty if the machine can.

    Args:
        folder: The run's folder, by its path here.
        seen: The result of :func:`look_for` on that machine.
        theirs: The result of :func:`versions` on that machine.
        ours: The versions on the machine that started the work. Default: this machine.
    """
    if seen:
        return (
            f"{seen} {folder}; all machines must see the run under one path: put --home on the"
            " shared disk, and mount it there"
        )
    for name, version in (versions() if ours is None else ours).items():
        if theirs.get(name) != version:
            return (
                f"has {name} {theirs.get(name, 'not installed')}, and the machine that began the"
                f" work has {version}; install the same versions on all machines"
            )
    return ""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What other machines must see and have.

    They must see ``folder``, with the token in it, and have these versions of the libraries.
    """

    folder: Path
    token: Token
    versions: Mapping[str, str] = field(default_factory=versions)

    def check(self) -> None:
        """Makes sure that this machine can take part.

        Raises:
            CacheError: it does not see the folder, or has other versions.
        """
        problem = disagreement(self.folder, look_for(self.token), versions(), self.versions)
        if problem:
            raise CacheError(f"{platform.node()} {problem}")
