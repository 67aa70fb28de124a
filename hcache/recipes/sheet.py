"""The recipes that one picture carries: its own, or of a sheet of several cells each cell's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ..errors import UsageError
from ..fields import Fields
from .recipe import MOST_CELLS, SCHEMA, Recipe

FORMAT = "hcache sheet"


@dataclass(frozen=True, kw_only=True)
class Box:
    """Where in a sheet a cell lies, in pixels from its upper left corner."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class SheetCell:
    """``box``: None if the picture is this cell alone. ``title``: what it shows."""

    recipe: Recipe
    box: Box | None = None
    title: str = ""


def sheet_text(cells: Sequence[SheetCell]) -> str:
    """The JSON that a sheet of these cells carries."""
    data = [
        {
            "title": cell.title,
            "box": asdict(cell.box) if cell.box else None,
            "recipe": cell.recipe.to_json(),
        }
        for cell in cells
    ]
    return json.dumps({"format": FORMAT, "schema": SCHEMA, "cells": data})


def read_cells(text: str | bytes) -> tuple[SheetCell, ...]:
    """The cells of what a picture carries, or of a JSON file: one recipe, or a sheet's.

    Raises:
        UsageError: it is neither; the message says what is wrong and where.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"this is not a recipe: it is not JSON ({error})") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        return (SheetCell(recipe=Recipe.from_json(data)),)
    try:
        return _sheet(Fields(data))
    except RecursionError as error:
        raise UsageError("recipe: it is nested too deeply") from error


def _sheet(fields: Fields) -> tuple[SheetCell, ...]:
    fields.any("format")
    if (schema := fields.whole("schema", 1)) > SCHEMA:
        raise UsageError(
            f"this recipe was written by a newer hcache (schema {schema}; known: {SCHEMA}); update"
            " hcache"
        )
    cells = [
        _cell(Fields(cell, f"cells[{i}]"))
        for i, cell in enumerate(fields.items("cells", MOST_CELLS))
    ]
    fields.done()
    if not cells:
        raise UsageError("this sheet has no cells, and so no recipe")
    return tuple(cells)


def _cell(fields: Fields) -> SheetCell:
    box = None
    if fields.left.get("box") is not None:
        sides = fields.part("box")
        box = Box(
            **{
                name: sides.whole(name, high=1_000_000)
                for name in ("left", "top", "width", "height")
            }
        )
        sides.done()
    fields.left.pop("box", None)
    title, data = fields.text("title", default=""), fields.any("recipe")
    fields.done()
    try:
        return SheetCell(recipe=Recipe.from_json(data), box=box, title=title)
    except UsageError as error:
        raise UsageError(f"{fields.where}: {error}") from error
