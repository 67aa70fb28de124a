"""The parser of the command line, with errors of one line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from ..errors import UsageError


class Parser(argparse.ArgumentParser):
    """A parser that reports wrong usage in one line.

    ``listing``: makes the end of the help when the help is printed. ``fill``: adds options that are
    slow to find. It is called when the parser is used.
    """

    listing: Callable[[], str] | None = None
    fill: Callable[[argparse.ArgumentParser], None] | None = None

    def filled(self) -> None:
        """Adds the options that were left for later."""
        fill, self.fill = self.fill, None
        if fill is not None:
            fill(self)

    def parse_known_args(self, *given: Any, **named: Any) -> Any:
        """Parses as argparse does, with all options."""
        self.filled()
        return super().parse_known_args(*given, **named)

    def format_usage(self) -> str:
        """Formats the usage as argparse does, with all options."""
        self.filled()
        return super().format_usage()

    def format_help(self) -> str:
        """Formats the help as argparse does, with all options and the listing."""
        self.filled()
        return super().format_help() + (f"\n{self.listing()}\n" if self.listing else "")

    def error(self, message: str) -> NoReturn:
        """Raises :class:`UsageError` with a message that says how to get help."""
        if message.startswith("argument --") and message.endswith("expected one argument"):
            option = message.removeprefix("argument ").split(":")[0].split("/")[0]
            message += f" (a value that begins with a dash is given as {option}=VALUE)"
        raise UsageError(f"{message}; see `{self.prog} --help`")

    def parse_args(self, *given: Any, **named: Any) -> argparse.Namespace:
        """Parses as argparse does, and refuses ``--`` alone as a value.

        argparse would lose such a value.
        """
        found = super().parse_args(*given, **named)
        for name in [name for name, value in vars(found).items() if value == []]:
            self.error(f"--{name.replace('_', '-')} cannot be two dashes alone")
        return found
