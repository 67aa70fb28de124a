"""All measures of a tiny run, in one go: what is stored, what the verdict says, the report and
the page.
"""

import json
import re
import shutil
import time
from html import escape

import numpy as np
import pytest
import streamlit as st
from msgspec import structs
from streamlit.testing.v1 import AppTest
from test_cli import out_of
from tiny import put_task

from hcache.background import tasks
from hcache.cache.files import write_json
from hcache.cache.labels import save_labels
from hcache.cache.reading import open_run
from hcache.cache.records import list_records
from hcache.cli import measures as commands
from hcache.cli.main import main
from hcache.errors import UsageError
from hcache.figures.verdict import key_of
from hcache.measures import of_reader
from hcache.measures import setting as setting_module
from hcache.measures.cells import cells_of
from hcache.measures.declared import swaps as swaps_module
from hcache.measures.declared import windows as windows_module
from hcache.measures.declared.codes import QUESTION as DISENTANGLED
from hcache.measures.declared.directions import EDITS
from hcache.measures.declared.swaps import EFFECT
from hcache.measures.declared.windows import controllability_points
from hcache.measures.driver import Driver
from hcache.measures.evidence import Evidence
from hcache.measures.measure import GUIDE, MODEL
from hcache.measures.registry import measures, registry
from hcache.measures.suite import Suite, labels_of
from hcache.measures.verdict import compare
from hcache.report.document import verdict_report
from hcache.report.exhibits import exhibits
from hcache.report.guide import page_html, pages_of
from hcache.toyfaces.shipped import shipped_results

LABELS = ("light", "warm")


def read(images):
    """Two readings that any picture has."""
    pixels = images.astype(np.float64)
    return {"light": pixels.mean((1, 2, 3)), "warm": (pixels[..., 0] - pixels[..., 2]).mean((1, 2))}


@pytest.fixture(scope="module")
def suite_home(tmp_path_factory, tiny_run, tiny_model):
    """A copy of the tiny run, measured by the command with all there is, its reader and labels
    the two above.
    """
    home = tmp_path_factory.mktemp("measured home")
    shutil.copytree(tiny_run.folder, home / "runs" / tiny_run.name)
    run = open_run(home / "runs" / tiny_run.name)
    own = read(run.images)
    columns = {
        name: dict(zip(run.sample_ids.tolist(), values.tolist(), strict=True))
        for name, values in own.items()
    }
    save_labels(run, "own", columns)
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        patch.setattr(commands, "driver_of", lambda run, *_: Driver(tiny_model, run, read, "own"))
        status = home / "status.json"
        assert (
            main(
                [
                    "measure",
                    run.name,
                    "--samples",
                    "4",
                    "--nulls",
                    "2",
                    "--random-positives",
                    "19",
                    "--home",
                    str(home),
                    "--status",
                    str(status),
                ]
            )
            == 0
        )
    told = json.loads(status.read_text())
    assert told["state"] == "done" and told["share"] == 1
    return home


def make_small(patch):
    """The tiny model has a reader, and is measured at few steps and in two windows."""
    for module in (setting_module, of_reader):
        patch.setattr(module, "readers_of", lambda run: ["own"])
    patch.setattr(setting_module, "STEPS", 1)
    patch.setattr(windows_module, "EDGES", (0.0,))
    patch.setattr(swaps_module, "COARSE_EDGES", (0.0,))


@pytest.fixture(autouse=True)
def small_suite(monkeypatch):
    make_small(monkeypatch)


@pytest.fixture
def measured_run(suite_home):
    (folder,) = (suite_home / "runs").iterdir()
    return open_run(folder)


def page_of(home, monkeypatch, **kept):
    """The Verdict page of a home, with some choices made."""
    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("HCACHE_HOME", str(home))
    app = AppTest.from_file("../dashboard.py", default_timeout=60)
    app.session_state["kept"] = kept
    return app.run().switch_page("pages/verdict.py").run()


def shown(app):
    return " ".join(
        element.value for element in (*app.markdown, *app.caption, *app.info, *app.subheader)
    )


def test_every_question_has_an_answer_with_an_interval_and_a_null(measured_run):
    rows = compare([measured_run])
    assert rows and all(row.cells for row in rows), [row.key for row in rows if not row.cells]
    cells = cells_of(measured_run)
    assert {key for key in cells} == {row.key for row in rows}
    for cell in cells.values():
        if not cell.estimate.defined:
            assert cell.estimate.why and cell.null is None, cell
            continue
        assert cell.null is not None and cell.estimate.low <= cell.estimate.high and cell.unit, cell
    assert cells[DISENTANGLED, EDITS].null == pytest.approx(1 / 2)
    assert {subject for _, subject in cells if subject in LABELS} == set(LABELS)


def test_measuring_again_is_a_lookup(measured_run):
    driver = Driver(None, measured_run, read, "own")  # whose model cannot run
    sizes = {"samples": 4, "nulls": 2, "random_positives": 19}
    suite = Suite(measured_run, labels_of(measured_run), lambda: driver, sizes)
    before, titles = len(list_records(measured_run)), []
    shares = list(suite.run_all(tuple(measures()), titles.append))
    assert shares == sorted(shares) and shares[-1] == 1 and titles[0] == "decodability"
    assert len(list_records(measured_run)) == before


def test_what_needs_no_model_asks_for_none(measured_run):
    def no_model():
        raise AssertionError("the model was asked for")

    light = Suite(measured_run, LABELS, no_model, {"samples": 4, "nulls": 2})
    list(light.run_all([name for name, each in measures().items() if MODEL not in each.needs]))
    with pytest.raises(AssertionError, match="asked for"):
        list(light.run_all(["swaps"]))


def test_labels_that_are_not_there_are_named(measured_run):
    with pytest.raises(UsageError, match="no label 'ligth'.*did you mean light"):
        labels_of(measured_run, ["ligth"])


def test_what_is_tried_has_no_part_in_the_fit(measured_run):
    suite = Suite(measured_run, LABELS, lambda: None, {"samples": 4})
    positives, negatives = suite.ends("light")
    assert not set(suite.tried) & {*positives, *negatives} and len(positives) == len(negatives) == 2


def test_every_cell_has_its_evidence(measured_run):
    """Curves for all, and pictures for what was rendered."""
    evidence = {measured_run.name: Evidence(measured_run)}
    for row in compare([measured_run]):
        found = exhibits(row.question, row.subject, evidence)
        assert any(each.figure is not None and len(each.figure.data) for each in found), row.key
        if row.question.startswith(EFFECT) or row.question in ("controllable", "linear"):
            assert any("data:image/png" in each.html for each in found), row.key
    points = controllability_points(evidence[measured_run.name], "light")
    assert len(points) > 1 and all(np.isfinite(point.at) for point in points)


def test_every_measure_has_a_page_that_says_what_it_does_not_say(measured_run):
    pages = {page for row in compare([measured_run]) for page in pages_of(*row.key)}
    pages |= {page for each in registry().questions() if each.asked_for for page in each.pages}
    assert {page.name for page in pages} == {path.stem for path in GUIDE.glob("*.md")}
    for page in pages:
        for part in ("What it says.", "Null.", "Interval.", "What it does not say.", "Source."):
            assert f"**{part}**" in page.text, (page.name, part)
        assert page_html(page).startswith("<h3>")


def test_the_report_is_one_file_that_asks_nobody(measured_run, suite_home, capsys, tmp_path):
    out = tmp_path / "verdict.html"
    text = out_of(
        capsys, "compare", measured_run.name, "--html", str(out), "--home", str(suite_home)
    )
    assert f"report: {out}" in text
    html = out.read_text()
    assert html.count("plotly.js v") == 1
    own = html[: html.index("<script>")] + html[html.index("</script>") :]
    assert not re.search(
        r"(src|href)=['\"](?!data:|#|https://(arxiv|doi|openreview|jmlr|www.jmlr))", own
    )
    for row in compare([measured_run]):
        for cell in row.cells.values():
            e = cell.estimate
            assert (
                f"{e.low:.2f} to {e.high:.2f}" if e.defined else f"undefined: {escape(e.why)}"
            ) in own
    assert own.count('json" data-chart="') == own.count('class="chart"') > len(LABELS)
    assert "Which group carries what" in own and "measure-leakage" in own


def test_a_report_of_nothing_says_so(tiny_run):
    html = verdict_report([tiny_run])
    assert "Nothing was measured" in html and "Swaps were not measured" in html


def test_the_page_shows_the_table_and_the_evidence_behind_a_figure(
    measured_run, suite_home, monkeypatch
):
    row = next(row for row in compare([measured_run]) if row.key == (DISENTANGLED, EDITS))
    app = page_of(suite_home, monkeypatch, cell=key_of(row, measured_run.name))
    assert not app.exception and not app.error
    assert "answers are measured so far" not in shown(app), "all of it was"
    assert "Edits change only their own attribute" in shown(
        app
    ) and "Which group carries what" in shown(app)
    assert {each.label for each in app.expander} >= {"What leakage says, and what it does not say"}


@pytest.fixture
def unmeasured(copied_run, monkeypatch):
    """A run with a label and no measures, and the works that its page starts."""
    from hcache.ui.panels import measuring, verdict

    save_labels(copied_run, "own", {"level": {int(s): float(s) for s in copied_run.sample_ids}})
    started = []
    for module in (measuring, verdict):
        monkeypatch.setattr(module, "start", lambda folder, work: started.append(work))
    return open_run(copied_run.folder), started


def test_a_page_of_nothing_measured_offers_to_measure(unmeasured, tmp_path, monkeypatch):
    """A press in the table is injected: the harness knows no component."""
    from hcache.measures import costs
    from hcache.ui.panels import verdict

    run, started = unmeasured
    presses = iter([(None, f"{run.name}|decodability")])
    monkeypatch.setattr(costs, "CHEAP", 0.0)
    monkeypatch.setattr(verdict, "clickable_table", lambda *_: next(presses, (None, None)))
    app = page_of(tmp_path / "copy", monkeypatch)
    assert not app.exception and "0 of " in shown(app)
    (work,) = started
    assert (work.kind, work.run, work.what, work.labels) == (
        "measure",
        run.name,
        ("decodability",),
        ("level",),
    )


def test_probes_start_by_themselves_once_and_the_rest_is_one_button(
    unmeasured, tmp_path, monkeypatch
):
    run, started = unmeasured
    app = page_of(tmp_path / "copy", monkeypatch)
    assert not app.exception and len(started) == 1
    assert (started[0].run, started[0].what) == (run.name, ("decodability",))
    app.run()
    assert len(started) == 1, "once in a session"
    button = app.button(key="measure-all")
    assert re.fullmatch(r"Measure all, about \d+ (s|min)", button.label), (
        "this model has no reader: nothing is rendered"
    )
    button.click().run()
    assert started[1].what == ("decodability", "alignment", "codes", "components", "cka")


@pytest.mark.parametrize("state", ["cancelled", "failed"])
def test_probes_that_were_cancelled_or_failed_are_not_started_again(
    unmeasured, tmp_path, monkeypatch, state
):
    """Not in another session either: the task is still listed, with Try again."""
    run, started = unmeasured
    put_task(run.folder, id="measure-1", kind="measure", title="decodability of it", state=state)
    app = page_of(tmp_path / "copy", monkeypatch)
    assert not app.exception and not started


def test_shipped_results_are_marked_and_name_their_weights(unmeasured, tmp_path, monkeypatch):
    app = page_of(tmp_path / "copy", monkeypatch)
    table = next(frame.value for frame in app.dataframe if "Naive direction of" in frame.value)
    assert "Shipped results" in shown(app)
    for each in shipped_results():
        assert each.weights[:16] in table[each.model].tolist()


def test_a_page_says_what_failed_and_what_is_partly_there(
    suite_home, measured_run, tmp_path, monkeypatch
):
    home = tmp_path / "partial"
    shutil.copytree(suite_home, home)
    run = open_run(home / "runs" / measured_run.name)
    for path in (run.folder / "measures").glob("swap-*.json"):
        path.unlink()
    task = tasks.Task(
        id="measure-0123456789ab",
        run=run.name,
        kind="measure",
        title="swaps of it",
        state="failed",
        pid=0,
        process_started=0.0,
        begun=time.time(),
        updated=time.time(),
        message="the disk is full",
    )
    (run.folder / "tasks").mkdir()
    write_json(run.folder / "tasks" / f"{task.id}.json", structs.asdict(task))
    app = page_of(home, monkeypatch)
    assert not app.exception and "answers are measured so far" in shown(app)
    assert any("the disk is full" in each.value for each in app.error)
    assert "Which group carries what" not in shown(app)


def test_a_run_without_labels_is_told_where_to_get_some(copied_run, tmp_path, monkeypatch):
    app = page_of(tmp_path / "copy", monkeypatch)
    assert not app.exception and "have no labels" in shown(app)
