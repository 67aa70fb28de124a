"""Objects with their own descriptions, by name: those of this package and of other packages.

A registry lists its own members as ``module:name`` and imports one on demand. Another package adds
a member by an entry point in the registry's group: the entry's name is the member's, and its value
is ``package.module:name``. An entry that cannot be used is left out, and one line names its
package.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
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
            raise UsageError(f"no {self.what} {name!r}{near}; there are {', '.join(known)}")
        return _imported(self.own[name]) if name in self.own else self._others()[name]

    def values(self) -> Iterator[T]:
        """Yields all members, and imports its own."""
        for name in self:
            yield self[name]

    def problems(self) -> tuple[str, ...]:
        """Returns the faults of entries of other packages.

        Each is one line that names the package.
        """
        return self._found(tuple(sys.path))[1]

    def _others(self) -> dict[str, T]:
        return self._found(tuple(sys.path))[0]

    def _look(self, _: tuple[str, ...]) -> tuple[dict[str, T], tuple[str, ...]]:
        """Returns the members of other packages, and the faults of the rest.

        ``sys.path`` is an argument so that this runs again when it has changed.
        """
        found: dict[str, T] = {}
        problems = []
        for point in entry_points(group=self.group):
            try:
                if point.name in self.own or point.name in found:
                    raise TypeError(f"there is another {self.what} of that name")
                member = point.load()
                self._check(point.name, member)
                found[point.name] = member
            except (Exception, SystemExit) as error:  # whatever another package does when imported
                problems.append(self._told(point, error))
        for line in problems:
            logging.getLogger(__name__).warning("%s", line)
        return found, tuple(problems)

    def _told(self, point: EntryPoint, error: BaseException) -> str:
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return (
            f"hcache: the {self.what} {point.name!r} of the package {package} is left out;"
            f" {point.value} cannot be used ({reason})"
        )


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
