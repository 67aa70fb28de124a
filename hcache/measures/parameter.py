"""A user's choice for a measure, as data.

The command's options and the page's controls are generated from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import UsageError
from ..options import WORDS, Option

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Parameter(Option):
    """One choice that a measure offers: an option with a name.

    ``sizes`` has other values for the sizes of the Verdict page (``quick``, ``thorough``).
    ``half_the_run``: the page never uses more than half of a run's samples. ``several``: the words
    that a text may have, parted by commas; the page then offers these.

    Raises:
        UsageError: the name is not a word, or the default has another type.
    """

    name: str
    sizes: Mapping[str, Any] = field(default_factory=dict)
    half_the_run: bool = False
    several: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                "a parameter's name is a word of small letters, digits and underscores, got"
                f" {self.name!r}"
            )
        if type(self.default) not in WORDS:
            raise UsageError(
                f"parameter {self.name}: its default is a bool, a number or a text, got"
                f" {type(self.default).__name__}"
            )

    @property
    def flag(self) -> str:
        """The option of the command: ``--name``."""
        return f"--{self.name.replace('_', '-')}"

    def read(self, value: Any) -> Any:
        """Returns a checked value.

        Raises:
            UsageError: it has another type, is out of bounds, or is not among the choices.
        """
        return self.checked(value, self.name)

    def parse(self, text: str) -> Any:
        """Parses a value that was typed in a shell.

        A bool is ``yes`` or ``no``.

        Raises:
            UsageError: the errors of ``read``.
        """
        return self.typed(text, self.name)

    def at_size(self, size: str, samples: int) -> Any:
        """Returns the value at a size of the Verdict page.

        ``samples`` is the number of samples of the run.
        """
        value = self.sizes.get(size, self.default)
        return min(value, samples // 2) if self.half_the_run else value


def check_options(
    parameters: Mapping[str, Parameter], given: Mapping[str, Any], whose: str
) -> dict[str, Any]:
    """Returns values by name, each checked.

    ``whose`` names the owner of the parameters in an error.

    Raises:
        UsageError: there is no such parameter, or a value is wrong.
    """
    for name in given:
        if name not in parameters:
            known = ", ".join(parameters) or "none"
            raise UsageError(f"{whose} have no parameter {str(name)[:60]!r}; there are {known}")
    return {name: parameters[name].read(value) for name, value in given.items()}
