"""Checks JSON against types by msgspec. A fault is described in one line that names its place.

A schema is a ``msgspec.Struct`` (or a dataclass) whose fields are annotated with types and bounds,
and msgspec checks it. This module adds what its messages lack: the value that was found, both
bounds, the allowed names, and the key inside a mapping.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T")

MOST_NAMED = 1000
"""The largest number of keys of a mapping among which the wrong one is searched."""

_AT = re.compile(r"(?s)(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?")
_STEP = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")
_FIELD = re.compile(r"Object (?P<fault>missing required|contains unknown) field `(?P<name>.*)`")


def parse_json(text: bytes) -> Any:
    """Returns the value of a JSON text in UTF-8.

    NaN and infinities, which Python writes but JSON does not have, become null.

    Raises:
        ValueError, RecursionError: it is not JSON, or contains text that is not Unicode.
    """
    try:
        return msgspec.json.decode(text)
    except ValueError:  # Python's own JSON, or not JSON
        data = json.loads(text.decode("utf-8"), parse_constant=lambda _: None)
        json.dumps(data, ensure_ascii=False).encode("utf-8")  # refuses half a surrogate pair
        return data


def checked(data: Any, kind: type[T]) -> T:
    """Returns plain JSON data as an object of a schema.

    Args:
        data: The result of :func:`parse_json`.
        kind: A ``msgspec.Struct``, a dataclass, or another type that msgspec knows.

    Raises:
        ValueError: the data do not match; ``spec.samples: expected a whole number from 1 to 9, got
            'x'``.
        RecursionError: it is nested too deeply.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise ValueError(_told(str(error), data, kind)) from error


def shown(value: Any) -> str:
    """Returns a value for messages, in at most about 60 characters."""
    try:
        text = repr(value)
    except ValueError:  # an integer with more digits than Python prints
        text = "a number of very many digits"
    return text if len(text) <= 60 else f"{text[:60]} …"


def _told(message: str, data: Any, kind: type) -> str:
    """msgspec's message in the words of :func:`checked`."""
    found = _AT.fullmatch(message)
    what, path = (found["what"], found["path"] or "") if found else (message, "")
    place: list[str | int] = []
    for name, index in _STEP.findall(path):
        key = _wrong_key(data, place, kind, message) if index == "..." else name
        if key is None:
            return f"{_name(place)}: one of its values cannot be used: {what}"
        place.append(int(index) if index.isdecimal() else key)
    if field := _FIELD.fullmatch(what):
        name = _name([*place, field["name"]])
        missing = field["fault"] == "missing required"
        return f"{name} is missing" if missing else f"{name} is not a field that is known here"
    if not what.startswith(("Expected ", "Invalid enum value ")):
        return f"{_name(place)}: {what}" if place else what  # of a schema's own check
    expected = _in_words(_type_at(inspect.type_info(kind), place))
    return f"{_name(place)}: expected {expected}, got {shown(_value_at(data, place))}"


def _name(place: list[str | int]) -> str:
    """``spec.images[0]``; of the whole it is ``what it holds``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.removeprefix(".") or "what it holds"


def _value_at(data: Any, place: list[str | int]) -> Any:
    for step in place:
        data = data[step]
    return data


def _wrong_key(data: Any, place: list[str | int], kind: type, message: str) -> str | None:
    """The key of a mapping whose value msgspec complains of: it says ``[...]``."""
    mapping = _value_at(data, place)
    for key, value in mapping.items() if len(mapping) <= MOST_NAMED else ():
        try:
            msgspec.convert(_with(data, place, {key: value}), kind)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return key
    return None


def _with(data: Any, place: list[str | int], value: Any) -> Any:
    """The data with another value at a place."""
    if not place:
        return value
    first, *others = place
    if isinstance(data, list):
        return [_with(v, others, value) if i == first else v for i, v in enumerate(data)]
    return {k: _with(v, others, value) if k == first else v for k, v in data.items()}


def _type_at(kind: Any, place: list[str | int]) -> Any:
    """Returns what a schema expects at a place, or None if it does not say."""
    if not place or kind is None:
        return kind
    step, *others = place
    if isinstance(kind, inspect.Metadata):
        return _type_at(kind.type, place)
    if isinstance(kind, inspect.UnionType):
        fitting = (_type_at(each, place) for each in kind.types)
        return next((found for found in fitting if found is not None), None)
    if isinstance(kind, inspect.StructType | inspect.DataclassType):
        inner = next((field.type for field in kind.fields if field.encode_name == step), None)
    elif isinstance(kind, inspect.DictType):
        inner = kind.value_type
    elif isinstance(kind, inspect.TupleType) and isinstance(step, int):
        inner = kind.item_types[step] if step < len(kind.item_types) else None
    elif isinstance(kind, inspect.ListType | inspect.VarTupleType):
        inner = kind.item_type
    else:
        return None
    return _type_at(inner, others)


def _in_words(kind: Any) -> str:
    """``a whole number from 1 to 9``."""
    if isinstance(kind, inspect.Metadata):
        said = (kind.extra_json_schema or {}).get("description")
        return said or _in_words(kind.type)
    if isinstance(kind, inspect.UnionType):
        fraction = any(isinstance(each, inspect.FloatType) for each in kind.types)
        words = [
            _in_words(each)
            for each in kind.types
            if not (fraction and isinstance(each, inspect.IntType))
        ]
        return " or ".join(words)
    if isinstance(kind, inspect.LiteralType):
        return f"one of {', '.join(map(str, kind.values))}"
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        what = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
        return what + _bounds(kind.ge, kind.le)
    if isinstance(kind, inspect.StrType):
        return "text" if kind.max_length is None else f"text of at most {kind.max_length} letters"
    if isinstance(kind, inspect.TupleType):
        return f"a list of {len(kind.item_types)}"
    return next((words for types, words in _WORDS if isinstance(kind, types)), "another value")


_WORDS: tuple[tuple[Any, str], ...] = (
    (inspect.BoolType, "true or false"),
    (inspect.NoneType, "null"),
    ((inspect.ListType, inspect.VarTupleType), "a list"),
    ((inspect.StructType, inspect.DataclassType, inspect.DictType), "names with values"),
)


def _bounds(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return (
            f" from {low:.15g} to {high:.15g}"
            if isinstance(low, float)
            else f" from {low} to {high}"
        )
    if low is not None:
        return f" of at least {low}"
    return "" if high is None else f" of at most {high}"
