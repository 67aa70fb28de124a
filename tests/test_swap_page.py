"""The Swap page on a tiny run: what is chosen becomes recipes, and a dropped picture becomes
what was chosen.
"""

import dataclasses

import numpy as np
import pytest
import streamlit as st
from kinds import save_kind
from streamlit.testing.v1 import AppTest
from test_pages import assert_fine, finish, html_of, open_page
from tiny import drain

from hcache.cache.layout import RENDERS
from hcache.cards import default_spec
from hcache.edits.freeu import FreeUEdit
from hcache.edits.render import render_again
from hcache.edits.slerp import SlerpEdit
from hcache.edits.swap import SwapEdit
from hcache.extraction.run import extract
from hcache.models.loading import load_model
from hcache.recipes.edits import DonorRef, changed
from hcache.recipes.masks import Mask
from hcache.recipes.recipe import recipe_of
from hcache.recipes.sheet import SheetCell, sheet_text
from hcache.recipes.window import Window
from hcache.specs import Conditioning


@pytest.fixture
def home(copied_run, monkeypatch):
    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("HCACHE_HOME", str(copied_run.home))
    return copied_run.home


@pytest.fixture
def page(home):
    return open_page(AppTest.from_file("../dashboard.py", default_timeout=60), "swap")


def results(page):
    """The cells of what is shown, by title."""
    return list(page.session_state["results-swap"].values())[-1][0]


def kept(page):
    return dict(page.session_state["kept"])


def drop(page, data, name="a.png"):
    page.file_uploader(key="recipe-file").set_value((name, data, "image/png")).run()
    return page


def put(page, **choices):
    """Sets widgets by the names of their choices."""
    kinds = {
        "inject": "selectbox",
        "sites": "multiselect",
        "window": "slider",
        "shape": "selectbox",
        "blend": "slider",
        "gamma": "slider",
        "mask": "selectbox",
        "donor": "number_input",
        "recipient": "number_input",
        "swap-boost": "number_input",
        "mask-x": "slider",
        "mask-y": "slider",
        "donor-run": "selectbox",
    }
    for name, value in choices.items():
        name = name.replace("_", "-")
        getattr(page, kinds[name])(key=f"choose-{name}").set_value(value).run()
    assert_fine(page)
    return page


def test_every_cell_of_the_figure_carries_a_recipe_that_gives_it_again(
    page, copied_run, tiny_model, monkeypatch
):
    finish(put(page, donor=3, recipient=8, window=(1, 3), blend=60), "run-swap")
    assert_fine(page)
    cells = results(page)
    assert list(cells) == ["h", "skip.1", "skip.2", "skip.3"]
    assert any("bit for bit" in message.value for message in page.success)
    labels = [button.label for button in page.get("download_button")]
    assert labels == ["Download all", *cells]
    _, again = drain(
        render_again(tiny_model, copied_run, [c.recipe for c in cells.values()], copied_run.home)
    )
    for cell, other in zip(cells.values(), again, strict=True):
        np.testing.assert_array_equal(cell.picture, other.picture)
        assert cell.recipe.edits[0].alpha == 0.6 and cell.recipe.place.rows == 4
    assert len(list((copied_run.folder / RENDERS).glob("*.png"))) == 4
    monkeypatch.setattr(
        "hcache.edits.swaps.check_identity", lambda *_: pytest.fail("computed again")
    )
    finish(put(page, blend=30), "run-swap")
    assert_fine(page)
    assert any("bit for bit" in message.value for message in page.success)


def test_what_was_rendered_is_there_for_the_next_session(page, home, monkeypatch):
    finish(page, "run-swap")
    monkeypatch.setattr(
        "hcache.edits.render.render_recipes", lambda *_: pytest.fail("rendered again")
    )
    other = open_page(AppTest.from_file("../dashboard.py", default_timeout=60), "swap")
    finish(other, "run-swap")
    assert_fine(other)
    assert {c.recipe.pixels for c in results(other).values()} == {
        c.recipe.pixels for c in results(page).values()
    }


def test_members_alone_and_sites_together(page):
    finish(put(page, sites=["h", "skip.2.0", "skip.2.1"]), "run-swap")
    assert list(results(page)) == ["h", "skip.2.0", "skip.2.1"]
    assert "skip.2.0" in html_of(page), "members have no place in the U"
    finish(put(page, inject="all sites at once"), "run-swap")
    assert list(results(page)) == ["h + skip.2.0 + skip.2.1"]
    assert_fine(page)
    page.multiselect(key="choose-sites").set_value([]).run()
    assert "choose one site" in page.error[0].value and not page.exception


def test_a_slerp_in_a_rectangle_with_a_boost(page):
    put(
        page,
        inject="h by slerp",
        gamma=50,
        shape="bell",
        mask="in a rectangle",
        mask_x=(0, 50),
        swap_boost=500.0,
    )
    finish(page, "run-swap")
    assert_fine(page)
    recipe = results(page)["h by slerp"].recipe
    assert recipe.edits[0].mask == Mask(rectangle=(0, 0, 0.5, 1)) and recipe.edits[0].gamma == 0.5
    assert recipe.asymmetric and recipe.t_boost == 500 and recipe.edits[0].window.shape == "bell"


def test_the_published_windows_are_a_click_away(page):
    page.button(key="preset-t 1000 to 200").click().run()
    assert page.slider(key="choose-window").value == (0, 2), "of t = 750, 500, 250, 0"
    page.button(key="preset-t ≥ 400").click().run()
    assert page.slider(key="choose-window").value == (0, 1)
    page.button(key="preset-All steps").click().run()
    assert page.slider(key="choose-window").value == (0, 3)


def test_a_dropped_picture_sets_the_page_up_and_undo_brings_back_what_was_there(page, copied_run):
    put(
        page,
        inject="h by slerp",
        gamma=70,
        donor=3,
        recipient=8,
        window=(1, 2),
        mask="in a rectangle",
        mask_y=(20, 90),
    )
    finish(page, "run-swap")
    cell = results(page)["h by slerp"]
    put(
        page,
        inject="each site alone",
        donor=5,
        recipient=6,
        window=(0, 3),
        mask="everywhere",
        shape="rising",
    )
    before = kept(page)
    drop(page, cell.png)
    assert_fine(page)
    found = kept(page)
    assert (found["inject"], found["gamma"], found["donor"], found["recipient"]) == (
        "h by slerp",
        70,
        3,
        8,
    )
    assert page.slider(key="choose-window").value == (1, 2) and page.slider(
        key="choose-mask-y"
    ).value == (20, 90)
    assert page.button(key="run-swap").disabled, "it is this very picture, which is there"
    put(page, donor=4)
    assert kept(page)["donor"] == 4, "the file is still there, but what is chosen now stays"
    page.button(key="undo").click().run()
    assert_fine(page)
    after = kept(page)
    assert {name: after[name] for name in before} == before
    assert (
        page.selectbox(key="choose-inject").value,
        page.number_input(key="choose-donor").value,
    ) == (
        "each site alone",
        5,
    )
    assert "undo" not in [button.key for button in page.button]


def test_a_dropped_figure_sets_up_all_of_it_or_one_of_its_cells(page):
    finish(put(page, sites=["h", "skip.2", "skip.2.1"], blend=40, donor=2), "run-swap")
    cells = results(page)
    sheet = sheet_text(
        [SheetCell(recipe=cell.recipe, title=title) for title, cell in cells.items()]
    )
    put(page, sites=["skip.1"], blend=90, donor=7)
    drop(page, sheet.encode(), "sheet.json")
    assert_fine(page)
    found = kept(page)
    assert (found["sites"], found["blend"], found["donor"]) == ("h,skip.2,skip.2.1", 40, 2)
    page.selectbox(key="recipe-cell").set_value("1: skip.2").run()
    assert_fine(page)
    assert kept(page)["sites"] == "skip.2"


def test_what_cannot_be_set_up_is_said_and_changes_nothing(page, copied_run, cells):
    before = kept(page)
    donor = DonorRef(run=copied_run.name, sample=1)
    swap = SwapEdit(sites=("h",), donor=donor, alpha=1.0, window=Window(first=0, last=3))
    odd = changed(swap, alpha=0.123)
    ended = SlerpEdit(donor=donor, gamma=0.5, window=swap.window, dt_lambda=0.95, dt_end=500.0)
    gone = dataclasses.replace(recipe_of(copied_run, 1, [swap]), run="gone-1")
    for data, message in (
        (b"nonsense", "not a recipe"),
        (cells["nothing"].png, "one swap or slerp"),
        (cells["shift"].png, "Edit page"),
        (cells["all"].png, "Edit page"),
        (recipe_of(copied_run, 1, [swap, swap]).to_text().encode(), "this one has 2"),
        (recipe_of(copied_run, 1, [odd]).to_text().encode(), "whole percents"),
        (gone.to_text().encode(), "not in this home"),
        (
            recipe_of(copied_run, 1, [ended], asymmetric=True).to_text().encode(),
            "dt_end of this picture is 500",
        ),
        (
            recipe_of(copied_run, 1, [swap, FreeUEdit(b1=99, b2=1, s1=1, s2=1)]).to_text().encode(),
            "beyond",
        ),
    ):
        drop(page, data)
        assert not page.exception and message in page.error[0].value, message
        assert kept(page) == before


def test_a_donor_from_another_run(home, copied_run, tiny_model, tiny_spec):
    spec = dataclasses.replace(tiny_spec, samples=3, seed=70)
    other = extract(tiny_model, spec, home)
    extract(tiny_model, dataclasses.replace(spec, steps=3), home)
    app = AppTest.from_file("../dashboard.py", default_timeout=60)
    app.query_params["run"] = copied_run.name
    page = open_page(app, "swap")
    page.selectbox(key="choose-run").set_value(copied_run.name).run()
    assert page.selectbox(key="choose-donor-run").options == [
        copied_run.name,
        other.name,
    ], "not that of other steps"
    finish(put(page, donor_run=other.name, sites=["skip.2"], donor=2), "run-swap")
    assert_fine(page)
    assert results(page)["skip.2"].recipe.edits[0].donor == DonorRef(run=other.name, sample=2)


def test_freeu_is_offered_to_text_models_alone(page, tmp_path, monkeypatch):
    assert not [box for box in page.checkbox if box.label == "FreeU"]
    folder = save_kind("SD", tmp_path / "sd")
    spec = default_spec(
        str(folder), samples=2, steps=2, conditioning=Conditioning(prompts=("a dog",), guidance=3)
    )
    extract(load_model(str(folder)), spec, tmp_path / "sd home")
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path / "sd home"))
    page = open_page(AppTest.from_file("../dashboard.py", default_timeout=60), "swap")
    page.checkbox(key="choose-freeu").set_value(True).run()
    page.number_input(key="choose-freeu-b1").set_value(1.2).run()
    finish(put(page, sites=["skip.1"]), "run-swap")
    assert_fine(page)
    recipe = results(page)["skip.1"].recipe
    assert (
        recipe.network_edits[0] == FreeUEdit(b1=1.2, b2=1.6, s1=0.9, s2=0.2)
        and recipe.place.first == 0
    )
    page.checkbox(key="choose-freeu").set_value(False).run()
    drop(page, recipe.to_text().encode())
    assert_fine(page)
    assert page.number_input(key="choose-freeu-b1").value == 1.2
