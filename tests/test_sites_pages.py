"""The Edit, Figures and Swap pages at other sites than h, of a U-Net and of a transformer."""

import numpy as np
import pytest
import streamlit as st
from kinds import save_kind
from streamlit.testing.v1 import AppTest
from test_pages import assert_fine, finish, open_page

from hcache.cards import default_spec
from hcache.directions.store import list_moves
from hcache.extraction.run import extract
from hcache.models.loading import load_model
from hcache.specs import UNCONDITIONED, Conditioning

KINDS = {
    "DDPM": ({"h": "full", "up.1": "full"}, "up.1", UNCONDITIONED),
    "DiT": ({"block.*": "full"}, "block.1", Conditioning(classes=(3,))),
}


@pytest.fixture(scope="module", params=KINDS)
def run(request, tmp_path_factory):
    folder = save_kind(request.param, tmp_path_factory.mktemp("kind"))
    store, _, conditioning = KINDS[request.param]
    spec = default_spec(
        str(folder), samples=8, steps=2, batch=4, store=store, conditioning=conditioning
    )
    return extract(load_model(str(folder)), spec, tmp_path_factory.mktemp("home"))


@pytest.fixture
def app(run, monkeypatch):
    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("HCACHE_HOME", str(run.home))
    return AppTest.from_file("../dashboard.py", default_timeout=60)


def site_of_run(run):
    return next(site for store, site, _ in KINDS.values() if store == dict(run.spec.store))


def test_the_edit_page_fits_and_renders_at_the_chosen_site(app, run):
    page, site = open_page(app, "edit"), site_of_run(run)
    page.selectbox(key="choose-method").set_value("random").run()
    page.selectbox(key="choose-direction-site").set_value(site).run()
    finish(page, "run-strip")
    assert_fine(page)
    cells, *_ = list(page.session_state["results-strip"].values())[-1]
    made_by = cells[0].recipe.edits[0].direction.made_by
    assert made_by["site"] == site and made_by["method"] == "random"
    assert (cells[0].picture != cells[4].picture).any(), "the direction moves the picture"
    own = run.picture(cells[4].recipe.sample).astype(int)
    assert np.abs(cells[4].picture - own).max() <= 1, "strength 0, in a batch of another size"
    page.button(key="save-direction").click().run()
    assert_fine(page)
    (saved,) = list_moves(run)
    assert saved.site == site and saved.name == f"random-{site}"


def test_the_figures_page_draws_a_strip_at_the_chosen_site(app, run):
    page, site = open_page(app, "figures"), site_of_run(run)
    page.selectbox(key="choose-figure").set_value("strip").run()
    page.selectbox(key="choose-figure-site").set_value(site).run()
    page.multiselect(key="choose-strip-ways").set_value(["random"]).run()
    finish(page, "run-figure-strip")
    assert_fine(page)
    made = list(page.session_state["results-figure-strip"].values())[-1]
    assert f"Fitted directions move {site}, not h." in made.caption


def test_the_swap_page_swaps_and_reproduces_the_sample(app, run):
    page, site = open_page(app, "swap"), site_of_run(run)
    page.multiselect(key="choose-sites").set_value([site]).run()
    finish(page, "run-swap")
    assert_fine(page)
    cells, identity, *_ = list(page.session_state["results-swap"].values())[-1]
    assert identity.identical
    (cell,) = cells.values()
    assert (cell.picture != run.picture(cell.recipe.sample)).any()
