"""All kinds of readers, and readers by name: those of a card, of an installed package, or of a
home.

Another package adds a reader by an entry point in the group ``hcache.readers``. The entry's name is
the reader's, and its value is a function from pictures to readings, as ``package.module:function``.
If it cannot be used, or its name is taken, it is left out with one line of explanation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from ..cache.label_files import SET_NAME
from ..errors import UsageError, did_you_mean
from ..registry import Registry
from .classifier import Classifier
from .clicks import Clicks
from .function import Function
from .reader import Description, Reader
from .texts import Texts

KINDS: dict[str, type[Description]] = {
    kind.KIND: kind for kind in (Texts, Classifier, Clicks, Function)
}
"""The kinds by their tag in JSON and on the command line."""


def check_function(name: str, found: Any) -> None:
    """Refuses what cannot be a reader.

    It is not a function, or its name cannot be that of a label set.

    Raises:
        TypeError: with what was expected.
    """
    if not callable(found) or isinstance(found, type):
        words = f"the class {found.__name__}" if isinstance(found, type) else type(found).__name__
        raise TypeError(f"expected a function from pictures to readings, got {words}")
    if not SET_NAME.fullmatch(name):
        raise TypeError("a reader's name has letters, digits, spaces, dots, - and _")


INSTALLED: Registry[Callable[..., Any]] = Registry(
    "hcache.readers",
    "reader",
    {
        "toyfaces": "hcache.toyfaces.reader:read",
        "toydogs": "hcache.toyfaces.dogs_reader:read",
    },
    check_function,
)
"""The readers that are functions: those of the embedded models, which cards name, and those of
installed packages.
"""


def find_reader(name: str) -> Reader:
    """Opens the reader of a card or an installed package by name.

    Raises:
        UsageError: there is no such reader. The message gives the nearest names.
    """
    if name not in INSTALLED:
        near = did_you_mean(name, list(INSTALLED))
        raise UsageError(f"no attribute reader {name!r}{near}{INSTALLED.why_not(name)}")
    return Function(target=INSTALLED.place(name)).open(name)


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
