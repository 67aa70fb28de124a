"""The Probes page on a tiny run: nothing yet, a part, all, a failure; a click on a cell;
learning curves.
"""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from test_pages import assert_fine, finish, open_page
from tiny import Picking, drain

from hcache.cache.labels import save_labels
from hcache.cache.reading import open_run
from hcache.errors import AnalysisError
from hcache.measures import costs, probes_by_cell
from hcache.measures.decodability import decodability
from hcache.ui import pace
from hcache.ui.panels import probe_map as panel


@pytest.fixture
def run(copied_run):
    rng = np.random.default_rng(0)
    samples = [int(sample) for sample in copied_run.sample_ids]
    columns = {
        "level": {s: float(rng.normal()) for s in samples},
        "some": {0: 1.0, 1: 0.0},
        "flat": {s: 1.0 for s in samples},
        "rare": {s: float(s == 5) for s in samples},
    }
    save_labels(copied_run, "own", columns)
    return open_run(copied_run.folder)


@pytest.fixture
def page(copied_run, monkeypatch):
    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("HCACHE_HOME", str(copied_run.home))
    return lambda: open_page(AppTest.from_file("../dashboard.py", default_timeout=60), "probes")


@pytest.fixture
def dear(monkeypatch):
    """Nothing is cheap, so that all waits for its button."""
    monkeypatch.setattr(costs, "CHEAP", 0.0)


def wait(app):
    """Draws the page anew once the work that it began has ended."""
    for _, work in app.session_state["works"].values():
        assert work.wait(60)
    return app.run()


def charts(app):
    return len(app.get("plotly_chart"))


def said(app):
    return " ".join(
        element.value for kind in (app.caption, app.markdown, app.info) for element in kind
    )


def test_without_labels_it_says_where_labels_come_from(page, copied_run):
    app = page()
    assert not app.exception and "labels-import" in app.error[0].value and not app.button


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("some", "10 of 12 samples have no value"),
        ("flat", "same value"),
        ("rare", "smaller class has 1"),
    ],
)
def test_a_label_that_cannot_be_probed_is_refused_before_anything_is_computed(
    page, run, label, words
):
    app = page()
    app.selectbox(key="choose-label").set_value(label).run()
    assert not app.exception and words in app.error[0].value
    assert not charts(app) and not any(button.key == "run-probes" for button in app.button)


def test_what_is_cheap_starts_by_itself_and_all_is_found_again(page, run):
    app = wait(page())
    assert_fine(app)
    assert charts(app) == 2 and "Every cell is stored" in said(app) and "Selectivity" in said(app)
    again = page()
    assert charts(again) == 2 and not any(button.key == "run-probes" for button in again.button)
    again.selectbox(key="choose-probe").set_value("logistic").run()
    assert_fine(again)
    assert "logistic probe" in said(again), "another question"
    wait(again)


def test_what_is_dear_waits_for_its_button(page, run, dear):
    app = page()
    assert_fine(app)
    assert not charts(app) and app.button(key="run-probes").label == "Probe 20 cells, about 5 s"
    app = finish(app, "run-probes")
    assert charts(app) == 2


def test_a_run_that_is_being_extracted_waits_for_the_button_too(page, run, monkeypatch):
    monkeypatch.setattr(pace.jobs, "read_job", lambda folder: SimpleNamespace(live=True))
    assert not pace.starts_itself(run, 0.1)
    monkeypatch.setattr(pace.jobs, "read_job", lambda folder: None)
    assert pace.starts_itself(run, 0.1) and not pace.starts_itself(run, None)


def test_what_was_cancelled_is_not_started_again_by_itself(page, run, monkeypatch):
    begun, go_on = [], threading.Event()

    def slow(*question):
        begun.append(question)
        yield 0.1
        go_on.wait(30)
        yield 0.2

    monkeypatch.setattr(probes_by_cell, "decodability", slow)
    app = page()
    assert len(begun) == 1
    app.session_state["works"]["probes"][1].cancel()
    go_on.set()
    wait(app)
    assert_fine(app)
    assert "Cancelled at" in said(app) and app.button(key="run-probes").disabled is False
    app.run()
    app.run()
    assert len(begun) == 1
    app.button(key="run-probes").click().run()
    assert len(begun) == 2
    wait(app)


def test_a_part_is_shown_and_the_rest_offered(page, run, dear):
    drain(decodability(run, ["level"], ["skip.2"]))
    app = page()
    assert_fine(app)
    assert (
        charts(app) == 2 and app.button(key="run-probes").label == "Probe 16 of 20 cells, about 5 s"
    )
    assert "not probed yet" in said(app)
    app.multiselect(key="choose-probed").set_value(["skip.2"]).run()
    assert "Every cell is stored" in said(app) and "not probed yet" not in said(app)
    app.multiselect(key="choose-probed").set_value([]).run()
    assert_fine(app)
    assert "Choose a site" in said(app)


def test_a_click_chooses_a_cell_and_its_learning_curve_is_stored(page, run, monkeypatch):
    picking = Picking(monkeypatch)
    drain(decodability(run, ["level"]))
    app = page()

    def chosen():
        return app.selectbox(key="choose-probe-site").value, app.slider(key="choose-step").value

    picking.pick(app, panel.MAP, ["skip.1", 1])
    assert_fine(app)
    assert chosen() == ("skip.1", 1)
    app.slider(key="choose-step").set_value(3).run()
    assert chosen() == ("skip.1", 3), "a click that was followed is not followed again"
    picking.pick(app, panel.MAP, ["skip.1", 1])
    assert chosen() == ("skip.1", 1), "but the same cell can be clicked again"
    picking.pick(app, panel.MAP)
    assert chosen() == ("skip.1", 1)
    app.slider(key="choose-step").set_value(3).run()
    assert app.button(key="run-learning").label == "Learning curves of 5 sites at step 3"
    app = finish(app, "run-learning")
    assert_fine(app)
    assert charts(app) == 3 and "Beyond x_t" in said(app)
    assert not any(button.key == "run-learning" for button in app.button)


def test_what_fails_is_said_and_what_was_done_is_kept(page, run, monkeypatch):
    def fails(run, *question):
        yield from drain(decodability(run, ["level"], ["h"]))[0]
        raise AnalysisError("the activations hold values that are not finite")

    monkeypatch.setattr(probes_by_cell, "decodability", fails)
    app = wait(page())
    assert not app.exception and "not finite" in app.error[0].value
    app.run()
    assert not any(work.running for _, work in app.session_state["works"].values()), (
        "it failed, and is not begun again"
    )
    assert (
        charts(app) == 2 and app.button(key="run-probes").label == "Probe 16 of 20 cells, about 5 s"
    )
