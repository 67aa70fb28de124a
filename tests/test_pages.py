"""Every page, run by Streamlit's own test harness on a small real run of the shipped model."""

import json
import shutil
import time

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from tiny import put_task, wait_for

from hcache.background import extractions as jobs
from hcache.background import tasks
from hcache.background.kinds import Repairing
from hcache.background.processes import FAILED
from hcache.cache.layout import TASKS
from hcache.cache.reading import open_run
from hcache.cards import default_spec
from hcache.directions.fitting import METHODS
from hcache.directions.naive import naive_direction
from hcache.directions.store import delete_move, list_moves, load_move, save_move
from hcache.extraction.run import extract
from hcache.images.pictures import Picture
from hcache.models.loading import load_model
from hcache.specs import Conditioning

MODEL = "toyfaces-ddpm-64"
PAGES = {
    "extract": "Extract",
    "gallery": "Gallery",
    "pca": "PCA",
    "probes": "Probes",
    "swap": "Swap",
    "edit": "Edit",
    "compare": "Compare",
    "figures": "Figures",
}


@pytest.fixture(scope="module")
def page_home(tmp_path_factory):
    home = tmp_path_factory.mktemp("pages home")
    (home / "runs").mkdir()
    extract(load_model(MODEL), default_spec(MODEL, samples=24, steps=4), home)
    return home


@pytest.fixture(autouse=True)
def clean_caches():
    st.cache_data.clear()
    st.cache_resource.clear()
    yield


@pytest.fixture
def app(page_home, monkeypatch):
    monkeypatch.setenv("HCACHE_HOME", str(page_home))
    return AppTest.from_file("../dashboard.py", default_timeout=60)


def open_page(app, name):
    app.run()
    return app if name == "dashboard" else app.switch_page(f"pages/{name}.py").run()


def assert_fine(app):
    assert not app.exception, app.exception
    assert not app.error, [e.value for e in app.error]


def finish(app, key, seconds=90):
    """Presses a Run button and draws the page anew until the work's result is there."""
    app.button(key=key).click().run()
    deadline = time.monotonic() + seconds
    while any(work.running for _, work in app.session_state["works"].values()):
        assert time.monotonic() < deadline, "the work did not end"
        time.sleep(0.02)
    return app.run()


def html_of(app):
    return "".join(
        element.value if hasattr(element, "value") else element.proto.body
        for element in app.get("html")
    )


def test_overview_lists_the_run_and_draws_its_anatomy(app):
    open_page(app, "dashboard")
    assert_fine(app)
    assert app.title[0].value == "Overview"
    assert "24 of 24" in app.dataframe[0].value.to_string()
    assert any("Anatomy of" in heading.value for heading in app.subheader)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_without_an_error(app, page):
    open_page(app, page)
    assert_fine(app)
    assert app.title[0].value == PAGES[page]


def test_extract_plans_what_is_chosen_and_names_the_command(app):
    open_page(app, "extract")
    before = app.metric[0].value
    store = next(box for box in app.selectbox if box.label == "skip.2")
    store.set_value("none").run()
    assert_fine(app)
    assert app.metric[0].value != before
    assert "skip.2" not in app.code[0].value and "skip.1=full" in app.code[0].value


def test_gallery_sorts_and_filters(app, page_home):
    open_page(app, "gallery")
    app.selectbox(key="choose-sort").set_value("smile").run()
    assert_fine(app)
    app.slider(key="choose-filter-smile").set_value(
        (0.0, app.slider(key="choose-filter-smile").max)
    ).run()
    assert_fine(app)
    shown = next(c.value for c in app.caption if "Click a picture" in c.value)
    assert 0 < int(shown.split()[0]) < 24


def test_gallery_labels_by_hand_are_kept_with_the_run(copied_run, tmp_path, monkeypatch):
    """A click is injected: the harness knows no component."""
    from hcache.ui.panels import gallery

    monkeypatch.setenv("HCACHE_HOME", str(tmp_path / "copy"))
    clicks = iter([5, None, 3, None])
    monkeypatch.setattr(gallery, "picture_grid", lambda *_, **__: next(clicks, None))
    app = open_page(AppTest.from_file("../dashboard.py", default_timeout=60), "gallery")
    app.segmented_control(key="hand-click").set_value("Label as 1").run()
    assert open_run(copied_run.folder).labels["by hand"]["chosen"][5] == 1
    app.run()
    chosen = open_run(copied_run.folder).labels["by hand"]["chosen"]
    assert chosen[3] == 1 and np.isfinite(chosen).sum() == 2
    assert_fine(app)


def test_pca_of_another_site_and_step_changes_what_is_explained(app):
    open_page(app, "pca")
    first = app.get("plotly_chart")[0].proto.spec
    app.selectbox(key="choose-site").set_value("skip.2").run()
    app.slider(key="choose-step").set_value(3).run()
    assert_fine(app)
    assert app.get("plotly_chart")[0].proto.spec != first
    assert any("skip.2 at step 3" in c.value for c in app.caption)


def test_swap_shows_the_figure_and_the_identity_badge(app):
    open_page(app, "swap")
    finish(app, "run-swap")
    assert_fine(app)
    assert any("bit for bit" in message.value for message in app.success)


def test_edit_shows_a_strip_with_readings_for_both_ways(app):
    open_page(app, "edit")
    app.selectbox(key="choose-label").set_value("yaw").run()
    finish(app, "run-strip")
    assert_fine(app)
    strip = html_of(app)
    assert "asymmetric, strength +4" in strip and "symmetric, strength -4" in strip
    assert strip.count("<tr class='target'>") == 2


@pytest.mark.parametrize("model", ["CompVis/ldm-celebahq-256", "adm-metfaces"])
def test_overview_draws_the_anatomy_of_any_card(app, model):
    open_page(app, "dashboard")
    app.selectbox(key="choose-anatomy").set_value(model).run()
    assert_fine(app)
    assert any(heading.value == f"Anatomy of {model}" for heading in app.subheader)
    assert any("How to get it" in caption.value for caption in app.caption)


def test_overview_says_that_flux_has_no_h_space(app):
    open_page(app, "dashboard")
    app.selectbox(key="choose-anatomy").set_value("black-forest-labs/FLUX.1-dev").run()
    assert_fine(app)
    assert any("No h-space" in info.value for info in app.info)
    assert "block.56" in app.dataframe[1].value.to_string()


def test_overview_verifies_and_repairs(copied_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path / "copy"))
    app = open_page(AppTest.from_file("../dashboard.py", default_timeout=60), "dashboard")
    finish(app, "run-verify")
    assert_fine(app)
    assert any("12 samples: all whole" in message.value for message in app.success)
    shard = next((copied_run.folder / "shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    finish(app, "run-verify")
    assert any("were committed" in message.value for message in app.error)
    started = []
    monkeypatch.setattr(tasks, "start", lambda folder, work: started.append((folder, work)))
    app.button(key="repair").click().run()
    assert started == [], "the run came from elsewhere"
    assert any(copied_run.spec.model in code.value for code in app.code), "what would be run"
    app.button(key="agree-repair").click().run()
    work = Repairing(run=copied_run.name, spec=copied_run.spec)
    assert started == [(copied_run.folder, work)] and shard.exists(), "the task takes it aside"


def test_overview_says_which_libraries_changed(copied_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path / "copy"))
    app = open_page(AppTest.from_file("../dashboard.py", default_timeout=60), "dashboard")
    assert not any("libraries have changed" in warning.value for warning in app.warning)
    path = copied_run.folder / "run.json"
    data = json.loads(path.read_text())
    data["provenance"]["libraries"]["torch"] = "1.0"
    path.write_text(json.dumps(data))
    app.run()
    assert any("torch 1.0 then" in warning.value for warning in app.warning)


def test_extract_keeps_to_a_budget_and_says_what_it_chose(app):
    open_page(app, "extract")
    before = app.code[0].value
    app.number_input(key="choose-budget").set_value(0.12).run()
    assert_fine(app)
    (chosen,) = [info.value for info in app.info if "of 120 MB" in info.value]
    assert "h full" in chosen and "h first" in chosen and "skip.4 pooled" in chosen
    assert app.code[0].value != before and "--store=h=full" in app.code[0].value
    assert all(box.disabled for box in app.selectbox if box.label.startswith("skip."))
    app.number_input(key="choose-budget").set_value(0.001).run()
    assert not app.exception and any("too small" in error.value for error in app.error)
    app.number_input(key="choose-budget").set_value(None).run()
    assert_fine(app)
    assert app.code[0].value == before


@pytest.mark.parametrize(
    "model", ["stable-diffusion-v1-5/stable-diffusion-v1-5", "facebook/DiT-XL-2-256"]
)
def test_extract_asks_a_conditional_model_for_its_condition(app, model):
    open_page(app, "extract")
    app.selectbox(key="choose-model").set_value(model).run()
    app.slider(key=f"choose-guidance-{model}").set_value(3.0).run()
    assert_fine(app)
    assert "--guidance=3.0" in app.code[0].value
    assert ("--prompt=a portrait" in app.code[0].value) == ("diffusion" in model)
    assert ("--store=block.*=pooled" in app.code[0].value) == ("DiT" in model)


def test_extract_asks_for_classes_and_for_the_null_class_that_guidance_needs(app, tmp_path):
    """Of a folder whose card says nothing; checked as the command line does."""
    from kinds import save_kind

    from hcache.ui.panels.extract import OTHER

    folder = str(save_kind("classes", tmp_path / "classes").resolve())
    open_page(app, "extract")
    app.selectbox(key="choose-model").set_value(OTHER).run()
    app.text_input(key="choose-other-model").set_value(folder).run()
    assert "class-conditional (0 to 9)" in app.error[0].value and not app.exception
    app.text_input(key=f"choose-classes-{folder}").set_value("3").run()
    assert_fine(app)
    app.slider(key=f"choose-guidance-{folder}").set_value(2.0).run()
    assert "--null-class" in app.error[0].value
    null = app.number_input(key=f"choose-null-class-{folder}")
    assert "the class that a U-Net was trained with for no class" in null.help.replace("The", "the")
    null.set_value(10.0).run()
    assert "must lie in 0 to 9" in app.error[0].value
    app.number_input(key=f"choose-null-class-{folder}").set_value(9.0).run()
    assert_fine(app)
    assert "--null-class=9" in app.code[0].value and "--guidance=2.0" in app.code[0].value


def test_extract_asks_for_the_noise_schedule_of_a_folder_that_says_none(app, tmp_path):
    from tiny import make_unet

    from hcache.ui.panels.extract import OTHER

    folder = str((tmp_path / "bare").resolve())
    make_unet().save_pretrained(folder)
    open_page(app, "extract")
    app.selectbox(key="choose-model").set_value(OTHER).run()
    app.text_input(key="choose-other-model").set_value(folder).run()
    assert "does not contain its noise schedule" in app.error[0].value and not app.exception
    app.selectbox(key=f"choose-scheduler-{folder}").set_value("ddpm-cosine").run()
    assert_fine(app)
    assert "--scheduler=ddpm-cosine" in app.code[0].value


def test_extract_takes_loras_of_a_model_with_text(app, tmp_path):
    """One a line, each with its scale; what cannot be added is said at once."""
    import torch
    from kinds import save_kind
    from safetensors.torch import save_file

    from hcache.ui.panels.extract import OTHER

    folder = str(save_kind("SD", tmp_path / "sd").resolve())
    place = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    tensors = {f"{place}.lora_{m}.weight": torch.ones(2, 2) for m in "AB"}
    style, other = tmp_path / "style.safetensors", tmp_path / "other.safetensors"
    save_file(tensors, style)
    save_file({"conv.weight": torch.ones(1)}, other)
    open_page(app, "extract")
    app.selectbox(key="choose-model").set_value(OTHER).run()
    app.text_input(key="choose-other-model").set_value(folder).run()
    assert_fine(app)
    assert "--lora" not in app.code[0].value
    field = app.text_area(key=f"choose-loras-{folder}")
    field.set_value(f"{style}:0.8\n").run()
    assert_fine(app)
    assert f"--lora={style}:0.8" in app.code[0].value
    for text, words in (
        (str(tmp_path / "none.safetensors"), "there is no LoRA at"),
        (str(other), "is not a LoRA"),
        ("lab/style", "not in the local hub cache"),
    ):
        app.text_area(key=f"choose-loras-{folder}").set_value(text).run()
        assert words in app.error[0].value and not app.exception


@pytest.fixture(scope="module")
def dit_home(tmp_path_factory):
    """A home with a run of a transformer."""
    from kinds import save_kind

    folder, home = (
        save_kind("DiT", tmp_path_factory.mktemp("dit")),
        tmp_path_factory.mktemp("dit home"),
    )
    spec = default_spec(str(folder), samples=20, steps=3, conditioning=Conditioning(classes=(1,)))
    extract(load_model(str(folder)), spec, home)
    return home


@pytest.mark.parametrize("page", ["edit", "figures"])
def test_a_page_about_directions_says_what_a_transformer_has_not(dit_home, monkeypatch, page):
    monkeypatch.setenv("HCACHE_HOME", str(dit_home))
    app = open_page(AppTest.from_file("../dashboard.py", default_timeout=60), page)
    assert not app.exception and len(app.error) == 1
    said = app.error[0].value
    assert "no U-Net" in said and "--store block.2=full" in said, "and what is possible instead"


@pytest.mark.parametrize("page", ["dashboard", "gallery", "pca", "swap"])
def test_the_other_pages_show_a_transformers_run(dit_home, monkeypatch, page):
    monkeypatch.setenv("HCACHE_HOME", str(dit_home))
    app = open_page(AppTest.from_file("../dashboard.py", default_timeout=60), page)
    assert_fine(app)


def test_the_gallery_shows_a_real_picture_beside_its_inversion(
    tmp_path, monkeypatch, tiny_folder, tiny_model
):
    picture = Picture(pixels=np.full((16, 16, 3), 90, np.uint8), notes=())
    spec = default_spec(str(tiny_folder), samples=1, steps=2, images=(picture.digest,))
    picture.save(tmp_path / "runs" / spec.name / "images")
    extract(tiny_model, spec, tmp_path)
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path))
    app = open_page(AppTest.from_file("../dashboard.py", default_timeout=60), "gallery")
    assert_fine(app)
    captions = [image.proto.imgs[0].caption for image in app.get("image")]
    assert captions[:2] == ["Real picture 0", "Its inversion, denoised again"]
    assert "reconstruction error" in app.dataframe[0].value.to_string()


def test_edit_offers_top_minus_bottom_for_a_label(app):
    open_page(app, "edit")
    app.selectbox(key="choose-label").set_value("skin").run()
    naive = app.session_state["kept"]["method"]
    app.selectbox(key="choose-method").set_value("supervised").run()
    assert_fine(app)
    assert (naive, app.session_state["kept"]["method"]) == ("naive", "supervised")
    app.selectbox(key="choose-end").set_value("lowest").run()
    assert_fine(app)


@pytest.mark.slow
def test_edit_fits_by_any_method_and_saves_by_name(app, page_home):
    open_page(app, "edit")
    for method in METHODS:
        app.selectbox(key="choose-method").set_value(method).run()
        if method != "arithmetic":  # nothing is chosen for it yet, and it says so
            assert_fine(app)
    app.selectbox(key="choose-method").set_value("pca").run()
    app.text_input(key="fit-name-pca").set_value("components").run()
    app.button(key="start-fit").click().run()
    run = open_run(next((page_home / "runs").iterdir()))
    wait_for(
        lambda: not any(task.live for task in tasks.list_tasks(run.folder)), "the end of the fit"
    )
    app.run()
    assert_fine(app)
    assert any("components by pca: done" in text.value for text in app.markdown)
    app.slider(key="choose-component").set_value(1).run()
    assert any("saved as components.1" in caption.value for caption in app.caption)
    assert load_move(run, "components.1").made_by["component"] == 1
    app.button(key=f"dismiss-{tasks.list_tasks(run.folder)[0].id}").click().run()
    app.slider(key="choose-samples").set_value(2).run()
    finish(app, "run-strip")
    assert_fine(app)
    assert "sample 1, strength -4" in html_of(app)
    for entry in list_moves(run):
        delete_move(run, entry.name)


def test_edit_shows_a_fit_that_failed_with_what_it_said_and_can_try_again(app, page_home):
    run = open_run(next((page_home / "runs").iterdir()))
    task = put_task(
        run.folder, kind="fit", title="a smile by vae", state=FAILED, message="it needs 8 positives"
    )
    (run.folder / TASKS / f"{task.id}.log").write_text("vae: 10%\nhcache: it needs 8 positives\n")
    open_page(app, "edit")
    assert not app.exception and app.error[0].value == "a smile by vae: it needs 8 positives"
    assert "vae: 10%" in app.code[0].value and app.button(key=f"again-{task.id}")
    app.button(key=f"dismiss-{task.id}").click().run()
    assert_fine(app)
    assert tasks.list_tasks(run.folder) == [] and not list((run.folder / TASKS).iterdir())


@pytest.mark.slow
def test_edit_offers_the_directions_of_other_runs_of_the_model(
    app, page_home, tmp_path, monkeypatch
):
    """Of other steps: it is said, and they are brought to this run's."""
    home = tmp_path / "two runs"
    shutil.copytree(page_home, home)
    other = extract(
        load_model(MODEL), default_spec(MODEL, samples=6, steps=3, store={"h": "full"}), home
    )
    save_move(other, "there", naive_direction(other, [0, 1]))
    monkeypatch.setenv("HCACHE_HOME", str(home))
    open_page(app, "edit")
    app.selectbox(key="choose-run").set_value(next((page_home / "runs").iterdir()).name).run()
    app.selectbox(key="choose-direction").set_value(f"{other.name}/there").run()
    assert_fine(app)
    assert any("Fitted on 3 steps" in caption.value for caption in app.caption)
    finish(app, "run-strip")
    assert_fine(app)


def test_a_link_opens_the_page_as_it_was(app):
    app.query_params["step"] = "2"
    app.query_params["site"] = "skip.1"
    open_page(app, "dashboard")
    app.query_params["step"] = "2"
    app.query_params["site"] = "skip.1"
    app.switch_page("pages/pca.py").run()
    assert app.slider(key="choose-step").value == 2
    assert app.selectbox(key="choose-site").value == "skip.1"


def test_a_run_that_is_gone_is_said_and_the_others_are_offered(app, page_home):
    app.query_params["run"] = "../../etc"
    app.run()
    assert not app.exception
    assert any("no run '../../etc'" in w.value for w in app.warning)
    assert [b.label for b in app.button if str(b.key).startswith("instead-")] == [
        next((page_home / "runs").iterdir()).name
    ]


def test_an_empty_home_starts_the_demo_and_says_so(tmp_path, monkeypatch):
    started = []
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(jobs, "start", lambda spec, home: started.append(spec))
    app = AppTest.from_file("../dashboard.py", default_timeout=60).run()
    assert not app.exception
    assert [spec.model for spec in started] == [MODEL]
    assert any("demo run" in info.value for info in app.info)


def test_a_home_that_cannot_be_written_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path / "file"))
    app = AppTest.from_file("../dashboard.py", default_timeout=60).run()
    assert not app.exception
    assert "cannot be written" in app.error[0].value
