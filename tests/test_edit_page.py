"""The Edit page on a tiny run: recipes of its cells, and a dropped picture that sets it up."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from test_pages import assert_fine, finish, open_page
from test_swap_page import drop, kept
from tiny import drain

from hcache.background import tasks
from hcache.cache.labels import save_labels
from hcache.cache.reading import open_run
from hcache.cli.main import build_parser
from hcache.directions.direction import digest_of, random_direction
from hcache.directions.fitting import Fit, fit
from hcache.directions.naive import naive_direction
from hcache.directions.store import delete_move, load_move, save_move
from hcache.edits.distance import DistanceEdit
from hcache.edits.render import render_again, render_recipes, shift_by
from hcache.edits.rendered import Rendered
from hcache.edits.swap import SwapEdit
from hcache.progress import drive
from hcache.recipes.edits import DonorRef
from hcache.recipes.masks import Mask
from hcache.recipes.recipe import recipe_of
from hcache.recipes.window import Window
from hcache.ui.panels import positives
from hcache.ui.panels.directions import NEW
from hcache.ui.panels.edit_setup import NOTHING
from hcache.ui.panels.mask import PAINTED

SHIFT, DISTANCE = "shift by γ", "put at distance d"
"""As links have had them from the start."""

DISTANCES = DistanceEdit.amount.values


@pytest.fixture
def page(copied_run, monkeypatch):
    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("HCACHE_HOME", str(copied_run.home))
    return open_page(AppTest.from_file("../dashboard.py", default_timeout=60), "edit")


@pytest.fixture
def naive(copied_run):
    return drive(fit(Fit(method="naive", run=copied_run.name, positives=(1, 2, 5)), copied_run))[0]


def picture(model, run, move, edit, **more):
    """A PNG of a sample moved, as the page gives it."""
    recipe = recipe_of(run, 7, [edit], **more)
    (cell,) = drive(render_recipes(model, run, [recipe], run.home, {digest_of(move): move}))
    return cell


def test_every_cell_of_a_strip_gives_its_picture_again(page, copied_run, tiny_model):
    page.selectbox(key="choose-method").set_value("random").run()
    page.slider(key="choose-window").set_value((1, 3)).run()
    page.selectbox(key="choose-shape").set_value("falling").run()
    finish(page, "run-strip")
    assert_fine(page)
    cells, *_ = list(page.session_state["results-strip"].values())[-1]
    assert len(cells) == 18 and all(isinstance(cell, Rendered) for cell in cells)
    _, again = drain(
        render_again(tiny_model, copied_run, [cells[0].recipe, cells[17].recipe], copied_run.home)
    )
    for cell, repeated in zip((cells[0], cells[17]), again, strict=True):
        assert (cell.picture == repeated.picture).all()
    assert (cells[0].picture != cells[4].picture).any(), "the strip shows something"


def test_a_dropped_picture_sets_the_page_up_and_undo_brings_back(
    page, copied_run, tiny_model, naive
):
    edit = shift_by(naive, 2.5, Window(first=1, last=2, shape="falling"), "a smile")
    before = kept(page)
    drop(page, picture(tiny_model, copied_run, naive, edit, t_boost=200.0).png)
    assert_fine(page)
    now = kept(page)
    assert (now["sample"], now["window"], now["shape"], now["edit-boost"], now["strength"]) == (
        7,
        "1-2",
        "falling",
        200.0,
        2.5,
    )
    assert now["direction"] == "the recipe's", "it is not saved, and was fitted again"
    page.button(key="undo").click().run()
    assert_fine(page)
    assert {name: kept(page)[name] for name in before} == before


def test_a_saved_direction_is_chosen_by_its_digest(page, copied_run, tiny_model, naive):
    save_move(copied_run, "mine", naive)
    drop(
        page,
        picture(tiny_model, copied_run, naive, shift_by(naive, 1.0, Window(first=0, last=3))).png,
    )
    assert_fine(page)
    assert kept(page)["direction"] == "mine"


def test_two_directions_travel_with_the_picture_and_back(page, copied_run, tiny_model, naive):
    save_move(copied_run, "mine", naive)
    save_move(copied_run, "other", random_direction(naive.sigma, 1, naive.model, naive.timesteps))
    page.run()
    page.selectbox(key="choose-direction").set_value("mine").run()
    page.selectbox(key="choose-also").set_value("other").run()
    page.number_input(key="choose-also-strength").set_value(-2.5).run()
    finish(page, "run-strip")
    assert_fine(page)
    cells, *_ = list(page.session_state["results-strip"].values())[-1]
    assert [edit.direction.name for edit in cells[0].recipe.edits] == ["mine", "other"]

    page.selectbox(key="choose-also").set_value(NOTHING).run()
    page.selectbox(key="choose-direction").set_value("other").run()
    drop(page, cells[0].png)
    assert_fine(page)
    now = kept(page)
    assert (now["direction"], now["also"], now["also-strength"], now["strength"]) == (
        "mine",
        "other",
        -2.5,
        -4.0,
    )
    assert page.button(key="run-strip").disabled, "it is the strip that is there"
    delete_move(copied_run, "other")
    drop(page, cells[1].png, "b.png")
    assert [
        error.value
        for error in page.error
        if "second direction" in error.value and "other" in error.value
    ]


def test_a_direction_of_another_run_travels_with_the_picture_and_back(
    page, copied_run, tiny_model, naive
):
    folder = copied_run.folder.with_name("another")
    shutil.copytree(copied_run.folder, folder)
    other = open_run(folder)
    save_move(other, "theirs", replace(naive, made_by={"method": "asyrp-import", "run": "another"}))
    edit = shift_by(load_move(other, "theirs"), 2.0, Window(first=0, last=3))
    drop(page, picture(tiny_model, copied_run, load_move(other, "theirs"), edit).png)
    assert_fine(page)
    assert kept(page)["direction"] == "another/theirs"


def test_published_blocks_are_imported_from_the_page(page, copied_run, monkeypatch):
    """The command that is started names the very files, by their own names: how they were
    trained stands in these.
    """
    started = []
    monkeypatch.setattr(tasks, "start", lambda *arguments: started.append(arguments))
    page.selectbox(key="choose-method").set_value("asyrp").run()
    name = "smiling_LC_CelebA_HQ_t999_ninv40_ngen40_0.pth"
    page.file_uploader(key="block-files").set_value(
        [(name, b"tensors", "application/octet-stream")]
    ).run()
    assert_fine(page)
    page.button(key="start-import").click().run()
    assert_fine(page)
    ((folder, work),) = started
    assert (folder, work.kind, work.run, work.name) == (
        copied_run.folder,
        "import",
        copied_run.name,
        "smiling",
    )
    assert (
        work.files == (name,) and (folder / "tasks" / work.folder / name).read_bytes() == b"tensors"
    )
    arguments = build_parser().parse_args(work.arguments())
    assert arguments.run.__name__ == "import_blocks" and Path(arguments.files[0]).name == name


def test_what_the_page_cannot_show_is_refused_and_nothing_is_lost(
    page, copied_run, tiny_model, naive
):
    before = kept(page)
    swap = SwapEdit(
        sites=("h",),
        donor=DonorRef(run=copied_run.name, sample=1),
        alpha=1.0,
        window=Window(first=0, last=3),
    )
    drop(page, picture(tiny_model, copied_run, naive, swap).png)
    assert not page.exception and any("Swap page" in error.value for error in page.error)
    assert {name: kept(page)[name] for name in before} == before


def test_a_distance_and_a_mask_travel_with_the_picture_and_back(
    page, copied_run, tiny_model, naive
):
    save_move(copied_run, "mine", naive)
    mask = Mask.painted([[(0, 0), (0.5, 0), (0.5, 1), (0, 1)]])
    page.run()
    page.selectbox(key="choose-direction").set_value("mine").run()
    page.selectbox(key="choose-how").set_value(DISTANCE).run()
    page.slider(key="choose-distance-step").set_value(2).run()
    page.selectbox(key="choose-edit-mask").set_value(PAINTED)
    page.session_state["kept"]["edit-mask-png"] = mask.png
    finish(page.run(), "run-strip")
    assert_fine(page)
    cells, *_ = list(page.session_state["results-strip"].values())[-1]
    edit = cells[0].recipe.edits[0]
    assert (edit.kind, edit.distance, edit.step, edit.mask) == ("distance", DISTANCES[0], 2, mask)
    _, (again,) = drain(render_again(tiny_model, copied_run, [cells[1].recipe], copied_run.home))
    assert (again.picture == cells[1].picture).all()

    page.selectbox(key="choose-how").set_value(SHIFT).run()
    page.selectbox(key="choose-edit-mask").set_value("everywhere").run()
    drop(page, cells[1].png)
    assert_fine(page)
    now = kept(page)
    assert (
        now["how"],
        now["distance-step"],
        now["distance"],
        now["edit-mask"],
        now["edit-mask-png"],
    ) == (
        DISTANCE,
        2,
        DISTANCES[1],
        PAINTED,
        mask.png,
    )
    assert page.button(key="run-strip").disabled, "it is the strip that is there"


def test_a_methods_options_stand_in_the_address_both_ways(page):
    page.selectbox(key="choose-method").set_value("jacobian").run()
    page.number_input(key="choose-option-jacobian-count").set_value(2).run()
    page.number_input(key="choose-option-jacobian-tolerance").set_value(0.002).run()
    assert_fine(page)
    said = {name: value for name, value in page.query_params.items() if name.startswith("option-")}
    assert said == {"option-jacobian-count": "2", "option-jacobian-tolerance": "0.002"}
    for tolerance, shown in (("0.002", 0.002), ("nan", 0.01)):
        other = AppTest.from_file("../dashboard.py", default_timeout=60)
        other.switch_page("pages/edit.py")
        other.query_params.update(
            {"method": "jacobian", **said, "option-jacobian-tolerance": tolerance}
        )
        other.run()
        assert_fine(other)
        found = [
            other.number_input(key=f"choose-option-jacobian-{name}").value
            for name in ("count", "tolerance")
        ]
        assert found == [2, shown]


def test_picked_positives_stand_in_the_address_both_ways(page, copied_run, monkeypatch):
    """A click is injected: the harness knows no component."""
    name = f"picked-positives-{copied_run.name}"
    page.selectbox(key="choose-method").set_value("naive").run()
    page.query_params.update({"source": "pictures I pick", name: "1-2,99,x"})
    page.session_state["address"].written = -1.0  # the user takes longer than a message
    page.run()
    assert_fine(page)
    assert (
        page.query_params[name] == "1-2" and page.text_input(key="save-name-naive").value == "naive"
    )
    clicks = iter([4, None])
    monkeypatch.setattr(positives, "picture_grid", lambda *_, **__: next(clicks, None))
    page.run()
    assert page.query_params[name] == "1-2,4"


def test_a_damaged_direction_is_named_and_deleted(page, copied_run):
    folder = copied_run.folder / "directions"
    folder.mkdir()
    (folder / "bad.h5").write_bytes(b"no HDF5")
    page.run()
    assert_fine(page)
    assert [warning.value for warning in page.warning if warning.value.startswith("bad: ")]
    page.button(key="delete-damaged-bad").click().run()
    assert_fine(page)
    assert not list(folder.iterdir()) and not page.warning


def test_a_distance_along_a_move_that_each_sample_has_its_own_is_refused(page, copied_run):
    """The file was written by an earlier version; a shift along it is possible."""
    folder = copied_run.folder / "directions"
    folder.mkdir()
    shutil.copy(Path(__file__).parent / "files_of_before/edits/directions/local.h5", folder)
    save_move(copied_run, "near", replace(load_move(copied_run, "local"), model=""))
    page.run()
    page.selectbox(key="choose-direction").set_value("near").run()
    assert_fine(page)
    page.selectbox(key="choose-how").set_value(DISTANCE).run()
    assert not page.exception
    assert [e.value for e in page.error if "a move of kind local differs from" in e.value]
    page.selectbox(key="choose-how").set_value(SHIFT).run()
    assert not page.error, "the choice of the edit was not lost with it"


def test_a_direction_that_is_not_saved_yet_says_what_it_was_compared_with(page, copied_run):
    save_labels(copied_run, "mine", {"*age*": {sample: float(sample) for sample in range(12)}})
    page.run()
    page.selectbox(key="choose-method").set_value("supervised").run()
    page.selectbox(key="choose-source").set_value("a label").run()
    assert_fine(page)
    (said,) = (each.value for each in page.caption if "not compared with a null" in each.value)
    assert r"The direction of \*age\* was" in said
    assert f"`python -m hcache measure {copied_run.name} --what random` says how far" in said
    what = Fit(method="local", run=copied_run.name, positives=(1, 2, 5), options={"neighbours": 2})
    save_move(copied_run, "near", drive(fit(what, copied_run))[0])
    page.run()
    page.selectbox(key="choose-direction").set_value("near").run()
    assert_fine(page)
    assert any("way to the mean of all samples is" in each.value for each in page.caption)


def test_a_sum_of_saved_directions_is_made_of_what_is_saved_now(page, copied_run):
    """Also after one was saved anew under its name."""
    save_move(copied_run, "one", naive_direction(copied_run, [1, 2]))
    save_move(copied_run, "two", naive_direction(copied_run, [3, 4]))
    sums = []
    for positives_of_one in ([1, 2], [5, 6]):
        save_move(copied_run, "one", naive_direction(copied_run, positives_of_one), replace=True)
        page.run()
        page.selectbox(key="choose-direction").set_value(NEW).run()
        page.selectbox(key="choose-method").set_value("arithmetic").run()
        page.multiselect(key="choose-option-arithmetic-of").set_value(["one", "two"]).run()
        assert_fine(page)
        name = f"sum {len(sums)}"
        page.text_input(key="save-name-arithmetic").set_value(name).run()
        page.button(key="save-direction").click().run()
        assert_fine(page)
        sums.append(digest_of(load_move(copied_run, name)))
    assert sums[0] != sums[1]


def test_a_direction_with_a_strange_description_is_shown(page, copied_run):
    """A file of others may say anything of how its direction was made."""
    strange = {"method": "theirs", "positives": 3, "options": "abc", "label": {}, "site": "h"}
    save_move(copied_run, "odd", replace(naive_direction(copied_run, [1, 2]), made_by=strange))
    page.run()
    page.selectbox(key="choose-direction").set_value("odd").run()
    assert_fine(page)
    assert any("Made by theirs. Digest" in each.value for each in page.caption)
