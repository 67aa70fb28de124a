"""What a user chooses for a measure, as data: the command's options and the page's controls are
made of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import UsageError

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TYPES = (bool, int, float, str)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One choice that a measure offers.

    The type of ``default`` is the type of all values: a bool, a whole number, a number or a text.
    ``text`` says what it does. ``choices`` lists all values that are allowed, if they are few;
    ``least`` and ``most`` bound a number. ``sizes`` has other values by the sizes of the Verdict
    page (``quick``, ``thorough``). ``half_the_run``: the page never takes more than half of a
    run's samples.

    Raises:
        UsageError: the name is no word, or the default is of another type.
    """

    name: str
    text: str
    default: Any
    choices: tuple[Any, ...] = ()
    least: float | None = None
    most: float | None = None
    sizes: Mapping[str, Any] = field(default_factory=dict)
    half_the_run: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                "a parameter's name is a word of small letters, digits and underscores, got"
                f" {self.name!r}"
            )
        if type(self.default) not in _TYPES:
            raise UsageError(
                f"parameter {self.name}: its default is a bool, a number or a text, got"
                f" {type(self.default).__name__}"
            )

    @property
    def flag(self) -> str:
        """The option of the command: ``--name``."""
        return f"--{self.name.replace('_', '-')}"

    def read(self, value: Any) -> Any:
        """A value, checked.

        Raises:
            UsageError: it is of another type, out of bounds, or not among the choices.
        """
        kind = type(self.default)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind or (kind is float and not math.isfinite(value)):
            raise UsageError(f"{self.name}: expected {self._words()}, got {str(value)[:60]!r}")
        if self.choices and value not in self.choices:
            raise UsageError(
                f"{self.name}: expected one of {', '.join(map(str, self.choices))}, got"
                f" {str(value)[:60]!r}"
            )
        low = self.least is not None and value < self.least
        if low or (self.most is not None and value > self.most):
            raise UsageError(f"{self.name}: expected {self._words()}, got {value}")
        return value

    def parse(self, text: str) -> Any:
        """A value from what was typed in a shell.

        a bool is ``yes`` or ``no``.

        Raises:
            UsageError: as ``read``.
        """
        kind = type(self.default)
        known = {"yes": True, "true": True, "no": False, "false": False}
        try:
            value = known[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError) as error:
            raise UsageError(f"{self.name}: expected {self._words()}, got {text[:60]!r}") from error
        return self.read(value)

    def at_size(self, size: str, samples: int) -> Any:
        """The value at a size of the Verdict page.

        ``samples``: of the run.
        """
        value = self.sizes.get(size, self.default)
        return min(value, samples // 2) if self.half_the_run else value

    def _words(self) -> str:
        kind = {bool: "yes or no", int: "a whole number", float: "a number", str: "a text"}
        words = kind[type(self.default)]
        words += "" if self.least is None else f" from {self.least:g}"
        return words + ("" if self.most is None else f" up to {self.most:g}")


def check_options(
    parameters: Mapping[str, Parameter], given: Mapping[str, Any], whose: str
) -> dict[str, Any]:
    """Values by name, each checked.

    ``whose`` says in an error whose parameters they are.

    Raises:
        UsageError: there is no such parameter, or a value does not fit.
    """
    for name in given:
        if name not in parameters:
            known = ", ".join(parameters) or "none"
            raise UsageError(f"{whose} have no parameter {str(name)[:60]!r}; there are {known}")
    return {name: parameters[name].read(value) for name, value in given.items()}
