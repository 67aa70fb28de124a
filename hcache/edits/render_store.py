"""Stores rendered cells beside their run, as ``<run>/renders/<digest>.png``, by the digest of their
recipe.

A stored cell is not rendered again. Each file contains its own recipe with the place in the batch,
so a reused cell can also be reproduced to the last bit. A file that is damaged or does not match
its name is ignored. The total size is bounded; the least recently used files are deleted first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..atomic import make_folder, read_file, write_bytes
from ..cache.layout import RENDER_BYTES, RENDERS
from ..cache.reading import Run
from ..errors import UsageError
from ..images.pngs import pixels_digest, read_picture, read_recipe
from ..recipes.recipe import Recipe, check_run
from ..recipes.sheet import read_cells
from .rendered import Rendered

if TYPE_CHECKING:
    from ..directions.direction import Move
    from ..models.model import Model
    from .batches import Renders


def render_kept(
    load: Callable[[], Model],
    run: Run,
    recipes: Sequence[Recipe],
    home: Path,
    moves: Mapping[str, Move] | None = None,
    place: Renders | None = None,
) -> Generator[float, None, list[Rendered]]:
    """Renders recipes like ``render_recipes``, but reuses stored cells.

    Each recipe is rendered once.

    Args:
        load: Returns the run's model. It is called only if something must be rendered here.
        place: Computes the pictures. None means this process.
    """
    for recipe in recipes:
        check_run(recipe, run)
    found = {recipe.digest: find_render(run, recipe) for recipe in recipes}
    missing = list(
        {recipe.digest: recipe for recipe in recipes if found[recipe.digest] is None}.values()
    )
    if missing:
        from .render import render_on, render_recipes

        work = (
            render_recipes(load(), run, missing, home, moves)
            if place is None
            else render_on(place, run, missing, moves)
        )
        for cell in (yield from work):
            found[cell.recipe.digest] = cell
            keep_render(run, cell)
        trim(run)
    return [
        cell for recipe in recipes if (cell := found[recipe.digest]) is not None
    ]  # no element is None any more


def find_render(run: Run, recipe: Recipe) -> Rendered | None:
    """Returns the stored cell of a recipe, if it is intact."""
    return kept_render(run, recipe.digest)


def kept_render(run: Run, digest: str) -> Rendered | None:
    """Returns the stored cell with a recipe's digest, if it is intact."""
    path = run.folder / RENDERS / f"{digest}.png"
    try:
        data = read_file(path)
        picture, cells = read_picture(data), read_cells(read_recipe(data))
        if (
            len(cells) != 1
            or cells[0].recipe.digest != digest
            or picture.shape != run.anatomy.image
        ):
            return None
        if cells[0].recipe.pixels != pixels_digest(picture):
            return None
    except (OSError, UsageError):
        return None
    with suppress(OSError):  # another process may have deleted it, or the run is read-only
        os.utime(path)
    return Rendered(picture=picture, recipe=cells[0].recipe)


def keep_render(run: Run, cell: Rendered) -> None:
    """Stores a cell, unless nothing can be written."""
    final = run.folder / RENDERS / f"{cell.recipe.digest}.png"
    with suppress(OSError):
        make_folder(final.parent, parents=False)
        write_bytes(final, cell.png)


def trim(run: Run, most: int = RENDER_BYTES) -> None:
    """Deletes the least recently used cells.

    The remaining cells take at most ``most`` bytes. Files that a killed process left half written
    are also deleted.
    """
    files = []
    for path in (run.folder / RENDERS).glob("*.png*"):
        try:
            stat = path.stat()
        except OSError:
            continue
        files.append((stat.st_mtime_ns, stat.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= most:
            break
        with suppress(OSError):  # it belongs to another user, or the disk is read-only
            path.unlink(missing_ok=True)
        total -= size
