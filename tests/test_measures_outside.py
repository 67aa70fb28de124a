"""A package outside adds a measure in one file, and all parts of hcache know it."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from test_cli import failure, failure_at_last, json_of, out_of
from test_verdict import planted

import hcache
from hcache.background import kinds
from hcache.cache.records import list_records, save_record
from hcache.cli.main import build_parser, main, parsers
from hcache.errors import UsageError
from hcache.figures import exhibit_plot
from hcache.figures.verdict import verdict_table
from hcache.measures.cells import cells_of
from hcache.measures.evidence import Evidence
from hcache.measures.exhibits import Exhibit
from hcache.measures.faults import faults_named
from hcache.measures.measure import Measure, Question
from hcache.measures.parameter import Parameter
from hcache.measures.registry import Known, find_measure, find_question, measures, registry
from hcache.measures.verdict import compare
from hcache.report.document import verdict_report
from hcache.report.exhibits import drawn, exhibits

GUIDE = (Path(hcache.__file__).parent / "guide" / "extending.md").read_text(encoding="utf-8")
(ONE_FILE,) = re.findall(
    r"```python\n(.*?)```", GUIDE[GUIDE.index("## A measure") : GUIDE.index("## An attr")], re.S
)
"""The example of the guide."""

OWN = ONE_FILE.replace(
    'shown = Curves(runs=found, axis="correlation r", null="shuffled labels", chance=0.0)',
    "shown = Clouds(runs=found)",
).replace(
    "def parts(setting):",
    '''class Clouds:
    """A drawing that hcache does not have."""

    def __init__(self, runs):
        self.runs = runs

    def ends(self):
        return [(n, p.at, p.estimate.value) for n, each in self.runs.items() for p in each["r"]]

    def chart(self):
        names, x, y = zip(*self.ends())
        trace = {"type": "scatter", "mode": "markers", "x": x, "y": y, "text": names}
        return {"data": [trace], "layout": {"height": 512, "title": {"text": "<i>clouds</i>"}}}

    def draw(self, ax):
        _, x, y = zip(*self.ends())
        ax.scatter(x, y)
        ax.set_ylabel("r of clouds")


def parts(setting):''',
)
"""The same, with a drawing of its own."""

CELLS = '''
"""How a label goes along with the mean of a site, at every site and step."""

import numpy as np

from hcache.analysis.estimate import Estimate
from hcache.cache.labels import find_label
from hcache.cache.records import load_record, save_record
from hcache.measures.by_cell import ByCell, ProbeMap
from hcache.measures.measure import Measure
from hcache.measures.parameter import Parameter

POWER = Parameter(name="power", text="of the activations", default=1, least=1, most=3)


def asked(label, site, options):
    return {"label": label, "site": site, "power": options["power"]}


def measure(run, labels, sites, steps, options):
    for label in labels:
        values = find_label(run, label)
        for site in sites:
            rows = []
            for step in steps:
                means = (run.pooled(site, step) ** options["power"]).mean(1)
                r = float(np.corrcoef(means, values)[0, 1])
                found = Estimate(value=r, low=r - 0.1, high=r + 0.1, n=len(run))
                rows.append({"step": step, "score": found, "control": 0.25, "selectivity": found,
                             "p": 0.5})
                yield 0.5
            save_record(run, "mean_by_cell", asked(label, site, options), {"steps": rows})


def stored(run, label, sites, options):
    known = {s: load_record(run, "mean_by_cell", asked(label, s, options)) for s in sites}
    cells = {(s, row["step"]): row for s, r in known.items() if r for row in r.result["steps"]}
    return ProbeMap(
        label=label, metric="r", sites=tuple(sites), steps=run.spec.steps, cells=cells, chance=0.25
    )


MEASURE = Measure(
    name="means",
    title="the mean of a site",
    parts=lambda setting: (),
    by_cell=ByCell(
        title="Mean of a site",
        measure=measure,
        stored=stored,
        sites=lambda run: ("h",),
        seconds=lambda run, known, options: 0.1,
        words=lambda run, known, options: f"Means to the power {options['power']}.",
        parameters=(POWER,),
        asks=lambda run, labels: [POWER],
    ),
)
'''
"""A measure that is taken cell by cell."""

HOSTILE = ONE_FILE.replace('with the mean of h",', 'with the <mean> of h",').replace(
    "How a label goes along with h.", "It says *very* little. <b>x</b>"
)
"""The same, with HTML in its words."""


def install(folder, package, source, value):
    """What an installed package leaves on the disk: a module, and a dist-info folder beside it."""
    folder.mkdir(exist_ok=True)
    module = package.replace("-", "_")
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[hcache.measures]\n{value} = {module}:MEASURE\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of packages that Python finds; what was known before is asked anew."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    parsers.cache_clear()
    yield folder
    parsers.cache_clear()
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", "") and str(folder) in sys.modules[name].__file__:
            del sys.modules[name]


@pytest.fixture
def run(tmp_path):
    return planted(tmp_path / "home", 0, [0.05, 0.3, 0.45, 0.9])


def home_of(run):
    return ("--home", str(run.folder.parent.parent))


def page_of(run, monkeypatch, page="verdict", **kept):
    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("HCACHE_HOME", home_of(run)[1])
    app = AppTest.from_file("../dashboard.py", default_timeout=120)
    app.session_state["kept"] = kept
    return app.run().switch_page(f"pages/{page}.py").run()


def test_one_file_of_a_package_is_a_measure_everywhere(site, run, tmp_path, capsys, monkeypatch):
    assert HOSTILE.count("<mean>") == 2 and "<b>" in HOSTILE
    install(site, "a-laboratory", HOSTILE, "along")
    with pytest.raises(SystemExit):
        main(["measure", "--help"])
    said = capsys.readouterr()
    assert "how a label goes along with the <mean> of h" in said.out and "--draws" in said.out
    assert not registry().refused

    line = ("measure", run.name, "--what", "along")
    assert "draws: expected a whole number from 1" in failure(
        capsys, 2, *line, "--draws", "0", *home_of(run)
    )
    assert "goes along age" in out_of(capsys, *line, "--draws", "19", *home_of(run))
    (record,) = list_records(run, "mean_of_h")
    assert record.parameters["draws"] == 19

    html = tmp_path / "verdict.html"
    (row,) = json_of(capsys, "compare", run.name, "--html", str(html), *home_of(run))
    cell = row["cells"][run.name]
    assert (row["question"], row["subject"], cell["unit"]) == ("goes along", "age", "r")
    assert cell["value"] > 0.9 and cell["p"] == 0.05
    report = html.read_text()
    assert "Of the laboratory" in report and "age: its correlation over noise" in report
    assert "goes along with the &lt;mean&gt; of h" in report and "<mean>" not in report
    assert 'id="measure-along"' in report and "It says <em>very</em> little" in report
    assert "<b>x</b>" not in report, "a page of explanation brings no HTML"

    (drawn,) = exhibits("goes along", "age", {run.name: Evidence(run)})
    assert max(drawn.figure.data[1].y) > 0.9 and drawn.figure.layout.yaxis.title.text
    page(run, monkeypatch)


def page(run, monkeypatch):
    """The Verdict page has its row, its evidence, its explanation and its controls."""
    from hcache.ui.panels import measuring, verdict

    tables, started = [], []
    monkeypatch.setattr(
        verdict, "clickable_table", lambda key, html: tables.append(html) or (None, None)
    )
    monkeypatch.setattr(measuring, "start", lambda folder, work: started.append(work))
    app = page_of(run, monkeypatch, cell=f"goes along|age|{run.name}")
    assert not app.exception and not app.error and not app.warning
    assert "goes along with the &lt;mean&gt; of h" in tables[-1]
    assert f"data-key='goes along|age|{run.name}'" in tables[-1]
    assert any("its correlation over noise" in each.value for each in app.markdown)
    assert "What along says, and what it does not say" in {each.label for each in app.expander}
    (draws,) = (each for each in app.number_input if each.label == "Draws")
    what = next(each for each in app.multiselect if each.label == "What")
    what.set_value(["along"])
    draws.set_value(29)
    app.run()
    app.button(key="measure").click().run()
    work = started[-1]
    assert (work.what, work.options) == (("along",), {"draws": 29})
    order = json.loads(json.dumps(work.order()))
    assert kinds.read_work("measure", run.name, order) == work
    assert build_parser().parse_args(work.arguments()).draws == 29
    with pytest.raises(UsageError, match="draws: expected a whole number"):
        kinds.read_work("measure", run.name, {**order, "options": {"draws": "many"}})


def test_a_measure_brings_its_own_drawing(site, run, tmp_path, capsys, monkeypatch):
    """On the page, in the report and in print, without a line of hcache that knows it."""
    assert OWN.count("Clouds") == 2
    install(site, "a-laboratory", OWN, "along")
    out_of(capsys, "measure", run.name, "--what", "along", *home_of(run))
    (shown,) = exhibits("goes along", "age", {run.name: Evidence(run)})
    assert (shown.height, shown.figure.data[0].mode) == (512, "markers")
    assert set(shown.figure.data[0].text) == {run.name} and max(shown.figure.data[0].y) > 0.9

    html = tmp_path / "verdict.html"
    out_of(capsys, "compare", run.name, "--html", str(html), *home_of(run))
    report = html.read_text()
    assert "age: its correlation over noise" in report and '"height":512' in report
    assert "clouds" in report and "<i>clouds" not in report
    app = page_of(run, monkeypatch, cell=f"goes along|age|{run.name}")
    assert not app.exception and not app.error
    charts = [json.loads(each.proto.spec) for each in app.get("plotly_chart")]
    assert [c["layout"]["height"] for c in charts if c["data"][0].get("mode") == "markers"] == [512]

    question = find_question("goes along", "age")
    (exhibit,) = question.exhibits("age", {run.name: Evidence(run)})
    plot = exhibit_plot(exhibit)
    assert plot.ax.get_ylabel() == "r of clouds" and "r of clouds" in plot.svg
    assert plot.title == exhibit.title and plot.pdf.startswith(b"%PDF")


def test_a_measure_cell_by_cell_is_a_command_and_on_the_probes_page(site, run, capsys, monkeypatch):
    """Its own options, its own sites, its own words; what it has not is not offered."""
    install(site, "a-laboratory", CELLS, "means")
    with pytest.raises(SystemExit):
        main(["probe", "--help"])
    told = capsys.readouterr().out
    assert "{decodability,means}" in told and "--power" in told and "--folds" in told
    line = ("probe", run.name, "--label", "age", "--measure", "means")
    rows = json_of(capsys, *line, "--power", "2", *home_of(run))
    assert [(row["site"], row["metric"], row["step"]) for row in rows] == [
        ("h", "r", step) for step in range(run.spec.steps)
    ]
    means = (run.pooled("h", 1) ** 2).mean(1)
    r = np.corrcoef(means, run.labels["mine"]["age"])[0, 1]
    assert rows[1]["score"]["value"] == pytest.approx(r) and rows[1]["p_all"] == 1.0
    assert "--folds is no option of the measure means, which has --power" in failure(
        capsys, 2, *line, "--folds", "3", *home_of(run)
    )
    assert "no learning curves" in failure(capsys, 2, *line, "--curve", *home_of(run))

    app = page_of(run, monkeypatch, page="probes", probing="means")
    assert not app.exception and not app.error
    assert app.selectbox(key="choose-probing").options == ["Linear probe", "Mean of a site"]
    keys = {box.key for box in app.selectbox}
    assert "choose-probe" not in keys, "the kind of a linear probe is asked by linear probes"
    power = app.number_input(key="choose-probe-means-power")
    assert (power.label, power.value) == ("Power", 1)
    power.set_value(2).run()
    said = " ".join(each.value for each in (*app.caption, *app.markdown))
    assert "Means to the power 2. Every cell is stored with the run." in said
    assert len(app.get("plotly_chart")) == 2
    (chart, *_) = (json.loads(each.proto.spec) for each in app.get("plotly_chart"))
    assert (chart["data"][0]["zmin"], chart["data"][0]["zmax"]) == (0.25, 1.0)
    assert not any("How many labels" in each.value for each in app.subheader)
    assert not any(button.key == "run-learning" for button in app.button)


def test_a_parameter_of_probes_that_means_something_else_is_refused():
    known = Known(measures=dict(measures()))
    own = known.measures["decodability"].by_cell
    other = Parameter(name="folds", text="of the paper", default=3)
    for parameter in (other, Parameter(name="curve", text="x", default=1)):
        with pytest.raises(UsageError, match="of probes means something else"):
            known.add(of_labels(by_cell=dataclasses.replace(own, parameters=(parameter,))))
    known.add(of_labels(by_cell=dataclasses.replace(own, parameters=())))
    assert list(known.by_cell()) == ["decodability", "new"]


def test_what_draws_no_figure_says_so_in_one_line(run):
    class Numbers:
        def chart(self):
            return 3

    class Nothing:
        runs = ()

    with pytest.raises(UsageError, match="chart.. of the exhibit Numbers .* returned int"):
        drawn("numbers", Numbers())
    with pytest.raises(UsageError, match="or an object with a method chart"):
        drawn("nothing", Nothing())
    with pytest.raises(UsageError, match="no method draw"):
        exhibit_plot(Exhibit(title="numbers", shown=Numbers()))


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("raise RuntimeError('one\\ntwo')", "RuntimeError: one two"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("", "no attribute"),
        ("MEASURE = 3", "got int"),
        (ONE_FILE, "have one name"),
        (ONE_FILE.replace('name="along"', 'name="bad"').replace('"draws"', '"label"'), "rename it"),
        (ONE_FILE.replace('name="along"', 'name="bad"').replace("(DRAWS,)", "3"), "not iterable"),
    ],
)
def test_a_package_that_cannot_be_used_costs_one_line(site, run, capsys, source, why):
    install(site, "a-broken-one", source, "bad")
    install(site, "a-laboratory", ONE_FILE, "along")
    assert "goes along age" in out_of(capsys, "measure", run.name, "--what", "along", *home_of(run))
    (line,) = registry().refused
    assert line.startswith("hcache: the measure 'bad' of the ") and why in line
    assert "a-broken-one 1.0" in line or "a_broken_one" in line
    assert "bad" not in measures() and "swaps" in measures()
    with pytest.raises(UsageError, match="no measure 'bad'"):
        find_measure("bad")


def test_a_fault_while_it_measures_is_one_line(site, run, capsys):
    faulty = ONE_FILE.replace("rows, rng = [], ", "1 / 0\n        rows, rng = [], ")
    install(site, "a-laboratory", faulty, "along")
    assert main(["measure", run.name, "--what", "along", *home_of(run)]) == 1
    line = capsys.readouterr().err.splitlines()[-1]  # below the bar
    assert "the measure 'along' of the module a_laboratory failed; ZeroDivisionError" in line


def test_a_fault_while_it_lists_its_work_is_one_line(site, run, capsys):
    faulty = ONE_FILE.replace("def parts(setting):", "def parts(setting):\n    setting.nowhere")
    install(site, "a-laboratory", faulty, "along")
    assert main(["measure", run.name, "--what", "along", *home_of(run)]) == 1
    line = capsys.readouterr().err.splitlines()[-1]  # below the bar
    assert "the measure 'along' of the module a_laboratory failed; AttributeError" in line


def test_evidence_that_cannot_be_shown_says_so_in_its_place(site, run, capsys):
    faulty = ONE_FILE.replace("def exhibits(label, runs):", "def exhibits(label, runs):\n    [][1]")
    install(site, "a-laboratory", faulty, "along")
    out_of(capsys, "measure", run.name, "--what", "along", *home_of(run))
    (shown,) = exhibits("goes along", "age", {run.name: Evidence(run)})
    assert "failed; IndexError" in shown.html and shown.figure is None


FAULTS = {
    "KeyError": "{}['p']",
    "ZeroDivisionError": "1 / 0",
    "RuntimeError": "raise RuntimeError('in <b>cells</b>')",
    "CacheError": "from hcache.errors import CacheError; raise CacheError('gone')",
    "TypeError": "yield 3",
}
"""What a function of another package may do, by what is raised then."""


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_in_cells_is_named_and_the_other_rows_go_on(site, run, tmp_path, capsys, kind):
    """By ``measure``, by ``compare``, and in the report."""
    faulty = ONE_FILE.replace(
        "def cells(record, run):", f"def cells(record, run):\n    {FAULTS[kind]}"
    )
    install(site, "a-laboratory", faulty, "along")
    line = f"the measure 'along' of the module a_laboratory failed; {kind}"
    command = ("measure", run.name, "--what", "along")
    assert line in failure_at_last(capsys, 1, *command, *home_of(run)), (
        "there is nothing else to show"
    )
    assert line in failure(capsys, 1, "compare", run.name, *home_of(run))

    out_of(capsys, "measure", run.name, "--what", "decodability", *home_of(run))
    assert main([*command, *home_of(run)]) == 0
    said = capsys.readouterr()
    assert "decodable age" in said.out and said.err.count(line) == 1
    html = tmp_path / "verdict.html"
    assert main(["compare", run.name, "--html", str(html), *home_of(run)]) == 0
    said = capsys.readouterr()
    assert "decodable age" in said.out and said.err.count(line) == 1
    report = html.read_text()
    assert (
        report.count(f"the measure &#39;along&#39; of the module a_laboratory failed; {kind}") == 1
    )
    assert "age: decodable from h" in report and "in <b>cells" not in report


def test_a_damaged_result_of_hcache_counts_as_not_measured(site, run, capsys):
    """No line blames a package."""
    faults = []
    for values in ({}, {"steps": [{"step": "x"}]}, {"steps": 3}):
        save_record(run, "decodability", {"label": "age", "site": "h", "pooled": False}, values)
        assert cells_of(run, tell=faults.append) == {}
    assert not faults


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("needs=(LABELS,)", "needs=(LABELS,), refuses=lambda setting: 1 / 0"),
        ("needs=(LABELS,)", "needs=(LABELS,), refuses=lambda setting: setting.labels"),
    ],
)
def test_a_measure_that_cannot_say_whether_it_can_be_taken_is_left_out(site, run, capsys, old, new):
    assert old in ONE_FILE
    install(site, "a-laboratory", ONE_FILE.replace(old, new), "along")
    line = "the measure 'along' of the module a_laboratory failed; "
    assert main(["measure", run.name, "--what=along", "--what=decodability", *home_of(run)]) == 0
    said = capsys.readouterr()
    assert f"along: left out, because {line}" in said.err and "decodable age" in said.out
    assert line in failure(capsys, 2, "measure", run.name, "--what", "along", *home_of(run))


def test_a_measure_that_cannot_list_its_work_does_not_keep_the_others_from_theirs(
    site, run, capsys
):
    faulty = ONE_FILE.replace("def parts(setting):", "def parts(setting):\n    setting.nowhere")
    install(site, "a-laboratory", faulty, "along")
    assert main(["measure", run.name, "--what=along", "--what=decodability", *home_of(run)]) == 1
    assert "'along' of the module a_laboratory failed; AttributeError" in capsys.readouterr().err
    assert [row.key for row in compare([run]) if row.cells] == [
        ("decodable", "age"),
        ("in x_t", "age"),
    ]


SUMMED = ONE_FILE.replace("Part, Question", "Part, Question, Summary").replace(
    "needs=(LABELS,),",
    """needs=(LABELS,),
    starts_itself=True,
    defined_on=lambda run, label: run.nowhere,
    summaries=(
        Summary(title="of none", text="t", missing="m", of=lambda evidence: evidence.nowhere),
    ),""",
)
"""A measure whose ``defined_on`` and whose summary fail."""


def test_faults_of_other_functions_are_named_on_the_page_and_in_the_report(
    site, run, capsys, monkeypatch
):
    install(site, "a-laboratory", SUMMED, "along")
    out_of(capsys, "measure", run.name, "--what", "along", *home_of(run))
    app = page_of(run, monkeypatch)
    assert not app.exception and not app.error
    told = [each.value.replace("\\", "") for each in app.warning]
    assert sum("'Run' object has no attribute 'nowhere'" in each for each in told) == 1
    assert sum("'Evidence' object has no attribute 'nowhere'" in each for each in told) == 1
    assert all("the measure 'along' of the module a_laboratory failed" in each for each in told)
    report = verdict_report([run])
    assert "goes along with the mean of h" in report
    assert report.count("&#39;Evidence&#39; object has no attribute &#39;nowhere&#39;") == 1


def test_a_fault_in_cells_is_named_on_the_page(site, run, capsys, monkeypatch):
    faulty = ONE_FILE.replace("def cells(record, run):", "def cells(record, run):\n    1 / 0")
    install(site, "a-laboratory", faulty, "along")
    failure_at_last(capsys, 1, "measure", run.name, "--what", "along", *home_of(run))
    app = page_of(run, monkeypatch)
    assert not app.exception and not app.error
    (told,) = app.warning
    assert "a_laboratory failed; ZeroDivisionError" in told.value.replace("\\", "")


def test_evidence_of_an_unknown_kind_does_not_take_the_report_with_it(site, run, capsys):
    faulty = ONE_FILE.replace("shown=shown)", "shown=3)")
    assert faulty != ONE_FILE
    install(site, "a-laboratory", faulty, "along")
    out_of(capsys, "measure", run.name, "--what", "along", *home_of(run))
    report = verdict_report([run])
    assert "a_laboratory failed; UsageError: the exhibit" in report


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('sites=lambda run: ("h",),', "sites=lambda run: run.nowhere,", "AttributeError"),
        ("asks=lambda run, labels: [POWER],", "asks=lambda run, labels: [3],", "AttributeError"),
        ("cells=cells, chance", "cells={('h', 1): {}}, chance", "KeyError"),
    ],
)
def test_a_fault_of_what_is_taken_cell_by_cell_is_one_line_of_the_page(
    site, run, monkeypatch, old, new, why
):
    assert old in CELLS
    install(site, "a-laboratory", CELLS.replace(old, new), "means")
    app = page_of(run, monkeypatch, page="probes", probing="means")
    assert not app.exception
    (told,) = app.error
    assert f"the measure 'means' of the module a_laboratory failed; {why}" in told.value.replace(
        "\\", ""
    )


def test_a_fault_of_our_own_is_no_fault_of_the_user():
    with pytest.raises(ZeroDivisionError), faults_named(find_measure("swaps")):
        raise ZeroDivisionError


def test_a_kind_of_result_is_defined_by_one_measure():
    known = Known(measures=dict(measures()))
    with pytest.raises(UsageError, match="another's"):
        known.add(of_labels(definitions={"controllability": 3}))
    known.add(of_labels(definitions={"mine": 3}))
    assert (known.definition("mine"), known.definition("controllability")) == (3, 2)
    assert known.definition("of nobody") == 1


def test_the_command_tells_it_on_the_standard_error(site, tmp_path):
    install(site, "a-broken-one", "import nowhere", "bad")
    path = os.pathsep.join([str(site), str(Path(hcache.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-m", "hcache", "measure", "--help"],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and "--what" in done.stdout
    (line,) = done.stderr.splitlines()
    assert "a-broken-one" in line and "ModuleNotFoundError" in line


def test_a_broken_package_is_told_on_the_page(site, run, monkeypatch):
    install(site, "a-broken-one", "import nowhere", "bad")
    app = page_of(run, monkeypatch)
    assert not app.exception
    assert [True for each in app.warning if "a-broken-one" in each.value] == [True]


def of_labels(**changes):
    known = {"name": "new", "title": "nothing", "parts": lambda setting: ()}
    return Measure(**{**known, **changes})


def choice(name):
    return Parameter(name=name, text="something", default=3)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"parameters": (choice("samples"),)}, "means something else"),
        ({"parameters": (choice("label"),)}, "means something else"),
        ({"cells": {"swap": lambda record, run: ()}}, "another's"),
        ({"questions": (Question(name="decodable", words="w", section="s"),)}, "taken"),
    ],
)
def test_what_means_something_else_already_is_refused(changes, why):
    known = Known(measures=dict(measures()))
    with pytest.raises(UsageError, match=why):
        known.add(of_labels(**changes))
    assert "new" not in known.measures
    known.add(of_labels())
    assert list(known.measures)[-1] == "new"


def test_a_result_whose_measure_is_gone_is_passed_over(site, run, capsys, monkeypatch):
    install(site, "a-laboratory", ONE_FILE, "along")
    out_of(capsys, "measure", run.name, "--what", "along", *home_of(run))
    assert [row.key for row in compare([run]) if row.cells] == [("goes along", "age")]
    (site / "a_laboratory-1.0.dist-info" / "entry_points.txt").unlink()
    monkeypatch.syspath_prepend(str(site / "another"))  # what is installed is looked up again
    rows = compare([run])
    assert rows and not any(row.cells for row in rows)
    assert "goes along" not in verdict_table(rows, [run.name])
