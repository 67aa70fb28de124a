"""A choice that a method or a measure offers, as data.

The options of commands and the widgets of pages are generated from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .errors import UsageError

VALUE, REGION, NAMES = "value", "region", "names"
"""The kinds of an option's value: a plain value, a region of the picture, or names of saved
directions.
"""

WORDS = {bool: "yes or no", int: "a whole number", float: "a number", str: "a text"}
TYPED = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class Option:
    """One choice.

    The type of ``default`` is the type of all values: a bool, a whole number, a number or a text.
    ``text`` says what it does. ``choices`` lists all values that are allowed, if they are few;
    ``least`` and ``most`` bound a number. ``holds``: a plain value, a region of the picture, or
    names of saved directions.
    """

    default: Any
    text: str
    choices: tuple[Any, ...] = ()
    least: float | None = None
    most: float | None = None
    holds: str = VALUE

    @property
    def words(self) -> str:
        """The allowed values in words."""
        words = WORDS.get(type(self.default), "a value")
        words += "" if self.least is None else f" from {self.least:g}"
        return words + ("" if self.most is None else f" up to {self.most:g}")

    def checked(self, value: Any, name: str) -> Any:
        """Returns a value of the option's type.

        Raises:
            UsageError: it has another type, is out of bounds, or is not among the choices. The
                message begins with ``name``.
        """
        kind = type(self.default)
        if kind is type(None):
            return value
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind or (kind is float and not math.isfinite(value)):
            raise UsageError(f"{name}: expected {self.words}, got {str(value)[:60]!r}")
        if self.choices and value not in self.choices:
            raise UsageError(
                f"{name}: expected one of {', '.join(map(str, self.choices))}, got"
                f" {str(value)[:60]!r}"
            )
        low = self.least is not None and value < self.least
        if low or (self.most is not None and value > self.most):
            raise UsageError(f"{name}: expected {self.words}, got {value}")
        return value

    def typed(self, text: str, name: str) -> Any:
        """Parses a value that was typed in a shell.

        A bool is ``yes`` or ``no``.

        Raises:
            UsageError: the errors of ``checked``.
        """
        kind = type(self.default)
        if kind is type(None):
            return text
        try:
            value = TYPED[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError) as error:
            raise UsageError(f"{name}: expected {self.words}, got {text[:60]!r}") from error
        return self.checked(value, name)
