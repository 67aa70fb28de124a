"""The readers of a run on the Gallery page: what they have not read, and adding one; and what
the page starts.
"""

import io
import json

import numpy as np
import pytest
import streamlit as st
from reader_models import save_clip
from streamlit.testing.v1 import AppTest
from test_cli import out_of

from hcache.background import kinds
from hcache.background.kinds import LATER, READER_FORMS, Reading
from hcache.cache.layout import TASKS
from hcache.cache.reading import open_run
from hcache.cli.main import build_parser
from hcache.errors import UsageError
from hcache.readers.reading import read_run, unread
from hcache.readers.saved import save_reader
from hcache.readers.texts import Texts, attribute_sets, lines_of, parse_attribute

SMILE = "smile=a happy face|a sad face"


@pytest.fixture(autouse=True)
def clean_caches():
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def started(monkeypatch):
    """The works that the page starts, which are not done."""
    from hcache.ui import tasks
    from hcache.ui.panels import readers

    found = []
    for module in (tasks, readers):
        monkeypatch.setattr(module, "start", lambda folder, work: found.append(work))
    return found


def gallery(home, monkeypatch):
    monkeypatch.setenv("HCACHE_HOME", str(home))
    app = AppTest.from_file("../dashboard.py", default_timeout=60).run()
    app = app.switch_page("pages/gallery.py").run()
    assert not app.exception and not app.error, [error.value for error in app.error]
    return app


def said(app, name):
    return next(each.value for each in app.markdown if each.value.startswith(f"**{name}**"))


def do(work, home, monkeypatch, capsys):
    """Does a piece of work as its process would."""
    (home / "runs" / work.run / TASKS).mkdir(exist_ok=True)
    order = {"home": str(home), "run": work.run, "kind": work.kind, "order": work.order()}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(order).encode())))
    capsys.readouterr()  # of what made the models
    return out_of(capsys, "background")


def test_a_reader_by_texts_is_added_and_reads_the_run(
    copied_run, tmp_path, monkeypatch, capsys, started
):
    home, clip = tmp_path / "copy", save_clip(tmp_path / "clip")
    app = gallery(home, monkeypatch)
    assert app.button(key="start-read").disabled, "no model is given yet"
    app.text_input(key="reader-model-texts").input(str(clip)).run()
    assert (
        app.text_area(key="reader-attributes-faces")
        .value.splitlines()[0]
        .startswith("smiling=a smiling person|")
    )
    app.text_area(key="reader-attributes-faces").input(SMILE).run()
    app.button(key="start-read").click().run()
    assert started == [
        Reading(
            run=copied_run.name, name="clip", form="texts", source=str(clip), attributes=(SMILE,)
        )
    ]
    do(started[0], home, monkeypatch, capsys)
    assert unread(open_run(copied_run.folder), "clip") == 0
    n = len(copied_run)
    assert f"{n} of {n} samples read" in said(gallery(home, monkeypatch), "clip")


def test_a_reader_reads_the_rest_of_a_run(copied_run, tmp_path, monkeypatch, capsys, started):
    home, clip = tmp_path / "copy", save_clip(tmp_path / "clip")
    save_reader(
        home, "half", Texts(model=str(clip), attributes={"smile": ("a happy face", "a sad face")})
    )
    half = read_run(copied_run, "half", batch=2)
    next(half)
    half.close()
    left = unread(open_run(copied_run.folder), "half")
    app = gallery(home, monkeypatch)
    assert (
        f"{len(copied_run) - left} of {len(copied_run)} samples read" in said(app, "half") and left
    )
    app.button(key="read-rest-half").click().run()
    assert started == [Reading(run=copied_run.name, name="half")]
    do(started[0], home, monkeypatch, capsys)
    assert unread(open_run(copied_run.folder), "half") == 0
    assert "read-rest-half" not in [button.key for button in gallery(home, monkeypatch).button]


def test_a_hub_id_has_a_revision_and_texts_give_probabilities(
    copied_run, tmp_path, monkeypatch, started
):
    app = gallery(tmp_path / "copy", monkeypatch)
    app.text_input(key="reader-model-texts").input("owner/clip").run()
    app.text_input(key="reader-revision-texts").input("v2").run()
    app.toggle(key="reader-probability").set_value(True).run()
    app.text_area(key="reader-attributes-faces").input(SMILE).run()
    app.button(key="start-read").click().run()
    assert started == [
        Reading(
            run=copied_run.name,
            name="clip",
            form="texts",
            source="owner/clip",
            attributes=(SMILE,),
            revision="v2",
            probability=True,
        )
    ]
    arguments = build_parser().parse_args(started[0].arguments())
    assert arguments.probability and arguments.revision == "v2"
    app.text_input(key="reader-model-texts").input(str(tmp_path)).run()
    assert "reader-revision-texts" not in [each.key for each in app.text_input], "of a folder"


@pytest.mark.parametrize("changes", [{"probability": True}, {"revision": "v1"}])
def test_a_revision_and_probabilities_are_of_models_alone(changes):
    order = Reading(run="a-run", name="mine", form="clicks", source="chosen").order() | changes
    with pytest.raises(UsageError, match=next(iter(changes))):
        kinds.read_work("read", "a-run", order)


def test_the_gallery_holds_a_reader_against_labels_by_hand(copied_run, tmp_path, monkeypatch):
    from hcache.cache.labels import save_labels
    from hcache.readers.checks import checks_of

    home, clip = tmp_path / "copy", save_clip(tmp_path / "clip")
    texts = Texts(model=str(clip), attributes={"smile": ("a happy face", "a sad face")})
    save_reader(home, "clip", texts)
    for _ in read_run(copied_run, "clip"):
        pass
    values = open_run(copied_run.folder).labels["clip"]["smile"]
    marks = {i: float(value > np.median(values)) for i, value in enumerate(values)}
    save_labels(open_run(copied_run.folder), "by hand", {"smile": marks})
    app = gallery(home, monkeypatch)
    app.button(key="reader-check-clip").click().run()
    assert not app.exception and not app.error
    (found,) = checks_of(home, "clip")
    assert found.value == 1 and found.metric == "AUC"
    assert any("smile: AUC 1.00" in caption.value for caption in app.caption)


def test_what_is_wrong_is_said_before_anything_starts(copied_run, tmp_path, monkeypatch):
    app = gallery(tmp_path / "copy", monkeypatch)
    app.text_input(key="reader-model-texts").input("owner/clip").run()
    assert not app.button(key="start-read").disabled
    app.text_area(key="reader-attributes-faces").input("smile=a happy face").run()
    assert app.button(key="start-read").disabled and not app.exception and not app.error
    assert any("NAME=what it is" in caption.value for caption in app.caption)


def test_a_function_is_not_made_by_a_page(copied_run, tmp_path, monkeypatch):
    from hcache.ui.panels.readers import FORMS

    assert tuple(FORMS) == READER_FORMS and "function" not in FORMS
    with pytest.raises(UsageError, match="form"):
        kinds.read_work(
            "read",
            "a-run",
            Reading(run="a-run", name="f", form="function", source="os:system").order(),
        )


@pytest.mark.parametrize("name", ["faces", "paintings", "dogs"])
def test_sets_of_attributes_come_back_as_they_are_typed(name):
    typed = Texts(model="m", attributes=dict(map(parse_attribute, lines_of(name))))
    assert typed.to_json() == Texts(model="m", attributes=attribute_sets()[name]).to_json()


WORKS = (
    Reading(run="a-run", name="kept"),
    Reading(
        run="a-run", name="clip", form="texts", source="-owner/clip", attributes=(SMILE, "-a=b|c")
    ),
    Reading(run="a-run", name="mine", form="clicks", source="chosen", encoder="owner/dino"),
    Reading(
        run="a-run",
        name="at",
        form="texts",
        source="owner/clip",
        attributes=(SMILE,),
        revision="v1.2",
    ),
)


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.form)
def test_a_reading_is_read_back_as_it_was(work):
    order = json.loads(json.dumps(work.order()))
    assert kinds.read_work(work.kind, "a-run", order) == work
    arguments = build_parser().parse_args(work.arguments())
    assert arguments.run_name == "a-run" and tuple(arguments.attribute or ()) == work.attributes
    assert arguments.reader == (f"{work.form}:{work.source}" if work.form else work.name)
    assert arguments.revision == (work.revision or None)
    for name in order:
        if name not in LATER:  # tasks of before lack these
            with pytest.raises(UsageError):
                kinds.read_work(work.kind, "a-run", {k: v for k, v in order.items() if k != name})
        for value in (None, 0.5, True, -1, {}, [None]):
            with pytest.raises(UsageError):
                kinds.read_work(work.kind, "a-run", {**order, name: value})
    for name, value in (
        ("name", "../../etc"),
        ("name", ""),
        ("form", "function"),
        ("form", "shell"),
    ):
        with pytest.raises(UsageError):
            kinds.read_work(work.kind, "a-run", {**order, name: value})
