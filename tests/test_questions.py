"""The questions on the Overview: each leads to a page that is set up, and every page that
answers any has its own.
"""

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from tiny import make_unet, save_pipeline

from hcache.cards import default_spec
from hcache.extraction.run import extract
from hcache.models.loading import load_model
from hcache.ui.frame import PAGES
from hcache.ui.panels.overview import of_other_models
from hcache.ui.questions import QUESTIONS

TITLES = {path: label for path, label, _ in PAGES}


@pytest.fixture
def run(copied_run, tmp_path, monkeypatch):
    """The tiny run with a label, in a home of its own that the pages show."""
    st.cache_data.clear()
    st.cache_resource.clear()
    (copied_run.folder / "labels").mkdir()
    rows = "".join(f"{sample},{sample % 5 / 4}\n" for sample in copied_run.sample_ids)
    (copied_run.folder / "labels" / "mine.csv").write_text("sample,fifths\n" + rows)
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path / "copy"))
    return copied_run


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.text)
def test_a_question_leads_to_a_page_that_is_set_up(run, question):
    said = question.address(run.name, ["fifths"])
    assert said["run"] == run.name and len(said) > 1 and "{" not in "".join(said.values())
    app = AppTest.from_file("../dashboard.py", default_timeout=60)
    app.switch_page(question.page)
    app.query_params.update(said)
    app.run()
    assert not app.exception and not app.error, [error.value for error in app.error]
    assert app.title[0].value == TITLES[question.page]
    shown = app.session_state["kept"]
    assert {name: str(shown.get(name)) for name in said} == said


def test_every_page_that_answers_something_has_its_question():
    asked = {TITLES[question.page] for question in QUESTIONS}
    assert {*TITLES.values()} - asked == {"Overview", "Gallery", "Help"}


def test_a_question_without_runs_or_labels_names_none():
    for question in QUESTIONS:
        assert not any("{" in value or not value for value in question.address("", []).values())


def test_the_verdict_compares_a_run_of_each_model(run, tiny_model, tmp_path):
    """Of two runs of this model the one that is shown, and not one that cannot be read."""
    home, (verdict,) = (
        tmp_path / "copy",
        [each for each in QUESTIONS if each.page == "pages/verdict.py"],
    )
    extract(tiny_model, default_spec(run.spec.model, samples=1, steps=1), home)
    (home / "runs" / "broken").mkdir()
    (home / "runs" / "broken" / "run.json").write_text("{")
    assert of_other_models(run) == []
    folder = save_pipeline(tmp_path / "another", make_unet())
    other = extract(load_model(str(folder)), default_spec(str(folder), samples=1, steps=1), home)
    assert of_other_models(run) == [other.name]
    assert verdict.address(run.name, [], [other.name])["verdict-runs"] == f"{run.name},{other.name}"
