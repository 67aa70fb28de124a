"""The page of all commands and options, made from the parser itself.

PYTHONPATH=. python docs/scripts/options.py    # prints it
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from hcache.cli.main import build_parser

HEAD = """# Every option

This page is made from the parser. [Command line](command-line.md) has the commands by subject.
"""

NAMES = {
    "RUN": "the name of a run; `runs` lists them",
    "READER": "the name of a reader; `reader list` lists them",
    "NAME": "the name of a direction; `direction list` lists them",
}
"""What names mean that are the same in all commands, where ``--help`` has only the name."""


def commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command by what is typed after ``python -m hcache``, with its parser."""
    yield from _under("", build_parser())


def as_markdown() -> str:
    """The page: a section for each command, a line for each of its arguments."""
    return "\n".join([HEAD, *(_section(name, parser) for name, parser in commands())])


def _under(
    name: str, parser: argparse.ArgumentParser
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    groups = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if not groups:
        yield name, parser
    for group in groups:
        for word, child in group.choices.items():
            yield from _under(f"{name} {word}".strip(), child)


def _section(name: str, parser: argparse.ArgumentParser) -> str:
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    typed = f"python -m hcache {name}"
    usage = typed + usage.split(name.split()[-1], 1)[1]
    lines = [f"## {name}", "", parser.description or "", "", "```text", usage, "```", ""]
    lines += ["| argument | meaning |", "|---|---|"]
    lines += [_row(each) for each in parser._actions if not _is_help(each)]
    return "\n".join([*lines, ""])


def _row(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    takes = action.option_strings and action.nargs != 0
    value = f" {action.metavar or _choices(action) or action.dest.upper()}" if takes else ""
    help_text = action.help if action.help is not None else NAMES[str(action.metavar)]
    said = " ".join(help_text.split()) % vars(action)
    return f"| `{name}{value}` | {_escaped(said)} |"


def _is_help(action: argparse.Action) -> bool:
    """Every command has ``--help``, and some arguments are hidden: neither needs a line."""
    return action.help == argparse.SUPPRESS or "--help" in action.option_strings


def _choices(action: argparse.Action) -> str:
    return "{" + ",".join(map(str, action.choices)) + "}" if action.choices else ""


def _escaped(text: str) -> str:
    """The text for a cell of a table; what stands between backquotes is code already."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([\\|<>*_\[\]$])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


if __name__ == "__main__":
    print(as_markdown())
