"""``python -m hcache render``: renders a recipe's picture again, and says whether it is
bit-identical.
"""

from __future__ import annotations

import argparse
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..atomic import make_folder, write_bytes
from ..cache.layout import home_folder, run_folder
from ..cache.reading import Run, open_run
from ..edits.rendered import Rendered
from ..errors import UnknownRunError, UsageError, refused
from ..images.pngs import MOST_TEXT, read_picture, read_recipe
from ..recipes.sheet import SheetCell, read_cells
from .progress import drive_with_bar
from .result import Result
from .where import add_ray, renders_of

if TYPE_CHECKING:
    from ..edits.batches import Renders
    from ..models.model import Model

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A file of recipes. ``picture``: its pixels (height, width, 3) uint8, of a PNG."""

    cells: tuple[SheetCell, ...]
    picture: np.ndarray | None


def add_render(command: Any) -> None:
    """Adds the command's parser."""
    child = command(
        "render", render, "Render a recipe again, and say whether the picture is identical."
    )
    child.listing = _edits
    child.add_argument(
        "recipe", metavar="RECIPE", help="a PNG with recipes, or a JSON file with one recipe"
    )
    child.add_argument(
        "--cell", type=int, metavar="K", help="render only this cell, counted from 0 (default: all)"
    )
    child.add_argument(
        "--out", help="PNG to write, or folder for several cells (default: nothing is written)"
    )
    child.add_argument(
        "--device", default="auto", help="device of the computation (default: the best available)"
    )
    add_ray(child)


def _edits() -> str:
    """Returns the edits that a recipe may have, for the end of the help."""
    from ..recipes.edits import EDITS

    listed = [f"  {edit.kind}: {edit.title}. {edit.help}" for edit in EDITS.values()]
    return "\n".join(["edits that a recipe can contain:", *listed])


def render(arguments: argparse.Namespace) -> Result:
    """Renders a file's recipes again.

    The exit code is 0 whether or not the pictures are identical.
    """
    source = _read(Path(arguments.recipe))
    chosen = _chosen(source.cells, arguments.cell)
    single = arguments.cell is not None or len(source.cells) == 1
    if arguments.out and not single and Path(arguments.out).suffix.lower() == ".png":
        raise UsageError(
            f"--out takes a folder for {len(chosen)} cells, got {arguments.out}; give one, or"
            " choose a --cell"
        )
    home = home_folder(arguments.home)
    again: dict[int, Rendered] = {}
    for name in dict.fromkeys(source.cells[k].recipe.run for k in chosen):
        numbers = [k for k in chosen if source.cells[k].recipe.run == name]
        recipes = [source.cells[k].recipe for k in numbers]
        run = _run(home, name)
        with renders_of(arguments, run, home) as renders:
            work = _render(run, recipes, home, arguments.device, renders)
            found = drive_with_bar(work, f"rendering {name}")
        again |= dict(zip(numbers, found, strict=True))
    written = _write(again, arguments.out, single)
    facts = [
        _compare(k, source.cells[k], again[k], source.picture) | written.get(k, {}) for k in chosen
    ]
    lines = [_in_words(fact, many=len(source.cells) > 1) for fact in facts]
    if not written:
        lines.append("nothing was written; give --out to save the result")
    return Result(text="\n".join(lines), data={"cells": facts})


def _read(path: Path) -> _Source:
    try:
        if path.stat().st_size > 256 * 2**20:
            raise UsageError(f"{path} is too large to be a picture or a recipe")
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    try:
        if data.startswith(PNG):
            return _Source(cells=read_cells(read_recipe(data)), picture=read_picture(data))
        if len(data) > MOST_TEXT:
            raise UsageError(
                f"it is not a PNG, and its {len(data)} bytes are too many for the JSON of a recipe"
            )
        return _Source(cells=read_cells(data), picture=None)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _chosen(cells: Sequence[SheetCell], cell: int | None) -> list[int]:
    if cell is None:
        return list(range(len(cells)))
    if not 0 <= cell < len(cells):
        raise UsageError(
            f"--cell must lie in 0 to {len(cells) - 1}, the cells of this file; got {cell}"
        )
    return [cell]


def _run(home: Path, name: str) -> Run:
    try:
        return open_run(run_folder(home, name))
    except UnknownRunError as error:
        raise UnknownRunError(
            f"{error}; the recipe needs the data of that run; give its home with --home"
        ) from error


def _render(
    run: Run, recipes: Sequence[Any], home: Path, device: str, renders: Renders | None
) -> Generator[float, None, list[Rendered]]:
    from ..edits.render import render_again, render_again_on
    from ..recipes.recipe import check_run

    for recipe in recipes:
        check_run(recipe, run)
    if renders is not None:
        return (yield from render_again_on(renders, run, recipes))
    model = _load(run, device, recipes[0].versions)
    return (yield from render_again(model, run, recipes, home))


def _load(run: Run, device: str, versions: Mapping[str, str]) -> Model:
    """Loads the run's model, with as many threads as the picture was rendered on. Their number may
    change the rounding.
    """
    import torch

    from ..extraction.run import load_model_of

    model = load_model_of(run, device)
    threads = versions.get("threads", "")
    if threads.isdecimal() and 1 <= int(threads) <= 256:
        torch.set_num_threads(int(threads))
    return model


def _write(
    again: Mapping[int, Rendered], out: str | None, single: bool
) -> dict[int, dict[str, str]]:
    """Writes the cells, and returns where each one is."""
    if out is None:
        return {}
    path = Path(out)
    paths = {k: path if single else path / f"cell-{k:03d}.png" for k in again}
    try:
        for k, target in paths.items():
            make_folder(target.parent)
            write_bytes(target, again[k].png)
    except OSError as error:
        raise refused(out, error) from error
    return {k: {"out": str(target)} for k, target in paths.items()}


def _compare(
    k: int, cell: SheetCell, again: Rendered, picture: np.ndarray | None
) -> dict[str, Any]:
    """Returns whether a cell is the same (None if there is nothing to compare with), the
    difference, and its reason.
    """
    then, now = cell.recipe.versions, again.recipe.versions
    facts: dict[str, Any] = {
        "cell": k,
        "title": cell.title,
        "run": cell.recipe.run,
        "sample": cell.recipe.sample,
        "identical": None,
        "pixels": again.recipe.pixels,
    }
    shown = _cut(cell, picture)
    if shown is not None and shown.shape == again.picture.shape:
        apart = np.abs(shown.astype(int) - again.picture)
        facts |= {
            "identical": not apart.any(),
            "largest_difference": int(apart.max()),
            "pixels_that_differ": int(apart.any(-1).sum()),
        }
    elif cell.recipe.pixels:
        facts["identical"] = cell.recipe.pixels == again.recipe.pixels
    facts["versions"] = {
        name: [then[name], now[name]] for name in now if name in then and then[name] != now[name]
    }
    return facts


def _cut(cell: SheetCell, picture: np.ndarray | None) -> np.ndarray | None:
    """Returns the part of the file's picture that shows a cell."""
    if picture is None or cell.box is None:
        return picture
    box = cell.box
    return picture[box.top : box.top + box.height, box.left : box.left + box.width]


def _in_words(fact: Mapping[str, Any], many: bool) -> str:
    head = (
        f"cell {fact['cell']}" + (f" ({fact['title']})" if fact["title"] else "")
        if many
        else "the picture"
    )
    if fact["identical"] is None:
        text = f"{head}: rendered; the file does not say what its pixels were"
    elif fact["identical"]:
        text = f"{head}: identical"
    elif "largest_difference" in fact:
        text = (
            f"{head}: {fact['pixels_that_differ']} pixels differ, by at most"
            f" {fact['largest_difference']} of 255"
        )
    else:
        text = f"{head}: not identical"
    if fact["identical"] is False:
        changed = ", ".join(
            f"{name} {then} then, {now} now" for name, (then, now) in fact["versions"].items()
        )
        text += f" ({changed})" if changed else " (the same versions of all libraries)"
    return text + (f" -> {fact['out']}" if "out" in fact else "")
