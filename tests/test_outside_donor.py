"""An edit with a donor from a package outside, in one file: the Swap page offers it."""

import sys

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from test_pages import assert_fine, finish, open_page
from test_swap_page import drop, kept, results

from hcache.recipes.edits import EDITS, DonorRef
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


@pytest.fixture
def page(tmp_path, copied_run, monkeypatch):
    """The Swap page, with the package installed in a folder of its own."""
    folder = tmp_path / "outside"
    about = folder / "outside_mix-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "outside_mix.py").write_text(EDIT, encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-mix\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[hcache.edits]\nmix = outside_mix:MixEdit\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("HCACHE_HOME", str(copied_run.home))
    st.cache_data.clear()
    st.cache_resource.clear()
    yield open_page(AppTest.from_file("../dashboard.py", default_timeout=120), "swap")
    sys.modules.pop("outside_mix", None)


def test_the_swap_page_makes_its_pictures_and_takes_their_recipes_back(page, copied_run):
    page.selectbox(key="choose-inject").set_value("Mix h").run()
    assert_fine(page)
    assert "A share of the donor's h." in [caption.value for caption in page.caption]
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
