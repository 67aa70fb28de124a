"""Renders recipes: many at once, each as one row of a batch, or one again to the last bit.

A batch begins at the cached x_t of the first step in which any of its rows is edited. Recipes that
differ in a setting of the whole batch (asymmetric, noise boost, FreeU) go into different batches.

Two batches of different sizes may round differently, and so may a cached x_t and one that is
computed again. A rendered recipe therefore contains its row, the number of rows and the first step.
It is rendered again in the same row of a batch of the same size, from the same step on. Its edits
see only their own row, so the contents of the other rows do not matter.

Rendering takes seconds, so these functions are generators. They yield the share that is done after
every step and return the result. The caller can stop between two steps.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..cache.reading import Run
from ..directions.direction import Direction, Move, digest_of
from ..errors import UsageError
from ..images.pngs import pixels_digest
from ..models.model import Model
from ..recipes.recipe import BatchPlace, Recipe, check_run, plain, recipe_of
from ..recipes.window import Window
from .batches import RecipeRows, Renders, RendersHere
from .executor import Executor
from .recipe_directions import reference_to
from .rendered import Rendered
from .shift import ShiftEdit

ROWS = 16
"""The largest number of pictures in a batch."""


def render_recipes(
    model: Model,
    run: Run,
    recipes: Sequence[Recipe],
    home: Path,
    moves: Mapping[str, Move] | None = None,
) -> Generator[float, None, list[Rendered]]:
    """Renders recipes of one run in their order, in this process.

    Args:
        model: The run's model.
        run: The run of all recipes.
        recipes: The recipes to render. Earlier renderings have no effect.
        home: The home of donors from other runs.
        moves: Directions by digest that need not be saved or fitted again.

    Raises:
        UsageError: a recipe is not for this run, or needs something that is missing.
    """
    here = RendersHere(Executor(model, run, home, moves))
    return (yield from render_on(here, run, recipes))


def render_on(
    place: Renders,
    run: Run,
    recipes: Sequence[Recipe],
    moves: Mapping[str, Move] | None = None,
) -> Generator[float, None, list[Rendered]]:
    """Renders recipes of one run in their order, wherever ``place`` computes."""
    for recipe in recipes:
        check_run(recipe, run)
    groups = _batches(recipes)
    batches = []
    for group in groups:
        rows = tuple(recipes[i] for i in group)
        first = min(recipe.first_step(run.timesteps) for recipe in rows)
        batches.append(RecipeRows(recipes=rows, first=first, moves=dict(moves or {})))
    made, found = (yield from place.pictures(batches)), {}
    for group, batch, each in zip(groups, batches, made, strict=True):
        for row, i in enumerate(group):
            at = BatchPlace(row=row, rows=len(group), first=batch.first)
            found[i] = filled_in(each.pictures[row], recipes[i], at, each.versions)
    return [found[i] for i in range(len(recipes))]


def render_again(
    model: Model,
    run: Run,
    recipes: Sequence[Recipe],
    home: Path,
    moves: Mapping[str, Move] | None = None,
) -> Generator[float, None, list[Rendered]]:
    """Renders recipes as they were rendered before, in this process.

    They are returned in their order.     Each recipe is rendered in its own row of a batch of the
    same size. Recipes from one batch are rendered together. Missing rows are filled.
    """
    here = RendersHere(Executor(model, run, home, moves))
    return (yield from render_again_on(here, run, recipes))


def render_again_on(
    place: Renders, run: Run, recipes: Sequence[Recipe]
) -> Generator[float, None, list[Rendered]]:
    """Renders recipes as they were rendered before, wherever ``place`` computes."""
    for recipe in recipes:
        check_run(recipe, run)
        if recipe.place and recipe.place.first > (earliest := recipe.first_step(run.timesteps)):
            raise UsageError(
                f"this recipe was rendered from step {recipe.place.first} on, but changes step"
                f" {earliest}"
            )
    places = [
        r.place or BatchPlace(row=0, rows=1, first=r.first_step(run.timesteps)) for r in recipes
    ]
    groups, batches, found = _batches_again(recipes, places), [], {}
    for group in groups:
        some = next(iter(group.values()))
        rows = tuple(recipes[group.get(row, some)] for row in range(places[some].rows))
        batches.append(RecipeRows(recipes=rows, first=places[some].first))
    made = yield from place.pictures(batches)
    for group, each in zip(groups, made, strict=True):
        for row, i in group.items():
            found[i] = filled_in(each.pictures[row], recipes[i], places[i], each.versions)
    return [found[i] for i in range(len(recipes))]


def render_moved(
    model: Model,
    run: Run,
    samples: Sequence[int],
    direction: Direction,
    strengths: Sequence[float],
    window: Window,
    asymmetric: bool,
) -> Generator[float, None, np.ndarray]:
    """Returns pictures of samples moved by ``strengths``: (n, height, width, 3) uint8."""
    recipes = [
        recipe_of(run, sample, [shift_by(direction, strength, window)], asymmetric=asymmetric)
        for sample, strength in zip(samples, strengths, strict=True)
    ]
    found = yield from render_recipes(
        model, run, recipes, run.home, {digest_of(direction): direction}
    )
    return np.stack([cell.picture for cell in found])


def shift_by(move: Move, strength: float, window: Window, name: str = "") -> ShiftEdit:
    """Returns the edit that moves h along a direction."""
    return ShiftEdit(direction=reference_to(move, name), strength=strength, window=window)


def filled_in(
    picture: np.ndarray, recipe: Recipe, place: BatchPlace, versions: Mapping[str, str]
) -> Rendered:
    """Returns a picture with its recipe.

    The recipe now contains its place in the batch, and the versions that made the picture.
    """
    full = replace(
        plain(recipe), place=place, pixels=pixels_digest(picture), versions=dict(versions)
    )
    return Rendered(picture=picture, recipe=full)


def _batches(recipes: Sequence[Recipe]) -> list[list[int]]:
    """Returns the numbers of the recipes that go through the loop together."""
    alike: dict[tuple, list[int]] = {}
    for i, recipe in enumerate(recipes):
        alike.setdefault(_of_batch(recipe), []).append(i)
    return [
        group[start : start + ROWS]
        for group in alike.values()
        for start in range(0, len(group), ROWS)
    ]


def _batches_again(recipes: Sequence[Recipe], places: Sequence[BatchPlace]) -> list[dict[int, int]]:
    """Returns the possible former batches: row -> number of the recipe."""
    batches: list[tuple[tuple, dict[int, int]]] = []
    for i, (recipe, place) in enumerate(zip(recipes, places, strict=True)):
        key = (*_of_batch(recipe), place.rows, place.first)
        for other, rows in batches:
            if other == key and place.row not in rows:
                rows[place.row] = i
                break
        else:
            batches.append((key, {place.row: i}))
    return [rows for _, rows in batches]


def _of_batch(recipe: Recipe) -> tuple:
    """Returns the settings of the whole batch."""
    return (recipe.asymmetric, recipe.t_boost, recipe.network_edits)
