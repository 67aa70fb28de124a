"""The Figures page on a tiny run: each figure by its button alone, what can be set, what cannot
be shown.
"""

from dataclasses import replace

import numpy as np
import pytest
import streamlit as st
from recipe_kinds import noise_of
from streamlit.testing.v1 import AppTest
from test_pages import assert_fine, finish, open_page
from test_swap_page import drop, kept

from hcache.cache.labels import save_labels
from hcache.cache.reading import open_run
from hcache.directions.store import delete_move, save_move
from hcache.figures.choices import Grid, Strip, Swaps
from hcache.figures.drawing import Style
from hcache.figures.notebook import draw
from hcache.ui.kept import kept_values
from hcache.ui.panels.figures import KeptMoves


@pytest.fixture
def home(copied_run, monkeypatch):
    st.cache_data.clear()
    st.cache_resource.clear()
    values = {int(s): float(s) for s in copied_run.sample_ids}
    save_labels(
        copied_run,
        "mine",
        {"size": values, "hue": {s: float(v * v % 7) for s, v in values.items()}},
    )
    monkeypatch.setenv("HCACHE_HOME", str(copied_run.home))
    return copied_run.home


@pytest.fixture
def page(home):
    return open_page(AppTest.from_file("../dashboard.py", default_timeout=60), "figures")


def made(page, kind):
    """Presses the one button; what was chosen and what came of it."""
    finish(page, f"run-figure-{kind}", seconds=120)
    assert_fine(page)
    (_, _, choice), result = list(page.session_state[f"results-figure-{kind}"].items())[-1]
    return choice, result


def test_the_u_figure_is_one_click_and_its_style_renders_nothing_anew(page):
    choice, result = made(page, "U-figure")
    assert isinstance(choice, Swaps) and (choice.donor, choice.recipient) == (1, 0)
    assert list(result.cells) == ["h", "skip.1", "skip.2", "skip.3"]
    assert page.text_area[0].value == result.caption
    assert [button.label for button in page.get("download_button")] == ["PDF", "SVG", "PNG at 2x"]
    page.selectbox(key="choose-figure-width").set_value("single").run()
    page.text_area[0].set_value("My caption.").run()
    assert_fine(page)
    assert (
        page.text_area[0].value == "My caption." and page.button(key="run-figure-U-figure").disabled
    )
    assert any("3.3 x" in caption.value for caption in page.caption)
    page.checkbox(key="choose-figure-caption").set_value(False).run()
    assert_fine(page)
    assert not page.text_area


def test_a_strip_of_the_chosen_attribute_methods_and_strengths(page):
    page.selectbox(key="choose-figure").set_value("strip").run()
    assert_fine(page)
    assert page.multiselect(key="choose-strip-ways").value == ["naive", "vae"]
    page.multiselect(key="choose-strip-ways").set_value(["naive", "random"]).run()
    page.selectbox(key="choose-figure-label").set_value("hue").run()
    page.text_input(key="choose-strengths").set_value("0, 2").run()
    choice, result = made(page, "strip")
    assert isinstance(choice, Strip) and (choice.label, choice.strengths) == ("hue", (0.0, 2.0))
    assert [row.label for row in result.rows] == ["naive", "random"] and result.columns == (
        "0",
        "2",
    )
    assert (page.query_params["strengths"], page.query_params["strip-ways"]) == (
        "0, 2",
        "naive,random",
    )
    page.text_input(key="choose-strengths").set_value("0, much").run()
    assert not page.exception and "numbers are separated by commas" in page.error[0].value


def test_a_grid_of_samples_and_methods_over_attributes(page):
    page.selectbox(key="choose-figure").set_value("grid").run()
    page.multiselect(key="choose-grid-ways").set_value(["naive"]).run()
    page.text_input(key="choose-figure-samples").set_value("3, 5-6").run()
    choice, result = made(page, "grid")
    assert isinstance(choice, Grid) and choice.samples == (3, 5, 6)
    assert result.columns == ("untouched", "size", "hue") and [
        row.group for row in result.rows
    ] == [
        "sample 3",
        "sample 5",
        "sample 6",
    ]
    page.text_input(key="choose-figure-samples").set_value("3, 99").run()
    finish(page, "run-figure-grid", seconds=120)
    assert not page.exception and "sample 99 is not in run" in page.error[0].value


def test_what_a_figure_is_made_from_is_part_of_its_question(page, copied_run):
    """Other values of its label and another direction of the same name make another figure."""
    page.selectbox(key="choose-figure").set_value("strip").run()
    page.multiselect(key="choose-strip-ways").set_value(["naive"]).run()
    page.text_input(key="choose-strengths").set_value("0, 2").run()
    _, before = made(page, "strip")
    assert page.button(key="run-figure-strip").disabled
    save_labels(copied_run, "mine", {"size": {int(s): -float(s) for s in copied_run.sample_ids}})
    page.run()
    assert not page.button(key="run-figure-strip").disabled, "this was not made yet"
    _, after = made(page, "strip")
    digests = [each.rows[0].cells[1].recipe.edits[0].direction.digest for each in (before, after)]
    assert digests[0] != digests[1]

    save_move(copied_run, "one", noise_of(copied_run))
    page.run()
    page.multiselect(key="choose-strip-ways").set_value(["saved:one"]).run()
    made(page, "strip")
    assert page.button(key="run-figure-strip").disabled
    delete_move(copied_run, "one")
    other = noise_of(copied_run)
    save_move(copied_run, "one", replace(other, delta=other.delta * np.float32(2)))
    page.run()
    assert not page.button(key="run-figure-strip").disabled


def test_kept_fits_are_values_of_their_own(home, copied_run):
    """Growing them changes no value that another thread may be weighing."""
    run = open_run(copied_run.folder)
    moves, other = KeptMoves(run), KeptMoves(run)
    moves["a fit"] = move = noise_of(run)
    moves["another"] = move
    assert other.get("a fit") is move and other.get("none") is None
    assert kept_values().bytes >= 2 * move.delta.nbytes


def test_a_run_without_labels_says_what_the_grid_needs(page, home, copied_run):
    (copied_run.folder / "labels" / "mine.csv").unlink()
    page.selectbox(key="choose-figure").set_value("grid").run()
    assert not page.exception and "has neither" in page.error[0].value
    page.selectbox(key="choose-figure").set_value("strip").run()
    assert_fine(page)
    assert page.multiselect(key="choose-strip-ways").value == ["pca", "random"]


def test_the_png_of_a_u_figure_sets_the_swap_page_up(page, copied_run):
    page.number_input(key="choose-donor").set_value(4).run()
    page.slider(key="choose-window").set_value((1, 3)).run()
    _, result = made(page, "U-figure")
    png = draw(result, Style()).png()
    other = open_page(AppTest.from_file("../dashboard.py", default_timeout=60), "swap")
    drop(other, png)
    assert_fine(other)
    now = kept(other)
    assert (now["donor"], now["recipient"], now["window"]) == (4, 0, "1-3")
    assert set(now["sites"].split(",")) == set(result.cells)
    assert np.array_equal(result.recipient.picture, copied_run.images[0])
