"""The selection on the Gallery, PCA and Edit pages, and the Compare page, by Streamlit's own
test harness.
"""

import json

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from tiny import make_unet, save_pipeline, wait_for

from hcache.cache.projections import projections_path
from hcache.cache.reading import open_run
from hcache.cards import default_spec
from hcache.edits.render_store import keep_render
from hcache.extraction.run import extract
from hcache.models.loading import load_model


@pytest.fixture(autouse=True)
def clean_caches():
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def run(copied_run, tmp_path, monkeypatch):
    """The tiny run with a label, in a home of its own that the pages show."""
    (copied_run.folder / "labels").mkdir()
    rows = "".join(f"{sample},{sample % 5 / 4}\n" for sample in copied_run.sample_ids)
    (copied_run.folder / "labels" / "mine.csv").write_text("sample,fifths\n" + rows)
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path / "copy"))
    return copied_run


@pytest.fixture
def app(run):
    return AppTest.from_file("../dashboard.py", default_timeout=60)


def open_page(app, name, **query):
    app.run()
    for key, value in query.items():
        app.query_params[key] = value
    return app.switch_page(f"pages/{name}.py").run()


def fine(app):
    assert not app.exception, app.exception
    assert not app.error, [error.value for error in app.error]


def counted(app):
    return next(m.value for m in app.markdown if m.value.endswith(" selected")).replace("*", "")


def press(app, name):
    app.button(key=f"selection-{name}").click().run()
    fine(app)
    return counted(app)


def test_the_gallery_selects_what_is_shown_inverts_clears_and_undoes(app):
    open_page(app, "gallery", sort="fifths")
    app.slider(key="choose-filter-fifths").set_value((0.5, 1.0)).run()
    assert press(app, "set") == "6 of 12 selected"
    assert app.query_params["selection"] == "2-4,7-9"
    assert (
        press(app, "invert") == "6 of 12 selected"
        and app.query_params["selection"] == "0-1,5-6,10-11"
    )
    assert press(app, "clear") == "0 of 12 selected" and "selection" not in app.query_params
    assert press(app, "undo") == "6 of 12 selected"
    assert press(app, "add") == "12 of 12 selected"
    assert (
        press(app, "remove") == "6 of 12 selected"
        and app.query_params["selection"] == "0-1,5-6,10-11"
    )


def test_clicks_take_in_and_out_and_shift_takes_a_range(run):
    """In a script of its own: the harness knows no component."""

    def script(folder):
        from pathlib import Path

        import streamlit as st

        from hcache.cache.reading import open_run
        from hcache.ui import selection
        from hcache.ui.grid import Click
        from hcache.ui.panels.gallery import take_clicks

        run = open_run(Path(folder))
        take_clicks(
            run,
            [Click(sample=4, ids=(4,), range=False), Click(sample=7, ids=(4, 5, 6, 7), range=True)],
        )
        take_clicks(
            run, [Click(sample=5, ids=(5,), range=False), Click(sample=99, ids=(99,), range=False)]
        )
        st.text(f"{selection.selected(run)} {st.session_state['kept']['sample']}")

    assert (
        AppTest.from_function(script, args=(str(run.folder),)).run().text[0].value == "(4, 6, 7) 5"
    )


def test_the_selection_goes_with_the_user_and_with_the_link(app):
    open_page(app, "pca", selection="1-3,8")
    fine(app)
    assert counted(app) == "4 of 12 selected"
    app.switch_page("pages/gallery.py").run()
    fine(app)
    assert counted(app) == "4 of 12 selected"
    assert "fifths" in app.dataframe[-1].value.to_string()
    assert any(
        "Mean of the 4 selected minus mean of the 8 others" in caption.value
        for caption in app.caption
    )


def finish_projections(app):
    works = app.session_state["works"]
    wait_for(
        lambda: not any(work.running for _, work in works.values()), "the end of the projections"
    )
    app.run()
    fine(app)


@pytest.mark.parametrize(
    ("how", "picked", "left", "shown"),
    [
        ("set", [7], (7,), 7),
        ("add", [1, 2], (1, 2, 3, 4), None),
        ("remove", [4, 5], (3,), None),
        ("set", [99], (), None),
    ],
)
def test_what_is_picked_in_pca_is_selected_and_a_click_shows_its_sample(
    run, how, picked, left, shown
):
    """In a script of its own: the harness knows no component."""

    def script(folder, how, picked):
        from pathlib import Path

        import streamlit as st

        from hcache.cache.reading import open_run
        from hcache.ui import selection
        from hcache.ui.panels.pca import take_points

        run = open_run(Path(folder))
        selection.select(run, (3, 4))
        st.session_state["pca-how"] = how
        take_points(run, picked)
        st.text(f"{selection.selected(run)} {st.session_state.get('kept', {}).get('sample')}")

    app = AppTest.from_function(script, args=(str(run.folder), how, picked)).run()
    assert not app.exception and app.text[0].value == f"{left} {shown}"


def scattered(app):
    """What PCA's chart is told beside its columns of numbers."""
    (data,) = [
        found.proto.bytes
        for found in app.get("bidi_component")
        if b"in a ring" in found.proto.bytes
    ]
    return json.loads(data.partition(b"\n")[0])


def test_the_scatter_says_in_words_what_it_shows(app):
    open_page(app, "pca", selection="1-2,7", sample="7")
    finish_projections(app)
    alternative = scattered(app)["alt"]
    assert "coloured by fifths" in alternative and alternative.endswith(
        "sample 7 in a ring; 3 selected: 1-2,7"
    )


@pytest.mark.parametrize(
    ("how", "twice", "left"),
    [
        ("set", True, ()),
        ("set", False, ()),
        ("add", True, ()),
        ("add", False, (3, 4)),
        ("remove", False, ()),
    ],
)
def test_a_double_click_takes_the_selection_off_and_so_does_a_click_on_its_only_point(
    run, how, twice, left
):
    def script(folder, how, twice):
        from pathlib import Path

        import streamlit as st

        from hcache.cache.reading import open_run
        from hcache.ui import selection
        from hcache.ui.panels.pca import clear_points

        run = open_run(Path(folder))
        selection.select(run, (3, 4))
        st.session_state["pca-how"] = how
        clear_points(run, twice)
        st.text(str(selection.selected(run)))

    app = AppTest.from_function(script, args=(str(run.folder), how, twice)).run()
    assert not app.exception and app.text[0].value == str(left)


def test_sample_numbers_can_be_typed(app):
    open_page(app, "pca", selection="1-3")
    app.text_input(key="selection-typed").set_value(" 2 - 4, 9,99 ").run()
    fine(app)
    assert (
        app.query_params["selection"] == "2-4,9"
        and app.text_input(key="selection-typed").value == ""
    )
    app.text_input(key="selection-typed").set_value("all").run()
    assert "names no sample" in app.error[0].value and counted(app) == "4 of 12 selected"


def test_the_gallerys_filter_stands_in_the_address_both_ways(app):
    open_page(app, "gallery", sort="fifths", **{"filter-fifths": "0.5~1"})
    fine(app)
    assert app.slider(key="choose-filter-fifths").value == (0.5, 1.0)
    assert any(caption.value.startswith("6 of 12 samples") for caption in app.caption)
    app.slider(key="choose-filter-fifths").set_value((0.0, 0.25)).run()
    assert app.query_params["filter-fifths"] == "0~0.25"
    assert any(caption.value.startswith("6 of 12 samples") for caption in app.caption)
    app.slider(key="choose-filter-fifths").set_value((0.0, 1.0)).run()
    assert "filter-fifths" not in app.query_params


@pytest.mark.parametrize("said", ["nonsense", "nan~1", "1~0", "~", "5~9", "0~0.2~0.4", "9" * 5000])
def test_a_strange_filter_does_not_break_the_gallery(app, said):
    open_page(app, "gallery", sort="fifths", **{"filter-fifths": said})
    fine(app)
    assert any(caption.value.endswith("Enter clicks.") for caption in app.caption)


def test_pca_shows_every_step_own_and_joint(app, run):
    open_page(app, "pca", selection="1-3")
    finish_projections(app)
    assert projections_path(run, "h").is_file()
    assert any(
        "at step 2 (t = " in caption.value and "log SNR" in caption.value for caption in app.caption
    )
    app.selectbox(key="choose-over").set_value("joint over all steps").run()
    app.checkbox(key="choose-paths").check().run()
    fine(app)
    about = scattered(app)
    assert about["paths"] == [3, run.spec.steps] and about["window"] is not None
    assert any("orthogonal over all steps" in caption.value for caption in app.caption)


def test_a_selection_becomes_positives_and_a_label(app, run):
    open_page(app, "gallery", selection="0-5")
    app.button(key="selection-naive").click().run()
    fine(app)
    assert app.title[0].value == "Edit"
    assert app.selectbox(key="choose-source").value == "the selection"
    assert any("The 6 selected" in expander.label for expander in app.expander)
    app.switch_page("pages/gallery.py").run()
    app.text_input(key="selection-name").set_value("first six").run()
    app.button(key="selection-save").click().run()
    fine(app)
    assert open_run(run.folder).labels["first six"]["first six"].tolist() == [1] * 6 + [0] * 6
    app.button(key="selection-save").click().run()
    assert any("already" in error.value for error in app.error)


def test_compare_shows_two_samples_with_their_numbers(app):
    open_page(app, "compare", **{"A-sample": "2", "B-sample": "3"})
    fine(app)
    assert [metric.label for metric in app.metric] == ["Pixel RMSE", "SSIM"]
    app.number_input(key="choose-B-sample").set_value(2).run()
    fine(app)
    assert [metric.value for metric in app.metric] == ["0.0 of 255", "1.000"]
    for view in ("difference", "by turns (blink)"):
        app.selectbox(key="choose-view").set_value(view).run()
        fine(app)
        assert len(app.get("bidi_component")) == 1


def test_pins_are_shown_and_a_picture_that_is_gone_is_said(app):
    open_page(app, "gallery", sample="4")
    app.button(key="pin-B").click().run()
    app.switch_page("pages/compare.py").run()
    fine(app)
    assert app.number_input(key="choose-B-sample").value == 4
    app = AppTest.from_file("../dashboard.py", default_timeout=60)
    open_page(
        app, "compare", **{"A-sample": "2", "A-render": "0123456789abcdef", "B-render": "../../etc"}
    )
    fine(app)
    assert sum("no longer stored" in caption.value for caption in app.caption) == 2


def test_a_rendered_picture_is_compared_with_its_sample(app, run, cells):
    cell = next(cell for cell in cells.values() if cell.recipe.run == run.name)
    keep_render(run, cell)
    sample = str(cell.recipe.sample)
    open_page(
        app, "compare", **{"A-sample": sample, "B-sample": sample, "B-render": cell.recipe.digest}
    )
    fine(app)
    assert any(f"sample {sample}, " in markdown.value for markdown in app.markdown)
    app.button(key="B-unpin").click().run()
    fine(app)
    assert app.metric[0].value == "0.0 of 255"


def test_pictures_of_two_sizes_have_no_difference(app, run, tmp_path):
    folder = save_pipeline(tmp_path / "larger", make_unet(sample_size=32))
    larger = extract(
        load_model(str(folder)), default_spec(str(folder), samples=1, steps=1), tmp_path / "copy"
    )
    open_page(app, "compare", **{"A-run": run.name, "B-run": larger.name})
    fine(app)
    assert (
        any("A has 16 × 16 pixels and B has 32 × 32" in info.value for info in app.info)
        and not app.metric
    )
