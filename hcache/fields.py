"""Checked fields out of JSON that anyone may have written; messages name the place.

:func:`decoded` reads what has a schema, a msgspec struct; :class:`Fields` reads field by field.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable
from typing import Any, TypeVar

from .errors import UsageError, did_you_mean
from .schemas import checked

LONGEST_TEXT = 100_000
_NEEDED = object()
T = TypeVar("T")


class Fields:
    """The fields of one JSON object; ``where`` names it in messages: ``edits[0].window``.

    Every method takes a field by name and raises :class:`UsageError` if it is not there (and has no
    default) or not what it has to be. :meth:`done` refuses those that nobody took.
    """

    def __init__(self, data: Any, where: str = "") -> None:
        if not isinstance(data, dict):
            raise UsageError(
                f"recipe: {where or 'it'} must be an object with named fields; got {_brief(data)}"
            )
        self.left, self.where = dict(data), where
        self.known: list[str] = []

    def name(self, field: str) -> str:
        """The place of a field, in one line whatever it is called."""
        field = str(field)[:80]
        plain = field if field.isprintable() else ascii(field)
        return f"{self.where}.{plain}" if self.where else plain

    def wrong(self, field: str, expected: str, got: Any) -> UsageError:
        return UsageError(f"recipe: {self.name(field)} must be {expected}; got {_brief(got)}")

    def any(self, field: str, default: Any = _NEEDED) -> Any:
        """Whatever it is."""
        self.known.append(field)
        if field not in self.left:
            if default is _NEEDED:
                raise UsageError(f"recipe: {self.name(field)} is missing")
            return default
        return self.left.pop(field)

    def text(
        self, field: str, pattern: str = r"(?s).*", expected: str = "a text", default: Any = _NEEDED
    ) -> str:
        found = self.any(field, default)
        if (
            not isinstance(found, str)
            or len(found) > LONGEST_TEXT
            or not re.fullmatch(pattern, found)
        ):
            raise self.wrong(field, expected, found)
        return found

    def whole(self, field: str, low: int = 0, high: int = 2**53, default: Any = _NEEDED) -> int:
        found = self.any(field, default)
        if isinstance(found, bool) or not isinstance(found, int) or not low <= found <= high:
            raise self.wrong(field, f"a whole number from {low} to {high}", found)
        return found

    def items(self, field: str, most: int, default: Any = _NEEDED) -> list[Any]:
        found = self.any(field, default)
        if not isinstance(found, list) or len(found) > most:
            raise self.wrong(field, f"a list of at most {most}", found)
        return found

    def part(self, field: str) -> Fields:
        """A field that is an object itself."""
        return Fields(self.any(field), self.name(field))

    def only(self, known: Iterable[str]) -> None:
        """Refuses every field but these."""
        self.known += known
        for field in self.known:
            self.left.pop(field, None)
        self.done()

    def done(self) -> None:
        """Refuses the fields that nobody took."""
        for field in self.left:
            raise UsageError(
                f"recipe: {self.name(field)} is not a field{did_you_mean(field, self.known)}"
            )


def decoded(data: Any, kind: type[T], where: str = "") -> T:
    """Data as an object of the schema ``kind``, a msgspec struct.

    Args:
        data: What JSON gave.
        kind: The schema; the description of a field says what is expected there.
        where: What the data are called in messages: ``edits[0]``; nothing, for all of a recipe.

    Raises:
        UsageError: they do not fit; one line names the place, what was expected and what came.
    """
    try:
        named: Any = dict[str, kind]  # ty: ignore[invalid-type-form]  # the type is a value here
        found = checked({where: data}, named)[where] if where else checked(data, kind)
    except ValueError as error:
        raise UsageError(f"recipe: {' '.join(str(error).split())[:1000]}") from error
    _refuse_unknown(data, found, where)
    return found


def _refuse_unknown(data: Any, found: Any, where: str) -> None:
    """Refuses the unknown fields of dataclasses, which msgspec leaves out."""
    if not isinstance(data, dict):
        return
    if dataclasses.is_dataclass(found):
        Fields(data, where).only(field.name for field in dataclasses.fields(found))
    for name, value in data.items():
        if isinstance(value, dict) and hasattr(found, str(name)):
            _refuse_unknown(value, getattr(found, name), f"{where}.{name}" if where else str(name))


def check_json(data: Any, where: str) -> None:
    """Makes sure that a value is plain JSON of finite numbers, as far as one can go down in it."""
    if isinstance(data, float) and not math.isfinite(data):
        raise UsageError(f"{where} holds a number that is not finite")
    inner = (
        data.values() if isinstance(data, dict) else data if isinstance(data, list | tuple) else ()
    )
    for value in inner:
        check_json(value, where)


def _brief(value: Any) -> str:
    """A value as messages show it."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = "a number"
    return text if len(text) <= 80 else text[:77] + "..."
