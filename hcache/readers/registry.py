"""All kinds of readers, and readers by name: of a card, of an installed package, of a home.

Another package adds a reader by an entry point in the group ``hcache.readers``: its name is the
reader's, its value a function from pictures to readings, as ``package.module:function``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, get_type_hints

from ..errors import UsageError, did_you_mean
from .classifier import Classifier
from .clicks import Clicks
from .function import Function
from .reader import Description, Reader
from .texts import Texts

KINDS: dict[str, type[Description]] = {
    kind.KIND: kind for kind in (Texts, Classifier, Clicks, Function)
}
"""By the tag that they have in JSON and on the command line."""

GROUP = "hcache.readers"
SHIPPED = {"toyfaces": "hcache.toyfaces.reader:read"}
"""Readers of the embedded models. Cards name them."""


def functions() -> dict[str, str]:
    """Readers that are functions, by name.

    Those that ship, and those of installed packages.
    """
    return {**{point.name: point.value for point in entry_points(group=GROUP)}, **SHIPPED}


def find_reader(name: str) -> Reader:
    """The reader that a card or an installed package calls ``name``, open.

    Raises:
        UsageError: there is none; the nearest names are given.
    """
    known = functions()
    if name not in known:
        raise UsageError(f"no attribute reader {name!r}{did_you_mean(name, known)}")
    return Function(target=known[name]).open(name)


def reader_from_json(data: Mapping[str, Any], where: str) -> Description:
    """A description from its JSON.

    Args:
        data: What ``to_json`` gave.
        where: The file that it comes from, for messages.

    Raises:
        UsageError: it is of no known kind, lacks something, or has a value of another type.
    """
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise UsageError(f"{where}: kind: expected one of {', '.join(KINDS)}, got {kind!r:.60}")
    fields = {name: value for name, value in data.items() if name != "kind"}
    try:
        _check_types(KINDS[kind], fields)
        return KINDS[kind](**fields)
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        raise UsageError(f"{where}: {error}") from error


def _check_types(kind: type, fields: Mapping[str, Any]) -> None:
    """Makes sure that texts, flags and lists of texts are such; a kind checks the rest itself.

    Raises:
        TypeError: one is not.
    """
    hints = get_type_hints(kind)
    for name, value in fields.items():
        expected = hints.get(name)
        fits = (
            isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value)
            if expected == tuple[str, ...]
            else expected not in (str, bool) or type(value) is expected
        )
        if not fits:
            words = {str: "a text", bool: "true or false"}.get(expected, "a list of texts")
            raise TypeError(f"{name}: expected {words}, got {value!r:.60}")
