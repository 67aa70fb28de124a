"""Parses recipes from untrusted JSON by schemas. Errors name the place."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeVar

from .errors import UsageError, did_you_mean
from .schemas import checked

LONGEST_TEXT = 100_000
T = TypeVar("T")


def decoded(data: Any, kind: type[T], where: str = "") -> T:
    """Returns data as an object of the msgspec struct ``kind``.

    Args:
        data: The parsed JSON.
        kind: The schema. The description of a field says what is expected.
        where: The name of the data in messages: ``edits[0]``; empty for a whole recipe.

    Raises:
        UsageError: the data do not match. One line names the place, what was expected and what was
            found.
    """
    try:
        named: Any = dict[str, kind]  # ty: ignore[invalid-type-form]  # the type is a value here
        found = checked({where: data}, named)[where] if where else checked(data, kind)
    except ValueError as error:
        raise UsageError(f"recipe: {' '.join(str(error).split())[:1000]}") from error
    _refuse_unknown(data, found, where)
    return found


def _refuse_unknown(data: Any, found: Any, where: str) -> None:
    """Refuses unknown fields of dataclasses, which msgspec ignores."""
    if not isinstance(data, dict):
        return
    known = [field.name for field in dataclasses.fields(found)] if _is_dataclass(found) else data
    for name, value in data.items():
        place = f"{where}.{_printable(name)}" if where else _printable(name)
        if name not in known:
            raise UsageError(f"recipe: {place} is not a field{did_you_mean(name, known)}")
        if isinstance(value, dict) and hasattr(found, str(name)):
            _refuse_unknown(value, getattr(found, name), place)


def _is_dataclass(found: Any) -> bool:
    """Returns whether a value is an object of a dataclass."""
    return dataclasses.is_dataclass(found) and not isinstance(found, type)


def _printable(field: str) -> str:
    """Returns a field's name in one line, whatever it contains."""
    field = str(field)[:80]
    return field if field.isprintable() else ascii(field)


def check_json(data: Any, where: str) -> None:
    """Makes sure that a value is plain, finite JSON.

    It checks all levels of the value.
    """
    if isinstance(data, float) and not math.isfinite(data):
        raise UsageError(f"{where} holds a number that is not finite")
    inner = (
        data.values() if isinstance(data, dict) else data if isinstance(data, list | tuple) else ()
    )
    for value in inner:
        check_json(value, where)
