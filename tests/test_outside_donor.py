"""Edits of the Swap page from a package outside: the page takes all it shows from what they say."""

import sys

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from test_pages import assert_fine, finish, open_page
from test_swap_page import drop, kept, results

from hcache.recipes.edits import EDITS, DirectionRef, DonorRef
from hcache.recipes.recipe import recipe_of
from hcache.recipes.sheet import SheetCell, sheet_text
from hcache.recipes.window import Window
from hcache.ui.panels.edit_setup import offered_edits

EDIT = '''
"""Mixes h with a donor's."""

from hcache.recipes.edits import DonorRef, RecipeEdit, Share
from hcache.recipes.widgets import AmountWidget, WindowWidget
from hcache.recipes.window import Window


class MixEdit(RecipeEdit, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="mix"):
    """h becomes (1 - s) h + s times the donor's."""

    title = "Mix h"
    help = "A share of the donor's h."
    amount = AmountWidget(
        name="s", symbol="s", low=0, high=1, default=0.5, step=0.1, values=(0.0, 1.0)
    )
    widgets = (WindowWidget(),)

    donor: DonorRef
    s: Share
    window: Window

    def bind(self, tools):
        donor = tools.donor(self.donor)

        def act(features, moment):
            w = self.s * self.window.weight(moment.index)
            return features.replace({"h": (1 - w) * features.h + w * donor(moment).h})

        return act
'''

FADE = '''
"""Fades skip groups, without a donor; and an edit of the network."""

from hcache.recipes.edits import RecipeEdit, Share
from hcache.recipes.widgets import FlagWidget, NumberWidget, PercentWidget, SitesWidget, Variant


class FadeEdit(RecipeEdit, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="fade"):
    """Multiplies every member of some skip groups by a share."""

    title = "Fade skips"
    help = "Without A: B's own skips, smaller."
    variants = (
        Variant(title="fade one by one", button="Fade each", each="sites", asymmetric=True),
        Variant(title="fade all", button="Fade all"),
    )
    widgets = (SitesWidget(key="faded"), PercentWidget(name="left", label="Left", key="left"))

    sites: tuple[str, ...]
    left: Share
    secret: int = 0

    @property
    def picture_name(self):
        return ", ".join(self.sites)

    @property
    def figure_site(self):
        return self.sites[0] if len(self.sites) == 1 else ""

    def bind(self, tools):
        anatomy = tools.model.anatomy
        members = [member for site in self.sites for member in anatomy.members(site)]
        return lambda features, moment: features.replace(
            {member: self.left * features[member] for member in members}
        )


class ToneEdit(RecipeEdit, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="tone"):
    """Changes nothing, but is an edit of the network."""

    title = "Tone"
    network = True
    widgets = (NumberWidget(name="depth", label="Depth", low=0, high=3, default=1),)

    depth: float

    @classmethod
    def offered_for(cls, run):
        return run.spec.steps == 4
'''

LOST = DirectionRef(digest="0123456789ab")


@pytest.fixture
def page(tmp_path, copied_run, monkeypatch):
    """The Swap page, with the package installed in a folder of its own."""
    folder = tmp_path / "outside"
    about = folder / "outside_mix-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "outside_mix.py").write_text(EDIT, encoding="utf-8")
    (folder / "outside_fade.py").write_text(FADE, encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-mix\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[hcache.edits]\nmix = outside_mix:MixEdit\nfade = outside_fade:FadeEdit\n"
        "tone = outside_fade:ToneEdit\ngone = outside_fade:Gone\n"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("HCACHE_HOME", str(copied_run.home))
    st.cache_data.clear()
    st.cache_resource.clear()
    yield open_page(AppTest.from_file("../dashboard.py", default_timeout=120), "swap")
    for name in ("outside_mix", "outside_fade"):
        sys.modules.pop(name, None)


def test_the_swap_page_makes_its_pictures_and_takes_their_recipes_back(page, copied_run):
    page.selectbox(key="choose-inject").set_value("Mix h").run()
    assert_fine(page)
    assert "A share of the donor's h." in page.selectbox(key="choose-inject").help
    assert "choose-blend" not in {slider.key for slider in page.slider}, "no widget of a swap"
    page.slider(key="choose-mix-s").set_value(1.0).run()
    assert page.button(key="run-swap").label == "Render: Mix h"
    page = finish(page, "run-swap")
    assert_fine(page)
    (cell,) = results(page).values()
    (edit,) = cell.recipe.edits
    donor, recipient = int(kept(page)["donor"]), int(kept(page)["recipient"])
    assert type(edit) is EDITS["mix"] and edit.s == 1.0
    assert edit.donor == DonorRef(run=copied_run.name, sample=donor) and donor != recipient
    own = copied_run.images[copied_run.position(recipient)]
    assert not np.array_equal(cell.picture, own)
    page.selectbox(key="choose-inject").set_value("each site alone").run()
    drop(page, cell.png)
    assert_fine(page)
    assert kept(page)["inject"] == "Mix h" and page.slider(key="choose-mix-s").value == 1.0


def test_the_edit_page_which_asks_for_no_donor_does_not_offer_it(page):
    assert "mix" in EDITS and EDITS["mix"].amount is not None
    offered = list(offered_edits().values())
    assert EDITS["mix"] not in offered and EDITS["shift"] in offered


def test_an_edit_without_a_donor_declares_that_it_belongs_to_the_swap_page(page):
    """One picture for each of its sites, in the U-figure; an edit of the network beside it."""
    assert any("'gone'" in warning.value for warning in page.warning), "what is broken is told"
    page.selectbox(key="choose-inject").set_value("fade one by one").run()
    assert_fine(page)
    assert page.button(key="run-swap").label == "Fade each"
    assert page.checkbox(key="choose-fade-asymmetric").value, "as the variant proposes"
    page.multiselect(key="choose-faded").set_value(["skip.1", "skip.3"]).run()
    page.slider(key="choose-left").set_value(20).run()
    page.checkbox(key="choose-tone").set_value(True).run()
    page.number_input(key="choose-tone-depth").set_value(2.0).run()
    page = finish(page, "run-swap")
    assert_fine(page)
    cells = results(page)
    assert list(cells) == ["skip.1", "skip.3"]
    assert [cell.recipe.edits[0].sites for cell in cells.values()] == [("skip.1",), ("skip.3",)]
    for cell in cells.values():
        fade, tone = cell.recipe.edits
        assert (fade.left, tone.depth, cell.recipe.asymmetric) == (0.2, 2.0, True)
    assert not np.array_equal(*(cell.picture for cell in cells.values()))
    sheet = [SheetCell(recipe=cell.recipe, title=title) for title, cell in cells.items()]
    page.selectbox(key="choose-inject").set_value("each site alone").run()
    page.file_uploader(key="recipe-file").set_value(
        ("a.json", sheet_text(sheet).encode(), "application/json")
    ).run()
    assert_fine(page)
    found = kept(page)
    assert (found["inject"], found["faded"], found["left"]) == (
        "fade one by one",
        "skip.1,skip.3",
        20,
    )
    assert (found["tone"], found["tone-depth"]) == ("True", 2.0)


def test_a_field_that_the_page_has_no_widget_for_is_refused_unless_it_has_its_default(
    page, copied_run
):
    before = kept(page)
    edit = EDITS["fade"](sites=("skip.1", "skip.2"), left=0.5, secret=7)
    drop(page, recipe_of(copied_run, 1, [edit]).to_text().encode())
    assert "secret of this picture is 7" in page.error[0].value and kept(page) == before
    edit = EDITS["fade"](sites=("skip.1", "skip.2"), left=0.5)
    drop(page, recipe_of(copied_run, 1, [edit]).to_text().encode())
    assert not page.error and kept(page)["inject"] == "fade all"
    mixed = [edit, EDITS["shift"](direction=LOST, strength=1.0, window=Window(first=0, last=3))]
    drop(page, recipe_of(copied_run, 1, mixed).to_text().encode())
    assert "Edit page" in page.error[0].value
