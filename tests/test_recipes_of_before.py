"""Recipes and directions that an earlier version wrote are read, and written the same again."""

import json
import shutil
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from hcache.directions.direction import digest_of
from hcache.directions.store import list_moves, load_move
from hcache.errors import UsageError
from hcache.images.pngs import read_picture, read_recipe
from hcache.recipes.recipe import Recipe, recipe_schema
from hcache.recipes.sheet import read_cells

HERE = Path(__file__).parent / "files_of_before" / "edits"
RECIPES = json.loads((HERE / "recipes.json").read_text(encoding="utf-8"))
DIRECTIONS = json.loads((HERE / "directions.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("written", RECIPES, ids=[written["name"] for written in RECIPES])
def test_a_recipe_of_before_is_read_and_written_the_same(written):
    """To the last letter; its digest is the name of kept pictures."""
    found = Recipe.from_json(json.loads(written["text"]))
    assert found.to_text() == written["text"]
    assert found.digest == written["digest"]


def test_the_json_schema_takes_what_is_written_and_refuses_the_rest():
    """As the reader does: what it refuses is refused by the schema, too."""
    schema = Draft202012Validator(recipe_schema())
    for written in RECIPES:
        assert [error.message for error in schema.iter_errors(json.loads(written["text"]))] == []
    good = json.loads(next(w for w in RECIPES if w["name"] == "all")["text"])
    for place, value in (
        (("sample",), -1),
        (("nonsense",), 1),
        (("edits", 0, "strength"), "2"),
        (("edits", 0, "kind"), "paint"),
        (("edits", 1, "sites"), ["x"]),
        (("edits", 2, "gamma"), 1.5),
        (("edits", 0, "direction", "digest"), "xyz"),
    ):
        bad = json.loads(json.dumps(good))
        at = bad
        for name in place[:-1]:
            at = at[name]
        at[place[-1]] = value
        assert not schema.is_valid(bad), place
        with pytest.raises(UsageError):
            Recipe.from_json(bad)


def test_there_is_a_recipe_of_before_with_every_edit_and_option():
    edits = [edit for written in RECIPES for edit in json.loads(written["text"])["edits"]]
    assert {edit["kind"] for edit in edits} == {"shift", "distance", "swap", "slerp", "freeu"}
    said = {name for edit in edits for name in edit}
    assert said >= {"per_step", "resample", "mask", "origin", "sites", "gamma", "b1", "window"}


def test_a_picture_of_before_carries_its_recipe():
    data = (HERE / "cell.png").read_bytes()
    (cell,) = read_cells(read_recipe(data))
    written = next(w for w in RECIPES if w["name"] == "shift, per step, masked")
    assert cell.recipe.to_text() == written["text"] and read_picture(data).shape == (16, 16, 3)


def test_directions_of_before_are_listed_and_loaded(copied_run):
    """Loading compares the digest in the file with what it holds."""
    folder = copied_run.folder / "directions"
    shutil.copytree(HERE / "directions", folder)
    entries = {entry.name: entry for entry in list_moves(copied_run)}
    assert entries.keys() == DIRECTIONS.keys()
    assert {entry.kind for entry in entries.values()} == {"shift", "local", "vae", "x"}
    for name, said in DIRECTIONS.items():
        move = load_move(copied_run, name)
        assert (digest_of(move), move.kind) == (said["digest"], said["kind"])
        assert dict(move.made_by) == said["made_by"] == entries[name].made_by
