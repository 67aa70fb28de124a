"""Rendered cells are kept and reused; sheets carry each cell's recipe; ``render`` gives the same
picture again.
"""

import json
import os

import numpy as np
import pytest
from test_cli import failure, json_of, out_of
from tiny import drain

from hcache.cache.layout import RENDERS
from hcache.edits.render_store import find_render, render_kept, trim
from hcache.errors import UsageError
from hcache.figures.pictures import contact_sheet
from hcache.images.pngs import png_bytes, read_picture, read_recipe
from hcache.recipes.recipe import recipe_of
from hcache.recipes.sheet import Box, SheetCell, read_cells, sheet_text


class Counted:
    """A model that counts how often its U-Net is run."""

    def __init__(self, model):
        self.model, self.calls, self.loads = model, 0, 0

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self):
        self.loads += 1
        return self

    def encode(self, *arguments):
        self.calls += 1
        return self.model.encode(*arguments)


class TestRenders:
    @pytest.fixture
    def listed(self, copied_run, recipes):
        return [
            recipe_of(copied_run, sample, recipes["nothing"].edits, t_boost=1000)
            for sample in (3, 4, 3)
        ]

    def test_what_was_rendered_is_not_rendered_again(self, tiny_model, copied_run, listed):
        model = Counted(tiny_model)
        _, first = drain(render_kept(model, copied_run, listed, copied_run.home))
        assert (model.loads, model.calls) == (1, copied_run.spec.steps)
        assert first[0] is first[2] and first[0].recipe.place.rows == 2, (
            "one and the same is rendered once"
        )
        _, again = drain(render_kept(model, copied_run, listed, copied_run.home))
        assert (model.loads, model.calls) == (1, copied_run.spec.steps), "not even loaded"
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a.picture, b.picture)
            assert a.recipe == b.recipe, "with the place in which it was rendered"
        more = [*listed, recipe_of(copied_run, 5, t_boost=1000)]
        _, cells = drain(render_kept(model, copied_run, more, copied_run.home))
        assert model.loads == 2 and cells[3].recipe.place.rows == 1, "the missing one alone"

    @pytest.mark.parametrize("how", ["cut off", "other pixels", "another's", "no recipe", "empty"])
    def test_a_damaged_cell_is_rendered_again(self, tiny_model, copied_run, listed, how):
        model = Counted(tiny_model)
        _, (cell, other, _) = drain(render_kept(model, copied_run, listed, copied_run.home))
        path = copied_run.folder / RENDERS / f"{cell.recipe.digest}.png"
        spoilt = {
            "cut off": cell.png[:-40],
            "other pixels": png_bytes(cell.picture[::-1], cell.recipe.to_text()),
            "another's": other.png,
            "no recipe": png_bytes(cell.picture),
            "empty": b"",
        }
        path.write_bytes(spoilt[how])
        assert find_render(copied_run, listed[0]) is None
        _, again = drain(render_kept(model, copied_run, listed[:1], copied_run.home))
        assert model.loads == 2 and path.read_bytes() == again[0].png

    def test_they_are_bounded_and_the_least_recently_used_go_first(self, tiny_model, copied_run):
        listed = [recipe_of(copied_run, sample, t_boost=1000) for sample in range(6)]
        _, cells = drain(render_kept(lambda: tiny_model, copied_run, listed, copied_run.home))
        paths = [copied_run.folder / RENDERS / f"{recipe.digest}.png" for recipe in listed]
        for age, path in enumerate(paths):
            os.utime(path, (1000 + age, 1000 + age))
        assert find_render(copied_run, listed[0]) is not None, "used just now"
        trim(copied_run, sum(path.stat().st_size for path in paths[3:]))
        kept = [path.exists() for path in paths]
        assert kept[0] and not kept[1] and not kept[2] and kept[5]
        assert not [p for p in (copied_run.folder / RENDERS).iterdir() if p.suffix != ".png"]

    def test_nothing_can_be_kept_where_nothing_can_be_written(self, tiny_model, copied_run, listed):
        (copied_run.folder / RENDERS).write_text("in the way")
        _, cells = drain(render_kept(lambda: tiny_model, copied_run, listed, copied_run.home))
        assert len(cells) == 3


class TestSheets:
    def test_each_cell_of_a_sheet_carries_its_own_recipe(self, cells):
        pictures = np.stack([cell.picture for cell in cells.values()])
        sheet, boxes = contact_sheet(pictures, 5)
        listed = [
            SheetCell(
                recipe=c.recipe, box=Box(left=b[0], top=b[1], width=b[2], height=b[3]), title=name
            )
            for (name, c), b in zip(cells.items(), boxes, strict=True)
        ]
        data = png_bytes(sheet, sheet_text(listed))
        found, pixels = read_cells(read_recipe(data)), read_picture(data)
        assert list(found) == listed
        for cell, picture in zip(found, pictures, strict=True):
            b = cell.box
            np.testing.assert_array_equal(
                pixels[b.top : b.top + b.height, b.left : b.left + b.width], picture
            )

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (png_bytes(np.zeros((4, 4, 3), np.uint8)), "carries no recipe"),
            (b"", "not a PNG"),
            (b"\xff\xd8\xff\xe0" + bytes(100), "not a PNG"),
            (png_bytes(np.zeros((4, 4, 3), np.uint8), "x" * 5000)[:300], "not a PNG"),
        ],
    )
    def test_a_picture_without_a_recipe_says_so(self, data, message):
        with pytest.raises(UsageError, match=message):
            read_recipe(data)

    def test_a_picture_carries_so_much_and_no_more(self, monkeypatch):
        monkeypatch.setattr("hcache.images.pngs.MOST_TEXT", 1000)
        picture = np.zeros((4, 4, 3), np.uint8)
        assert read_recipe(png_bytes(picture, "ü" * 500)) == "ü" * 500
        with pytest.raises(UsageError, match="fewer cells"):
            png_bytes(picture, "ü" * 501)
        monkeypatch.setattr("hcache.images.pngs.MOST_TEXT", 2000)
        data = png_bytes(picture, "ü" * 501)
        monkeypatch.setattr("hcache.images.pngs.MOST_TEXT", 1000)
        with pytest.raises(UsageError, match="larger than 1000"):
            read_recipe(data)


class TestCommand:
    @pytest.fixture
    def home(self, tiny_run):
        return ["--home", str(tiny_run.home), "--device", "cpu"]

    @pytest.fixture
    def sheet(self, cells, tmp_path):
        pictures = np.stack([cell.picture for cell in cells.values()])
        pixels, boxes = contact_sheet(pictures, 5)
        listed = [
            SheetCell(
                recipe=c.recipe, box=Box(left=b[0], top=b[1], width=b[2], height=b[3]), title=name
            )
            for (name, c), b in zip(cells.items(), boxes, strict=True)
        ]
        path = tmp_path / "sheet.png"
        path.write_bytes(png_bytes(pixels, sheet_text(listed)))
        return path

    def test_a_png_comes_out_identical_and_its_json_as_well(self, cells, tmp_path, home, capsys):
        cell, path, out = cells["all"], tmp_path / "a.png", tmp_path / "new" / "out.png"
        path.write_bytes(cell.png)
        assert (
            out_of(capsys, "render", str(path), "--out", str(out), *home)
            == f"the picture: identical -> {out}\n"
        )
        assert out.read_bytes() == path.read_bytes(), "recipe and all"
        bare = tmp_path / "a.json"
        bare.write_text(cell.recipe.to_text())
        assert "the picture: identical\nnothing was written" in out_of(
            capsys, "render", str(bare), *home
        )
        data = {
            k: v
            for k, v in cell.recipe.to_json().items()
            if k not in ("pixels", "place", "versions")
        }
        bare.write_text(json.dumps(data))
        found = json_of(capsys, "render", str(bare), *home)["cells"][0]
        assert found["identical"] is None and len(found["pixels"]) == 64

    def test_one_that_differs_says_by_how_much_and_why_it_may(self, cells, tmp_path, home, capsys):
        cell, path = cells["shift"], tmp_path / "a.png"
        spoilt = cell.picture.copy()
        spoilt[3, 4, 1] ^= 7
        old = {**cell.recipe.to_json(), "versions": {**cell.recipe.versions, "torch": "1.0"}}
        path.write_bytes(png_bytes(spoilt, json.dumps(old)))
        text = out_of(capsys, "render", str(path), *home)
        assert "1 pixels differ, by at most" in text and "torch 1.0 then" in text
        found = json_of(capsys, "render", str(path), *home)["cells"][0]
        assert (
            found["identical"] is False
            and found["pixels_that_differ"] == 1
            and found["largest_difference"] <= 7
        )
        assert found["versions"].keys() == {"torch"}

    def test_all_cells_of_a_sheet_or_one(self, sheet, tmp_path, home, cells, capsys):
        out = tmp_path / "cells"
        found = json_of(capsys, "render", str(sheet), "--out", str(out), *home)["cells"]
        assert [f["title"] for f in found] == list(cells) and all(f["identical"] for f in found)
        for k, cell in enumerate(cells.values()):
            assert (out / f"cell-{k:03d}.png").read_bytes() == cell.png
        one = tmp_path / "one.png"
        text = out_of(capsys, "render", str(sheet), "--cell", "3", "--out", str(one), *home)
        assert text.startswith("cell 3 (shift, per step, masked): identical") and one.is_file()

    def test_what_cannot_be_rendered_is_one_line(self, sheet, tmp_path, home, cells, capsys):
        (tmp_path / "bare.png").write_bytes(png_bytes(np.zeros((4, 4, 3), np.uint8)))
        (tmp_path / "bad.json").write_text("{}")
        (tmp_path / "good.json").write_text(cells["all"].recipe.to_text())
        gone, n = ["--home", str(tmp_path), "--device", "cpu"], len(cells)
        for message, *argv in (
            ("cannot be read", "missing.png", *home),
            ("cannot be read", str(tmp_path), *home),
            ("carries no recipe", str(tmp_path / "bare.png"), *home),
            ("this is not a recipe", str(tmp_path / "bad.json"), *home),
            (f"--cell must lie in 0 to {n - 1}", str(sheet), "--cell", str(n), *home),
            (f"takes a folder for {n} cells", str(sheet), "--out", str(tmp_path / "x.png"), *home),
            ("give its home with --home", str(tmp_path / "good.json"), *gone),
        ):
            assert message in failure(capsys, 2, "render", *argv)
