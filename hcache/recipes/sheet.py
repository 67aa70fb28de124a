"""The recipes in a picture: one recipe, or those of a sheet of several cells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct, structs

from ..errors import UsageError
from ..fields import decoded
from .edits import Text
from .recipe import MOST_CELLS, SCHEMA, Recipe, check_schema

FORMAT = "hcache sheet"

Pixels = Annotated[int, Meta(ge=0, le=1_000_000)]


class Box(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The box of a cell in a sheet.

    It is given in pixels from the upper left corner of the sheet.
    """

    left: Pixels
    top: Pixels
    width: Pixels
    height: Pixels


class SheetCell(Struct, frozen=True, kw_only=True):
    """One picture of a sheet.

    ``box`` is None if the picture is this cell alone. ``title`` describes the picture.
    """

    recipe: Recipe
    box: Box | None = None
    title: str = ""


class CellFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON of a cell.

    Its recipe has its own schema.
    """

    recipe: dict[str, Any]
    box: Box | None = None
    title: Text = ""


class SheetFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON of a sheet."""

    format: str
    schema: Annotated[int, Meta(ge=1)]
    cells: Annotated[list[CellFields], Meta(min_length=1, max_length=MOST_CELLS)]


def sheet_text(cells: Sequence[SheetCell]) -> str:
    """Returns the JSON of a sheet with these cells."""
    data = [
        {
            "title": cell.title,
            "box": structs.asdict(cell.box) if cell.box else None,
            "recipe": cell.recipe.to_json(),
        }
        for cell in cells
    ]
    return json.dumps({"format": FORMAT, "schema": SCHEMA, "cells": data})


def read_cells(text: str | bytes) -> tuple[SheetCell, ...]:
    """Returns the cells in the JSON of a picture or a file.

    The JSON contains one recipe, or a sheet.

    Raises:
        UsageError: it is neither. The message names the fault and its place.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"this is not a recipe: it is not JSON ({error})") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        return (SheetCell(recipe=Recipe.from_json(data)),)
    check_schema(data.get("schema"))
    if data.get("cells") == []:
        raise UsageError("this sheet has no cells, and so no recipe")
    try:
        read = decoded(data, SheetFile)
    except RecursionError as error:
        raise UsageError("recipe: it is nested too deeply") from error
    return tuple(_cell(cell, f"cells[{i}]") for i, cell in enumerate(read.cells))


def _cell(read: CellFields, where: str) -> SheetCell:
    """Reads a cell and its recipe. ``where`` is its name in messages."""
    try:
        recipe = Recipe.from_json(read.recipe)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    return SheetCell(recipe=recipe, box=read.box, title=read.title)
