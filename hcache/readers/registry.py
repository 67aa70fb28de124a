"""All kinds of readers, and readers by name: those of a card, of an installed package, or of a
home.

Another package adds a reader by an entry point in the group ``hcache.readers``. The entry's name is
the reader's, and its value is a function from pictures to readings, as ``package.module:function``.
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
"""The kinds by their tag in JSON and on the command line."""

GROUP = "hcache.readers"
SHIPPED = {
    "toyfaces": "hcache.toyfaces.reader:read",
    "toydogs": "hcache.toyfaces.dogs_reader:read",
}
"""The readers of the embedded models, which cards name."""


def functions() -> dict[str, str]:
    """Returns the readers that are functions, by name.

    These are the shipped ones and those of installed packages.
    """
    return {**{point.name: point.value for point in entry_points(group=GROUP)}, **SHIPPED}


def find_reader(name: str) -> Reader:
    """Opens the reader of a card or an installed package by name.

    Raises:
        UsageError: there is no such reader. The message gives the nearest names.
    """
    known = functions()
    if name not in known:
        raise UsageError(f"no attribute reader {name!r}{did_you_mean(name, known)}")
    return Function(target=known[name]).open(name)


def reader_from_json(data: Mapping[str, Any], where: str) -> Description:
    """Returns a description from its JSON.

    Args:
        data: The data of ``to_json``.
        where: The source of the data, for messages.

    Raises:
        UsageError: the kind is unknown, or a value is missing or has another type.
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
    """Makes sure that texts, flags and lists of texts have these types. Each kind checks the rest
    itself.

    Raises:
        TypeError: one has another type.
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
