"""Texts that others wrote are shown as they are, on every page and in the report: no picture is
fetched for them, no HTML or script of theirs gets into a page."""

import dataclasses
import json
from html.parser import HTMLParser

import numpy as np
import pytest
import streamlit as st
from markdown_it import MarkdownIt
from streamlit.testing.v1 import AppTest
from tiny import put_task, synthetic_run

from hcache.background import extractions
from hcache.background.processes import FAILED
from hcache.background.status import StatusFile
from hcache.cache.labels import save_labels
from hcache.cache.layout import RUN_JSON
from hcache.cache.reading import open_run
from hcache.cache.records import save_record
from hcache.cards import default_spec
from hcache.directions.naive import naive_direction
from hcache.directions.store import save_move
from hcache.measures.kinds import DECODABILITY
from hcache.report.document import verdict_report
from hcache.specs import Conditioning
from hcache.ui import frame
from hcache.ui.text import literal, with_commands

EVIL = (
    "![p](http://evil.example/p.png) [l](http://evil.example) <img src='http://evil.example/q.png'"
    " onerror='alert(1)'><script>alert(1)</script> :material/home: :red[x] $x$ `y` **b** _c_"
    " https://evil.example &lt;img&gt; </td>'\">"
)
LABEL = "<img src='http://evil.example/q.png' onerror='alert(1)'>![p](http://evil.example/p.png)"
PAGES = {label: path for path, label, _ in frame.PAGES}
TEXTS = (
    "markdown",
    "caption",
    "error",
    "warning",
    "info",
    "success",
    "title",
    "header",
    "subheader",
    "button",
    "toast",
    "checkbox",
    "slider",
    "selectbox",
    "multiselect",
    "number_input",
    "text_input",
    "metric",
    "expander",
    "progress",
    "imgs",
    "tab",
    "toggle",
    "radio",
    "page_link",
    "download_button",
)
NOT_MARKDOWN = (
    "options",
    "default",
    "value",
    "raw_value",
    "raw_values",
    "query_string",
    "url",
    "alt",
    "id",
    "page",
    "placeholder",
    "form_id",
    "formatted_max",
    "formatted_min",
)
"""Fields that the browser shows as they are, or not at all."""


@pytest.mark.parametrize(
    "text",
    [
        EVIL,
        LABEL,
        "# a",
        "- a",
        "1. a",
        "===",
        "a\nb\n---",
        "| a |\n|-|",
        "\\![a](b)",
        "www.evil.example",
    ],
)
def test_a_literal_text_is_one_paragraph_of_its_own_letters(text):
    tokens = MarkdownIt("commonmark", {"linkify": True}).enable("table").parse(literal(text))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {child.type for child in tokens[1].children} == {"text"} or text.startswith("\\")
    assert "".join(child.content for child in tokens[1].children) == " ".join(text.split())


@pytest.mark.parametrize("text", [EVIL, LABEL, "`a`", "`python -m hcache <b>x</b>`", "`", "# a"])
def test_only_commands_of_hcache_are_code(text):
    """What stands beside a command, or looks like one, keeps its own letters."""
    told = f"{text} and `python -m hcache read a-run_1 --what=h` {text}"
    tokens = MarkdownIt("commonmark", {"linkify": True}).enable("table").parse(with_commands(told))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    code = [child.content for child in tokens[1].children if child.type == "code_inline"]
    assert code == ["python -m hcache read a-run_1 --what=h"]
    assert {child.type for child in tokens[1].children} == {"text", "code_inline"}
    assert with_commands(text) == literal(text)


def test_a_literal_text_leaves_names_as_they_are():
    assert (
        literal("hair_colour of run ddpm-64-0ab: 3.5 s, it's 7 of 8 (87 %)")
        == "hair_colour of run ddpm-64-0ab: 3.5 s, it's 7 of 8 (87 %)"
    )


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A run in which all that may be a text is a hostile one."""
    spec = dataclasses.replace(
        default_spec("toyfaces-ddpm-64", samples=12, steps=2, store={"h": "full"}),
        model=EVIL,
        conditioning=Conditioning(prompts=(EVIL,)),
    )
    h = np.random.default_rng(0).normal(size=(2, 12, 4, 2, 2)).astype(np.float16)
    run = synthetic_run(tmp_path, spec, h, x=np.zeros((3, 12, 3, 8, 8), np.float32))
    path = run.folder / RUN_JSON
    data = json.loads(path.read_text())
    path.write_text(
        json.dumps(
            {**data, "provenance": {"libraries": {"torch": EVIL, EVIL: "1"}, "created": EVIL}}
        )
    )
    save_labels(run, "own", {"level": {int(s): float(s) for s in run.sample_ids}})
    direction = naive_direction(run, [0, 1])
    save_move(
        run,
        "bad",
        dataclasses.replace(
            direction, made_by={**direction.made_by, "method": EVIL, "label": EVIL}
        ),
    )
    for kind in ("fit", "measure", "import"):
        put_task(run.folder, id=f"{kind}-1", kind=kind, title=EVIL, state=FAILED, message=EVIL)
        put_task(run.folder, id=f"{kind}-2", kind=kind, title=EVIL, stage=EVIL, share=0.5)
    StatusFile.of_extraction(run.folder, spec).finish(extractions.FAILED, EVIL)
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path))
    monkeypatch.setattr(extractions, "start", lambda *_: None)
    st.cache_data.clear()
    st.cache_resource.clear()
    return tmp_path


def save_broken_labels(home):
    """A set of labels that cannot be read, and whose error repeats what stands in it."""
    run = open_run(next((home / "runs").iterdir()))
    (run.folder / "labels" / "evil.csv").write_text(f"sample,{LABEL}\n0,1\n")


def strings(message):
    """Every text in a protocol buffer that Streamlit reads as Markdown."""
    for field, value in message.ListFields():
        if field.name in NOT_MARKDOWN:
            continue
        values = value if field.is_repeated else [value]
        for each in values:
            if field.message_type is not None and hasattr(each, "ListFields"):
                yield from strings(each)
            elif isinstance(each, str):
                yield each


def brought_in(text):
    """What of a text would be more than letters: the kinds of Markdown tokens that name the
    attacker or run.
    """
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        for child in [token, *(token.children or ())]:
            if child.type in (
                "image",
                "html_inline",
                "html_block",
                "link_open",
                "code_inline",
            ) and ("evil" in str(child.attrs) + child.content or child.content == "y"):
                found.append((child.type, child.content))
    return found


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        of_attacker = any(
            "evil.example/" in (value or "") and name in ("src", "href") for name, value in attrs
        )
        if of_attacker or any(name.startswith("on") for name, _ in attrs):
            self.found.append((tag, attrs))


def tags_of(html):
    parser = Tags()
    parser.feed(html)
    return parser.found


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "address",
    [
        {},
        {"run": EVIL},
        {"cell": EVIL, "label": LABEL, "colour": LABEL, "sort": LABEL, "direction": "bad"},
        {"broken": "labels"},
        {"model": "another folder or hub id …", "other-model": EVIL},
    ],
    ids=["plain", "run", "choices", "broken", "model"],
)
def test_no_page_takes_a_text_for_markdown_or_html(page, address, home):
    if "broken" in address:
        save_broken_labels(home)
    app = AppTest.from_file("../dashboard.py", default_timeout=60)
    if page != "Overview":
        app.switch_page(PAGES[page])
    app.query_params.update(address)
    app.run()
    assert not app.exception, app.exception
    seen = ""
    for kind in TEXTS:
        for element in app.get(kind):
            for text in strings(element.proto):
                assert brought_in(text) == [], (kind, text)
                seen += text
    for element in app.get("html"):
        assert tags_of(element.proto.body) == []
    assert "evil" in seen, "the page does show some of it"


def test_the_search_finds_what_it_is_for():
    assert {kind for kind, _ in brought_in(EVIL)} == {"link_open", "html_inline", "code_inline"} | {
        "image"
    }
    assert brought_in(literal(EVIL)) == [] and tags_of(EVIL)


def test_the_report_shows_texts_as_they_are(home):
    run = open_run(next((home / "runs").iterdir()))
    found = {"value": 0.9, "low": 0.8, "high": 1.0, "n": 12, "level": 0.95}
    step = {
        "step": 0,
        "score": found,
        "accuracy": 0.9,
        "control": 0.1,
        "selectivity": 0.8,
        "p": 0.05,
    }
    for label in (LABEL, "level"):
        save_record(
            run,
            DECODABILITY,
            {"label": label, "site": "h", "pooled": False},
            {"metric": LABEL, "steps": [step, {**step, "step": 1}]},
        )
    report = verdict_report([run], [LABEL, "level"])
    assert "evil.example" in report and tags_of(report) == []
    assert "<script>alert" not in report and "</script><script>alert" not in report
