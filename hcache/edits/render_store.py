"""Rendered cells, kept beside their run: ``<run>/renders/<digest>.png``, by the digest of their
recipe.

A cell that is there is not rendered again. Each file carries its own recipe, place in the batch
included, so that what is reused is also what can be repeated to the last bit. A file that is
damaged, or not what its name says, counts for nothing. Together they take a bounded number of
bytes; the least recently used go first.
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


def render_kept(
    load: Callable[[], Model],
    run: Run,
    recipes: Sequence[Recipe],
    home: Path,
    moves: Mapping[str, Move] | None = None,
) -> Generator[float, None, list[Rendered]]:
    """Like ``render_recipes``, but what was rendered before is taken from there.

    Each recipe is rendered once.

    Args:
        load: Gives the run's model; asked only if there is something to render.
    """
    for recipe in recipes:
        check_run(recipe, run)
    found = {recipe.digest: find_render(run, recipe) for recipe in recipes}
    missing = list(
        {recipe.digest: recipe for recipe in recipes if found[recipe.digest] is None}.values()
    )
    if missing:
        from .render import render_recipes

        for cell in (yield from render_recipes(load(), run, missing, home, moves)):
            found[cell.recipe.digest] = cell
            keep_render(run, cell)
        trim(run)
    return [
        cell for recipe in recipes if (cell := found[recipe.digest]) is not None
    ]  # none is None any more


def find_render(run: Run, recipe: Recipe) -> Rendered | None:
    """The cell as it was rendered before.

    If it is there and whole.
    """
    return kept_render(run, recipe.digest)


def kept_render(run: Run, digest: str) -> Rendered | None:
    """Likewise by its recipe's digest alone."""
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
    with suppress(
        OSError
    ):  # another process may have taken it away meanwhile, or the run is read-only
        os.utime(path)
    return Rendered(picture=picture, recipe=cells[0].recipe)


def keep_render(run: Run, cell: Rendered) -> None:
    """Keeps a cell; where nothing can be written, it is not kept."""
    final = run.folder / RENDERS / f"{cell.recipe.digest}.png"
    with suppress(OSError):
        make_folder(final.parent, parents=False)
        write_bytes(final, cell.png)


def trim(run: Run, most: int = RENDER_BYTES) -> None:
    """Takes away the cells that were not used for longest.

    Until the rest take ``most`` bytes or fewer; what a process that was killed left half
    written goes the same way.
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
        with suppress(OSError):  # of another user's, or on a disk that is read-only
            path.unlink(missing_ok=True)
        total -= size
