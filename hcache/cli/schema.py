"""``python -m hcache schema``: the JSON Schema of a file that hcache writes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import msgspec

from ..background.tasks import Task
from ..cache.description import RunFile
from ..cache.manifest import Shard
from ..cache.records import Record
from ..cache.verify import Report
from ..readers.saved import ReadBy
from ..recipes.recipe import recipe_schema
from .result import Result

DRAFT = "https://json-schema.org/draft/2020-12/schema"

FILES: dict[str, Callable[[], dict[str, Any]]] = {
    "run": lambda: msgspec.json.schema(RunFile),
    "shard": lambda: msgspec.json.schema(Shard),
    "task": lambda: msgspec.json.schema(Task),
    "verification": lambda: msgspec.json.schema(Report),
    "measure": lambda: msgspec.json.schema(Record),
    "reading": lambda: msgspec.json.schema(ReadBy),
    "recipe": recipe_schema,
}
"""Name -> function that makes the JSON Schema of a file's type, which checks it when it is read."""


def json_schema(name: str) -> dict[str, Any]:
    """Returns the JSON Schema of a kind of file, as plain JSON.

    The kind is one of ``FILES``.
    """
    return _on_one_line(msgspec.to_builtins({"$schema": DRAFT, **FILES[name]()}))


def _on_one_line(found: Any) -> Any:
    """Returns a schema without line breaks in its descriptions, which are docstrings."""
    if isinstance(found, dict):
        return {
            key: " ".join(value.split())
            if key == "description" and isinstance(value, str)  # else it is a field of that name
            else _on_one_line(value)
            for key, value in found.items()
        }
    return [_on_one_line(value) for value in found] if isinstance(found, list) else found


def schema(arguments: argparse.Namespace) -> Result:
    """Prints the schema that a kind of file is checked against."""
    found = json_schema(arguments.file)
    return Result(text=json.dumps(found, indent=1), data=found)


def add_schema(command: Any) -> None:
    """Adds the command's parser; ``command`` makes it."""
    text = "Print the JSON Schema of a file that hcache writes, for other programs."
    child = command("schema", schema, text, home=False)
    child.add_argument(
        "file",
        choices=tuple(FILES),
        help=(
            "run: run.json; shard: a line of manifest.jsonl; task: job.json and tasks/*.json;"
            " verification: verify.json; measure: measures/*.json; reading: a run's readers/*.json;"
            " recipe: the recipe of one picture"
        ),
    )
