"""Objects with their own descriptions, by name: those of this package and of other packages.

A registry lists its own members as ``module:name`` and imports one on demand. Another package adds
a member by an entry point in the registry's group: the entry's name is the member's, and its value
is ``package.module:name``. An entry that cannot be used, or whose name is taken, is left out, and
one line names its package.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from .errors import UsageError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """The members of one group, by name.

    Its own come first, then those of other packages.

    Args:
        group: The group of entry points, such as ``hcache.methods``.
        what: One member in words, for messages: ``method``.
        own: Name -> ``module:name``.
        check: A function of a name and an object. It raises a TypeError if the object is not a
            member.
    """

    def __init__(
        self, group: str, what: str, own: Mapping[str, str], check: Callable[[str, Any], None]
    ) -> None:
        self.group, self.what, self.own, self._check = group, what, dict(own), check
        self._found = lru_cache(maxsize=1)(self._look)

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from self._others()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self.own or name in self._others())

    def __len__(self) -> int:
        return len(self.own) + len(self._others())

    def __getitem__(self, name: str) -> T:
        """Returns a member by name.

        Raises:
            UsageError: there is no such member. The message names the nearest.
        """
        if name not in self:
            known = list(self)
            near = did_you_mean(str(name), known)
            raise UsageError(
                f"no {self.what} {name!r}{near}; there are {', '.join(known)}{self.why_not(name)}"
            )
        return _imported(self.own[name]) if name in self.own else self._others()[name]

    def values(self) -> Iterator[T]:
        """Yields all members, and imports its own."""
        for name in self:
            yield self[name]

    def problems(self) -> tuple[str, ...]:
        """Returns the faults of entries of other packages.

        Each is one line that names the package.
        """
        return tuple(line for _, line in self._found(tuple(sys.path)).problems)

    def why_not(self, name: str) -> str:
        """Returns why entries of this name are left out.

        It ends a message. It is empty if there are none.
        """
        said = [line for each, line in self._found(tuple(sys.path)).problems if each == name]
        return "".join(f"; {line.removeprefix('hcache: ')}" for line in said)

    def place(self, name: str) -> str:
        """Returns where a member comes from, as ``module:name``."""
        if name in self.own:
            return self.own[name]
        point = self._found(tuple(sys.path)).points[name]
        return f"{point.module}:{point.attr}"

    def package(self, name: str) -> str:
        """Returns the package that a member comes from, with its version."""
        return "hcache" if name in self.own else _package(self._found(tuple(sys.path)).points[name])

    def _others(self) -> dict[str, T]:
        return self._found(tuple(sys.path)).members

    def _look(self, path: tuple[str, ...]) -> _Found[T]:
        """Returns the members of other packages, and the faults of the rest.

        ``path`` is ``sys.path``, so that this runs again when it has changed.
        """
        found = _Found[T]({}, {}, [])
        for point in entry_points(group=self.group):
            name = point.name
            try:
                if name in self.own or name in found.points:
                    raise _TakenError(
                        "hcache" if name in self.own else _package(found.points[name])
                    )
                member = point.load()
                self._check(name, member)
                found.members[name], found.points[name] = member, point
            except (Exception, SystemExit) as error:  # whatever another package does when imported
                found.problems.append((name, self._told(point, error)))
        for _, line in found.problems:
            logging.getLogger(__name__).warning("%s", line)
        return found

    def _told(self, point: EntryPoint, error: BaseException) -> str:
        told = (
            f"hcache: the {self.what} {point.name!r} of the package {_package(point)} is left out"
        )
        if isinstance(error, _TakenError):
            return (
                f"{told}; the name is taken by the {self.what} {point.name!r} of {error}; rename"
                f" the entry point in {self.group}, or uninstall the package"
            )
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return f"{told}; {point.value} cannot be used ({reason})"


class _TakenError(Exception):
    """The name of an entry is taken by the package of this text."""


@dataclass(frozen=True)
class _Found(Generic[T]):
    """What other packages add: members and entry points by name, and (name, fault) of the rest."""

    members: dict[str, T]
    points: dict[str, EntryPoint]
    problems: list[tuple[str, str]]


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
