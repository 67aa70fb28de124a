"""The small tables of distances on the pages: which similarities they have, and their null."""

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from test_pages import finish, open_page

from hcache.readers.likeness import samples_apart
from hcache.similarities.opening import between_pictures, chosen_distances
from hcache.ui import similarity_choice


def test_cheap_similarities_are_chosen_and_directed_ones_are_not_offered():
    found = between_pictures()
    assert {name for name, cheap in found.items() if cheap} == {"ms_ssim", "keypoints", "patterns"}
    assert "lpips" in found and "s_dir" not in found and "ssim" not in found


def test_what_is_missing_is_a_line_and_the_rest_is_measured(tiny_run):
    found = chosen_distances(tiny_run, "", ("patterns", "gram"))
    (line,) = found.missing
    assert line.startswith("gram is left out: ") and "encoder" in line
    (name,) = found.distances
    far = samples_apart(tiny_run, found.distances)[name]
    assert 0 < far < 1
    same = found.distances[name](tiny_run.images[:2], tiny_run.images[:2])
    assert np.allclose(same, 0)
    alone = chosen_distances(tiny_run, "", ("gram",))
    assert not alone.distances and len(alone.missing) == 1


@pytest.fixture
def app(copied_run, monkeypatch):
    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("HCACHE_HOME", str(copied_run.home))
    return AppTest.from_file("../dashboard.py", default_timeout=60)


def test_compare_shows_distances_beside_those_of_two_samples(app):
    page = open_page(app, "compare")
    assert not page.exception and not page.error
    (table,) = [each.value for each in page.dataframe if "Distance" in each.value.columns]
    assert {"pixels", "local binary patterns"} < set(table["Distance"])
    assert all(float(value) > 0 for value in table["Two samples"])
    assert "chance" in "".join(each.value for each in page.caption)


def test_swap_measures_the_chosen_ones(app):
    page = finish(open_page(app, "swap"), "run-swap")
    (table,) = [each.value for each in page.dataframe if "two samples" in each.value.columns]
    rows = table.set_index(["distance", "from"])
    assert float(rows.loc[("local binary patterns", "A"), "A itself"]) == 0
    assert float(rows.loc[("pixels", "B"), "two samples"]) > 0
    assert rows.loc[("pixels", "A"), "two samples"] == ""
    assert not page.exception and not page.error


def test_two_samples_are_compared_once_for_all_pages(app, monkeypatch):
    """With the default similarities that takes seconds, for each picture that is made."""
    asked = []

    def counted(run, distances):
        asked.append(tuple(distances))
        return samples_apart(run, distances)

    monkeypatch.setattr(similarity_choice, "samples_apart", counted)
    page = finish(open_page(app, "swap"), "run-swap")
    page.number_input(key="choose-donor").set_value(3).run()
    page = open_page(finish(page, "run-swap"), "compare")
    assert not page.exception and not page.error
    assert len(asked) == 1
