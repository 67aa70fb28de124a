"""``python -m hcache``: models, anatomy, convert-adm, convert-ddpm, estimate, extract, invert,
runs, info, verify, repair, labels, export, direction, render, figure, measure, compare, probe,
read, reader, bench, tasks, cancel, dashboard, background.

Installed, ``hcache`` is the same command.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import HcacheError, told_of
from ..starting import wait_asleep
from .attention import add_attention
from .background import add_background
from .bench import add_bench
from .checking import add_checking
from .conversion import add_conversion
from .dashboard import add_dashboard
from .directions import add_direction
from .edit_steps import add_edit_steps
from .exchange import add_exchange
from .extraction import add_extraction
from .figure import add_figure
from .measures import add_measures
from .models import add_models
from .parser import Parser
from .probe import add_probes
from .progress import reported
from .readers import add_read, add_reader
from .render import add_render
from .runs import add_runs, add_watching
from .schema import add_schema


def build_parser() -> argparse.ArgumentParser:
    """Builds the parser of all commands.

    Each command sets ``run`` to its function.
    """
    return parsers()[""]


@cache
def parsers() -> dict[str, argparse.ArgumentParser]:
    """Returns the parser of each command. They are built once.

    The keys are what a user types: ``runs``, ``direction fit``. The parser of the whole program has
    the key "".
    """
    parser = Parser(
        prog=_typed(), description="Extract and inspect the h-space and skips of diffusion U-Nets."
    )
    parser.add_argument("--version", action="version", version=f"hcache {__version__}")
    sub = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    known = {"": parser}
    for add in ADDED:
        add(partial(_add_command, known, sub, ""))
    for prefix, (text, add) in GROUPS.items():
        known[prefix] = group = sub.add_parser(prefix, help=text, description=text)
        under = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
        add(partial(_add_command, known, under, f"{prefix} "))
    return known


def _add_command(
    known: dict[str, argparse.ArgumentParser],
    under: Any,
    prefix: str,
    name: str,
    run: Any,
    text: str,
    home: bool = True,
) -> argparse.ArgumentParser:
    """Adds a command with the options that all commands have.

    Args:
        known: The parsers by what a user types. The new one is added.
        under: The subparsers that it is added to.
        prefix: What a user types before its name.
        name: The command's name.
        run: The command's function.
        text: What the command does, for ``--help``.
        home: Whether the command works with runs.
    """
    known[prefix + name] = child = under.add_parser(name, help=text, description=text)
    child.set_defaults(run=run)
    child.add_argument("--json", action="store_true", help="print JSON instead of text")
    child.add_argument(
        "--status", metavar="FILE", help="write the progress of the command to this JSON file"
    )
    if home:
        child.add_argument(
            "--home",
            help="folder of the runs (default: $HCACHE_HOME, or else the user's cache folder)",
        )
    return child


def _typed() -> str:
    """Returns how this command was started: ``hcache`` if it is installed, else ``python -m
    hcache``.
    """
    return "hcache" if Path(sys.argv[0]).stem == "hcache" else "python -m hcache"


ADDED = (
    add_models,
    add_extraction,
    add_conversion,
    add_runs,
    add_watching,
    add_checking,
    add_exchange,
    add_render,
    add_figure,
    add_measures,
    add_edit_steps,
    add_attention,
    add_probes,
    add_read,
    add_bench,
    add_dashboard,
    add_background,
    add_schema,
)
"""The functions that add commands, in the order of ``--help``."""

GROUPS = {
    "reader": ("List, check and delete attribute readers.", add_reader),
    "direction": ("Fit, list, show, delete and import directions in h-space.", add_direction),
}
"""Commands with subcommands: name -> their purpose, and the function that adds them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code.

    The codes are 0 done, 1 failed, 2 wrong usage, 3 damaged, 5 no space, 130 interrupted.
    """
    try:
        arguments = build_parser().parse_args(argv)
        if not getattr(arguments, "spins", False):
            wait_asleep()  # before the command imports torch
        with reported(arguments.status):
            result = arguments.run(arguments)
        print(json.dumps(result.data, indent=1) if arguments.json else result.text, flush=True)
        return result.exit_code
    except BrokenPipeError:
        return 1
    except (HcacheError, OSError, MemoryError) as error:
        told = told_of(error)
        print(f"hcache: {told}", file=sys.stderr)
        return told.exit_code
    except KeyboardInterrupt:
        return 130
