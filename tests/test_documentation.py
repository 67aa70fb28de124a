"""The documentation that the dashboard shows: every text, its links, and the page it is read on."""

import re

import pytest
from streamlit.testing.v1 import AppTest

from hcache.background import extractions
from hcache.documentation import documents, markdown_of, name_of, part_of
from hcache.ui.frame import PAGES

TEXTS = documents()


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path))
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr(extractions, "start", lambda *_: None)
    return AppTest.from_file("../dashboard.py", default_timeout=60).switch_page("pages/help.py")


def linked(name):
    """The documents that a text links to, in order."""
    found = []
    markdown_of(TEXTS[name], lambda words, target: found.append(target))
    return found


def test_measures_methods_pages_and_the_guide_for_packages_are_there():
    assert {
        "explanation/h-space",
        "explanation/measures/swaps",
        "explanation/methods",
        "how-to/extend",
        "how-to/convert",
        "reference/pages",
        "results/reliability",
    } <= set(TEXTS)
    assert TEXTS["reference/pages"].title == "The pages of the dashboard"


def test_links_lead_to_the_text_that_they_mean():
    assert "reference/readers" in linked("reference/pages")
    assert "how-to/extend" in linked("reference/pages")
    assert "explanation/measures/dci" in linked("explanation/measures")
    assert name_of(TEXTS["explanation/measures/dci"], "sap.md") == "explanation/measures/sap"
    assert name_of(TEXTS["explanation/h-space"], "../../README.md") is None


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_has_no_picture_comment_or_relative_link_left(name):
    """Such a link would lead nowhere on the page; a comment would be shown as text."""
    text = re.sub(r"```.*?```|`[^`]*`", "", markdown_of(TEXTS[name], lambda *_: None), flags=re.S)
    assert "<!--" not in text and "![" not in text
    assert [link for link in re.findall(r"\]\(([^)]*)\)", text) if "://" not in link] == []


def test_the_pages_text_says_what_each_page_does():
    text = markdown_of(TEXTS["reference/pages"], lambda words, _: None)
    said = {label: part_of(text, f"**{label}**") for _, label, _ in PAGES}
    assert [label for label, words in said.items() if len(words) < 40] == []
    assert said["PCA"].startswith("**PCA** computes") and "Probes" not in said["PCA"]


def test_help_says_first_what_the_page_does_that_one_came_from(page):
    page.query_params["about"] = "Probes"
    page.run()
    assert not page.exception
    assert page.info[0].value.startswith("**Probes**")
    page.selectbox(key="choose-doc").select("explanation/measures/swaps").run()
    assert not page.exception and not page.info
    assert any(TEXTS["explanation/measures/swaps"].title in text.value for text in page.markdown)


def test_a_link_opens_a_text(page):
    page.query_params["doc"] = "explanation/measures"
    page.run()
    shown = "".join(text.value for text in page.markdown)
    assert "[decodability](help?doc=explanation/measures/decodability" in shown
