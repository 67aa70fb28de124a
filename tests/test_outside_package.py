"""A package from outside adds an edit, a direction method and a reader, in one file each.

They are found in the help, on their pages, in a strip, in a figure and in a recipe that is read
again. Other entries cannot be used: a line says so, and nothing else is lost. A measure from
outside is tested in ``test_measures_outside.py``.

Where something of them has no place, that is so for hcache's own as well:

- An edit is in the strip of the Edit page, and one with a donor in the U-figure of the Swap page
  (``test_outside_donor.py``). The command ``figure`` takes directions and swaps, and no edit by
  name.
- The verdict has cells for labels. It fits the naive direction of each label itself, so no method
  and no edit can be named in a question. The attributes of a reader are its subjects.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from outside import install
from streamlit.testing.v1 import AppTest
from test_pages import assert_fine, finish, html_of, open_page
from test_swap_page import drop, kept
from tiny import drain

from hcache.cache.reading import open_run
from hcache.cli.main import main
from hcache.directions.direction import digest_of
from hcache.directions.fitting import METHODS, Fit, fit
from hcache.directions.store import list_moves, load_move
from hcache.edits.executor import Executor
from hcache.edits.recipe_directions import reference_to
from hcache.edits.render import render_again, render_recipes, shift_by
from hcache.errors import UsageError
from hcache.features import Features
from hcache.figures.choices import all_ways, default_strip, name_of
from hcache.figures.making import Maker
from hcache.figures.notebook import changed
from hcache.images.pngs import read_recipe
from hcache.measures import setting
from hcache.measures.cells import cells_of
from hcache.measures.declared.directions import CONTROLLABLE
from hcache.readers.reading import readers_of, unread
from hcache.readers.registry import INSTALLED
from hcache.recipes.edits import EDITS
from hcache.recipes.recipe import Recipe, recipe_of
from hcache.recipes.sheet import read_cells
from hcache.recipes.window import Window
from hcache.sampling.loop import Moment
from hcache.ui.panels import readers

EDIT_GUIDE = Path(__file__).parents[1] / "hcache" / "guide" / "extending.md"

EDIT = '''
"""Makes h smaller or larger."""

from __future__ import annotations

from typing import Any

from hcache.features import Features
from hcache.recipes.edits import Number, RecipeEdit
from hcache.recipes.masks import Mask
from hcache.recipes.widgets import AmountWidget, FlagWidget, MaskWidget, NumberWidget, WindowWidget
from hcache.recipes.window import Window


class DampEdit(RecipeEdit, tag="damp", frozen=True, kw_only=True):
    """Multiplies h by a factor."""

    title = "Damp h"
    help = "a h + b, the same for every sample."
    amount = AmountWidget(
        name="factor", symbol="a", low=0, high=2, default=0.5, step=0.1, values=(0.0, 0.5, 1.0, 1.5)
    )
    widgets = (
        WindowWidget(),
        MaskWidget(),
        FlagWidget(name="negated", label="Negate h", more=True),
        NumberWidget(name="offset", label="Offset b", low=-3, high=3, default=0),
    )

    factor: Number
    offset: Number
    negated: bool = False
    window: Window
    mask: Mask | None = None

    def apply(self, features: Features, moment: Any) -> Features:
        if not self.window.weight(moment.index):
            return features
        sign = -1 if self.negated else 1
        return features.replace({"h": sign * self.factor * features.h + self.offset})
'''

METHOD = '''
"""A direction from one sample to another."""

import numpy as np

from hcache.directions.direction import in_units, spread
from hcache.directions.fitting import AT_ONCE, Method, Option


def _make(fit, options, run, model):
    yield 0.5
    ends = [run.position(options[name]) for name in ("start", "end")]
    h = [run.matrix("h", step)[ends] for step in range(run.spec.steps)]
    sigma = spread(run)
    delta = np.stack([b - a for a, b in h])
    found = in_units(
        delta.reshape(sigma.shape), sigma, fit.to_json(), run.spec.model, run.timesteps
    )
    return (found,)


METHOD = Method(
    name="pair",
    title="pair: from one sample to another",
    text="The difference between the h of two samples.",
    source="",
    make=_make,
    short="a pair",
    cost=AT_ONCE,
    options={
        "start": Option(default=0, text="the sample to go from"),
        "end": Option(default=1, text="the sample to go to"),
    },
)
'''

READER = '''
"""Reads how bright pictures are, and how red."""


def read(pictures):
    red = pictures[..., 0].mean((1, 2)) - pictures[..., 1].mean((1, 2))
    return {"light": pictures.mean((1, 2, 3)), "red": red}
'''

ENTRIES = """
[hcache.edits]
damp = outside_edit:DampEdit
hollow = outside_edit:Missing
[hcache.methods]
pair = outside_method:METHOD
broken = outside_nowhere:METHOD
naive = outside_method:METHOD
[hcache.readers]
colours = outside_reader:read
nothing = outside_reader:missing
"""
SMALL = ("--what", "directions", "--samples", "3", "--nulls", "2", "--random-positives", "19")


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """The package, installed in a folder of its own."""
    modules = {"outside_edit": EDIT, "outside_method": METHOD, "outside_reader": READER}
    folder = install(tmp_path / "outside", "outside-things", modules, ENTRIES, version="1.5")
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in modules:
        sys.modules.pop(name, None)


@pytest.fixture
def read_run(outside, copied_run):
    """The run, read by the reader with the command."""
    home = str(copied_run.home)
    assert main(["read", copied_run.name, "--reader", "colours", "--home", home]) == 0
    return open_run(copied_run.folder)


@pytest.fixture
def damp(outside):
    return EDITS["damp"]


def test_it_is_listed_beside_our_own_and_what_is_broken_is_told(outside, caplog):
    assert list(METHODS)[-1] == "pair" and METHODS["pair"].quick and "damp" in EDITS
    assert {*EDITS} == {"shift", "distance", "swap", "slerp", "freeu", "damp"}
    assert METHODS["naive"].title.startswith("naive:"), "our own stays"
    assert "colours" in INSTALLED
    problems = (*METHODS.problems(), *EDITS.problems(), *INSTALLED.problems())
    names = ["broken", "naive", "hollow", "nothing"]
    assert [problem.split("'")[1] for problem in problems] == names
    assert all("package outside-things 1.5" in p and "\n" not in p for p in problems)
    assert "No module named 'outside_nowhere'" in problems[0]
    assert [record.getMessage() for record in caplog.records] == list(problems), "once each"
    with pytest.raises(UsageError, match="no method 'broken'"):
        METHODS["broken"]


def test_without_the_package_there_is_nothing_of_it():
    assert "pair" not in METHODS and "damp" not in EDITS and not METHODS.problems()
    assert "colours" not in INSTALLED and not INSTALLED.problems()


def test_the_help_lists_it_and_tells_what_is_broken_in_one_line_each(outside):
    """In a process of its own, which finds the package on its path."""
    done = subprocess.run(
        [sys.executable, "-m", "hcache", "direction", "fit", "--help"],
        env={**os.environ, "PYTHONPATH": f"{Path(main.__code__.co_filename).parents[2]}:{outside}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "pair (at once): The difference between the h of two samples." in done.stdout
    assert "end: the sample to go to (default: 1)" in done.stdout
    assert [line.split("'")[1] for line in done.stderr.splitlines()] == ["broken", "naive"]


def test_the_help_of_recipes_lists_it(outside, capsys):
    with pytest.raises(SystemExit):
        main(["render", "--help"])
    assert "damp: Damp h. a h + b" in capsys.readouterr().out


def test_a_direction_is_fitted_by_the_command(outside, copied_run, capsys):
    home = str(copied_run.home)
    command = ["direction", "fit", copied_run.name, "--home", home, "--method", "pair"]
    assert main([*command, "--option", "end=3"]) == 0
    (entry,) = list_moves(copied_run)
    assert entry.made_by == {"method": "pair", "run": copied_run.name, "options": {"end": "3"}}
    move = load_move(copied_run, "pair")
    h = copied_run.matrix("h", 2)
    along = (h[3] - h[0]) @ move.delta[2].ravel()
    assert along == pytest.approx(np.linalg.norm(h[3] - h[0]) * np.linalg.norm(move.delta[2]))
    capsys.readouterr()
    assert main([*command, "--option", "middle=3"]) == 2
    assert "pair has no option 'middle'" in capsys.readouterr().err


def test_a_strip_is_rendered_and_its_recipes_are_read_again(damp, tiny_model, tiny_run):
    """Factor 1 with offset 0 is no edit: it gives the run's own picture."""
    window = Window(first=0, last=3)
    edits = [damp(factor=a, offset=0.0, window=window) for a in damp.amount.values]
    recipes = [recipe_of(tiny_run, 4, [edit]) for edit in edits]
    _, cells = drain(render_recipes(tiny_model, tiny_run, recipes, tiny_run.home))
    pictures = [cell.picture.astype(int) for cell in cells]
    assert np.abs(pictures[2] - tiny_run.images[4]).max() <= 1
    assert np.abs(pictures[0] - pictures[2]).max() > 3
    (read,) = read_cells(read_recipe(cells[0].png))
    assert read.recipe == cells[0].recipe and read.recipe.edits[0].factor == 0
    _, (again,) = drain(render_again(tiny_model, tiny_run, [read.recipe], tiny_run.home))
    assert (again.picture == cells[0].picture).all()


def test_what_is_wrong_in_its_recipe_is_told_by_its_place(damp, tiny_run):
    edit = damp(factor=0.5, offset=1.0, window=Window(first=0, last=3), negated=True)
    data = recipe_of(tiny_run, 4, [edit]).to_json()
    assert data["edits"][0] == {
        "kind": "damp",
        "factor": 0.5,
        "offset": 1.0,
        "negated": True,
        "window": {"first": 0, "last": 3, "shape": "constant"},
    }
    assert Recipe.from_json(json.loads(json.dumps(data))).edits == (edit,)
    data["edits"][0]["factor"] = "much"
    with pytest.raises(UsageError, match=r"^recipe: edits\[0\].factor: expected a number.*'much'"):
        Recipe.from_json(data)


def test_its_direction_is_fitted_again_for_a_recipe(outside, tiny_model, tiny_run):
    """Nothing is saved: the recipe says what made it."""
    (move,) = drain(fit(Fit(method="pair", run=tiny_run.name), tiny_run))[1]
    edit = shift_by(move, 2.0, Window(first=0, last=3))
    found = Executor(tiny_model, tiny_run).move(edit.direction)
    assert digest_of(found) == digest_of(move) and reference_to(found) == edit.direction


def test_a_figure_is_made_of_it(outside, copied_run, tmp_path):
    assert all_ways(copied_run)["pair"] == name_of("pair") == "a pair"
    out = tmp_path / "strip.png"
    command = ["figure", "strip", copied_run.name, "--home", str(copied_run.home)]
    assert main([*command, "--way", "pair", "--strengths", "0,2", "--out", str(out)]) == 0
    recipes = [cell.recipe for cell in read_cells(read_recipe(out.read_bytes()))]
    (shift,) = [edit for recipe in recipes for edit in recipe.edits]
    assert shift.direction.made_by["method"] == "pair"


def test_a_reader_is_in_the_help_and_in_the_list_and_what_is_broken_is_told(outside, tmp_path):
    """In processes of their own."""
    root = Path(main.__code__.co_filename).parents[2]
    env = {**os.environ, "PYTHONPATH": f"{root}:{outside}", "HCACHE_HOME": str(tmp_path / "none")}
    for command in (["read", "--help"], ["reader", "list"]):
        done = subprocess.run(
            [sys.executable, "-m", "hcache", *command],
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        (line,) = (each for each in done.stdout.splitlines() if "colours" in each)
        assert "outside_reader:read" in line
        assert [each.split("'")[1] for each in done.stderr.splitlines()] == ["nothing"]


def test_a_reader_reads_a_run_by_the_command(read_run):
    found = read_run.labels["colours"]
    light = read_run.images.mean((1, 2, 3))
    np.testing.assert_allclose(found["light"], light, rtol=1e-5)
    assert readers_of(read_run) == ["colours"] and found.keys() == {"light", "red"}


def test_a_readers_readings_stand_under_a_strip(read_run, tiny_model, tmp_path):
    choice = changed(default_strip(read_run), ways=("pair",), strengths=(0.0, 2.0), label="light")
    _, made = drain(Maker(run=read_run, load=lambda: tiny_model).make(choice))
    (row,) = made.rows
    said = [f"{cell.picture.mean():.2f}" for cell in row.cells]
    assert list(row.notes) == said and said[0] != said[1]
    assert "the reading of light" in made.caption
    out = tmp_path / "strip.svg"
    command = ["figure", "strip", read_run.name, "--home", str(read_run.home), "--way", "pair"]
    more = ["--label", "light", "--strengths", "0,2", "--out", str(out)]
    assert main([*command, *more]) == 0
    assert all(each in out.read_text(encoding="utf-8") for each in said)


def test_a_readers_attributes_are_subjects_of_the_verdict(read_run, monkeypatch, capsys):
    monkeypatch.setattr(setting, "STEPS", 1)
    home = str(read_run.home)
    assert main(["measure", read_run.name, *SMALL, "--home", home]) == 0
    cells = cells_of(open_run(read_run.folder))
    assert {(CONTROLLABLE, "light"), (CONTROLLABLE, "red")} <= cells.keys()
    assert cells[CONTROLLABLE, "light"].evidence.parameters["reader"].startswith("colours@")
    capsys.readouterr()
    assert main(["compare", read_run.name, "--home", home, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    (row,) = (r for r in rows if (r["question"], r["subject"]) == (CONTROLLABLE, "light"))
    assert row["cells"][read_run.name]["value"] == cells[CONTROLLABLE, "light"].estimate.value


def opened(run, monkeypatch, name):
    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("HCACHE_HOME", str(run.home))
    return open_page(AppTest.from_file("../dashboard.py", default_timeout=60), name)


def test_the_gallery_offers_a_reader_and_tells_what_is_broken(outside, copied_run, monkeypatch):
    started = []
    monkeypatch.setattr(readers, "start", lambda folder, work: started.append(work))
    page = opened(copied_run, monkeypatch, "gallery")
    assert_fine(page)
    n = len(copied_run)
    (line,) = (each.value for each in page.markdown if each.value.startswith("**colours**"))
    assert line == f"**colours** (function, outside-things 1.5): 0 of {n} samples read"
    (told,) = (warning.value for warning in page.warning if "outside-things" in warning.value)
    assert "'nothing'" in told
    page.button(key="read-rest-colours").click().run()
    (work,) = started
    name, *words = work.arguments()
    assert main([name, f"--home={copied_run.home}", *words]) == 0
    assert unread(open_run(copied_run.folder), "colours") == 0
    page = opened(copied_run, monkeypatch, "gallery")
    assert any(f"{n} of {n} samples read" in each.value for each in page.markdown)


def test_a_strip_of_its_edit_on_the_page_has_its_readers_readings(read_run, monkeypatch):
    page = opened(read_run, monkeypatch, "edit")
    page.selectbox(key="choose-how").set_value("damp").run()
    finish(page, "run-strip")
    assert_fine(page)
    cells, *_ = list(page.session_state["results-strip"].values())[-1]
    html = html_of(page)
    assert "<th scope='col'>factor a</th>" in html
    assert all(f"<th scope='row'>{name}</th>" in html for name in ("light", "red"))
    assert all(f">{cell.picture.mean():.2f}</td>" in html for cell in cells)


@pytest.fixture
def page(outside, copied_run, monkeypatch):
    return opened(copied_run, monkeypatch, "edit")


def test_the_edit_page_draws_its_widgets_and_renders_it(page):
    assert "damp" in page.selectbox(key="choose-how").options[2].lower()
    page.selectbox(key="choose-how").set_value("damp").run()
    assert_fine(page)
    assert not [box for box in page.selectbox if box.label == "Direction"], "it needs none"
    page.checkbox(key="choose-damp-negated").set_value(True).run()
    page.number_input(key="choose-damp-offset").set_value(0.5).run()
    page.slider(key="choose-window").set_value((1, 2)).run()
    finish(page, "run-strip")
    assert_fine(page)
    cells, *_ = list(page.session_state["results-strip"].values())[-1]
    edit = cells[1].recipe.edits[0]
    assert len(cells) == 8, "four factors, symmetric and asymmetric"
    assert (edit.kind, edit.factor, edit.offset, edit.negated) == ("damp", 0.5, 0.5, True)
    assert edit.window == Window(first=1, last=2)

    page.selectbox(key="choose-how").set_value("shift by γ").run()
    drop(page, cells[1].png)
    assert_fine(page)
    now = kept(page)
    names = ("how", "damp-factor", "damp-offset", "damp-negated", "window")
    assert tuple(now[name] for name in names) == ("damp", 0.5, 0.5, "True", "1-2")


def test_the_edit_page_fits_by_its_method_and_tells_what_is_broken(page, copied_run):
    told = [warning.value for warning in page.warning if "outside-things" in warning.value]
    assert len(told) == 3
    page.selectbox(key="choose-method").set_value("pair").run()
    page.number_input(key="choose-option-pair-end").set_value(3).run()
    assert_fine(page)
    page.button(key="save-direction").click().run()
    assert_fine(page)
    assert [(e.name, e.made_by["options"]) for e in list_moves(copied_run)] == [
        ("pair", {"end": 3})
    ]


def test_the_edit_in_the_guide_is_one(tmp_path, monkeypatch):
    """The code block of the page that says how an edit is added, as it stands there."""
    page = EDIT_GUIDE.read_text(encoding="utf-8")
    code, entry = (page.split(f"```{kind}\n")[1].split("```")[0] for kind in ("python", "toml"))
    assert entry == '[project.entry-points."hcache.edits"]\ndamp = "damp:DampEdit"\n'
    about = tmp_path / "damp" / "damp-1.dist-info"
    about.mkdir(parents=True)
    (tmp_path / "damp" / "damp.py").write_text(code, encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: damp\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[hcache.edits]\ndamp = damp:DampEdit\n")
    monkeypatch.syspath_prepend(tmp_path / "damp")
    try:
        edit = EDITS["damp"](factor=0.5, window=Window(first=1, last=1))
        features = Features(h=np.ones((1, 2, 4, 4)), skips=())
        assert edit.apply(features, Moment(index=0, t=900.0)) is features
        assert (edit.apply(features, Moment(index=1, t=500.0)).h == 0.5).all()
        assert not EDITS.problems()
    finally:
        sys.modules.pop("damp", None)
