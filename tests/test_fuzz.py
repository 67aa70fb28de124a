"""Whatever stands in a run's files: one clear error or a right answer, in Python, in the shell
and in the browser.
"""

import copy
import json
import shutil

import numpy as np
import pytest
import streamlit as st
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from streamlit.testing.v1 import AppTest

from hcache.background.extractions import list_jobs, read_job
from hcache.cache.labels import import_labels
from hcache.cache.layout import JOB_JSON, MANIFEST, RUN_JSON, VERIFY_JSON
from hcache.cache.reading import open_run
from hcache.cache.verify import last_report
from hcache.cli.main import main
from hcache.errors import CacheError, HcacheError, UsageError

FUZZ = settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))
FEW = settings(FUZZ, max_examples=40)

STRANGE = (
    None,
    True,
    False,
    0,
    -1,
    1,
    3,
    10**6,
    2**31,
    2**63,
    10**30,
    -(10**30),
    0.5,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "h",
    "full",
    "../../etc",
    "/etc/passwd",
    "\0",
    "a\ud800b",
    "x" * 5000,
    [],
    [[]],
    [1, 2, 3],
    [0, 0, 0],
    [1.5, 2, 3],
    {},
    {"h": "full"},
    {"h": 3},
    {"": None},
    [None],
    [[[[1]]]],
)
values = some.sampled_from(STRANGE) | some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=8),
    lambda inner: (
        some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(data, path=()):
    """Every place in a JSON value, the whole of it first."""
    yield path
    items = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    for key, value in items:
        yield from places(value, (*path, key))


def changed(data, path, value):
    """``data`` with another value at a place; ``...`` takes the place away."""
    if not path:
        return value
    data = copy.deepcopy(data)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return data


@some.composite
def damages(draw, whole):
    """The file's bytes after some of its values were replaced or removed; or cut short; or with
    bytes changed.
    """
    if draw(some.integers(0, 4)) == 0:
        data = bytearray(whole)
        for _ in range(draw(some.integers(1, 4))):
            data[draw(some.integers(0, len(data) - 1))] = draw(some.integers(0, 255))
        return bytes(data[: draw(some.integers(0, len(data)))] if draw(some.booleans()) else data)
    data = json.loads(whole)
    for _ in range(draw(some.integers(1, 3))):
        path = draw(some.sampled_from(list(places(data))[1:] or [()]))
        data = changed(data, path, draw(some.just(...) | values) if path else draw(values))
        if not isinstance(data, dict):
            break
    return json.dumps(data).encode()


@pytest.fixture(scope="module")
def run_json(tiny_run):
    return (tiny_run.folder / RUN_JSON).read_bytes()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("eta", 0.5),
        ("seed", 7),
        ("store_dtype", "float32"),
        ("model", "another"),
        ("weights", "ab"),
    ],
)
def test_a_run_that_says_it_is_another_is_refused(copied_run, field, value):
    """Every value is as good as the one before; together they are not the run that was
    extracted.
    """
    path = copied_run.folder / RUN_JSON
    path.write_text(json.dumps(changed(json.loads(path.read_text()), ("spec", field), value)))
    with pytest.raises(CacheError, match="was it edited"):
        open_run(copied_run.folder)


@pytest.fixture
def home(copied_run, tmp_path):
    """A home of two runs: the first is to be spoilt, the second stays as it is."""
    home = tmp_path / "copy"
    shutil.copytree(copied_run.folder, home / "runs" / "good-run")
    return home


def ask_everything(folder):
    """All that a run can be asked that reads its files."""
    run = open_run(folder)
    asked = [
        lambda: run.images,
        lambda: run.labels,
        lambda: run.widened,
        lambda: run.matrix("h", 0),
        lambda: run.bytes,
        lambda: run.pooled("skip.1", 1),
        lambda: run.x(0, 0),
        lambda: run.trajectory(5),
        lambda: run.features(5, 1),
        lambda: run.row("h", 3, 0),
        lambda: run.original(0),
        lambda: run.complete,
        lambda: run.sample_ids,
    ]
    for ask in asked:
        try:
            ask()
        except HcacheError as error:
            assert str(error)


def ask_by_command(home, name, capsys):
    """Every command that describes runs ends in order, and the good run is always listed."""
    for argv in (
        ["info", name],
        ["info", name, "--json"],
        ["verify", name],
        ["runs"],
        ["runs", "--json"],
    ):
        assert main([*argv, "--home", str(home)]) in (0, 1, 2, 3)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        if argv[0] == "runs":
            assert "good-run" in printed.out


@FUZZ
@given(data=some.data())
def test_a_damaged_description_is_an_error_or_a_run(home, copied_run, run_json, capsys, data):
    (copied_run.folder / RUN_JSON).write_bytes(data.draw(damages(run_json)))
    try:
        ask_everything(copied_run.folder)
    except CacheError as error:
        assert RUN_JSON in str(error) and "\n" not in str(error)[:200]
    ask_by_command(home, copied_run.name, capsys)


@pytest.mark.slow
def test_every_value_of_a_description_replaced_by_every_strange_one(copied_run, run_json):
    """Not left to chance: each place once with each value, and once away."""
    data = json.loads(run_json)
    refused = taken = 0
    provenance = [p for p in places(data) if p[:1] == ("provenance",) and len(p) > 2]
    for path in [p for p in places(data) if p not in provenance or p[1] == "libraries"]:
        for value in (*STRANGE, ...) if path else STRANGE:
            (copied_run.folder / RUN_JSON).write_text(json.dumps(changed(data, path, value)))
            try:
                open_run(copied_run.folder)
                taken += 1
            except CacheError:
                refused += 1
    assert refused > 2 * taken > 0


@FUZZ
@given(data=some.data())
def test_a_damaged_manifest_is_an_error_or_a_run(home, copied_run, tiny_run, capsys, data):
    lines = (tiny_run.folder / MANIFEST).read_bytes().splitlines()
    number = data.draw(some.integers(0, len(lines) - 1))
    lines[number] = data.draw(damages(lines[number])).replace(b"\n", b" ")
    (copied_run.folder / MANIFEST).write_bytes(
        b"\n".join(lines) + b"\n" * data.draw(some.integers(0, 1))
    )
    try:
        ask_everything(copied_run.folder)
    except CacheError as error:
        assert MANIFEST in str(error)
    ask_by_command(home, copied_run.name, capsys)


@FEW
@given(entries=some.lists(some.tuples(some.integers(-2, 14), some.integers(-2, 14)), max_size=6))
def test_shards_that_overlap_or_are_missing_are_never_read_twice(copied_run, tiny_run, entries):
    line = json.loads((tiny_run.folder / MANIFEST).read_bytes().splitlines()[0])
    made = [{**line, "start": a, "stop": b, "file": f"{a:08d}.h5"} for a, b in entries]
    (copied_run.folder / MANIFEST).write_text("".join(json.dumps(entry) + "\n" for entry in made))
    try:
        run = open_run(copied_run.folder)
    except CacheError:
        return
    ids = run.sample_ids.tolist()
    assert ids == sorted(set(ids)) and len(run) == len(ids)
    ask_everything(copied_run.folder)


@pytest.mark.parametrize("name", [JOB_JSON, VERIFY_JSON])
@FEW
@given(data=some.data())
def test_a_damaged_job_or_verdict_is_none_or_one(copied_run, tmp_path, capsys, name, data):
    assert main(["verify", copied_run.name, "--home", str(tmp_path / "copy")]) in (0, 3)
    job = {
        "run": "r",
        "state": "running",
        "pid": 1,
        "process_started": 1.0,
        "begun": 1.0,
        "updated": 2.0,
        "done": 3,
        "total": 4,
        "work": 3.0,
        "work_at_start": 0.0,
        "message": "",
    }
    whole = (
        json.dumps(job).encode() if name == JOB_JSON else (copied_run.folder / name).read_bytes()
    )
    (copied_run.folder / name).write_bytes(data.draw(damages(whole)))
    report, job = last_report(copied_run.folder), read_job(copied_run.folder)
    assert report is None or report.in_words()
    assert job is None or (job.rate >= 0 and job in list_jobs(tmp_path / "copy") or job.live)
    assert main(["info", copied_run.name, "--home", str(tmp_path / "copy")]) == 0
    capsys.readouterr()


cells = some.sampled_from(
    ["", "0", "11", "12", "-1", "1e999", "1e39", "nan", "0x1", "1_0", "é", '"', "9" * 400, " 3 "]
)


@FUZZ
@given(
    text=some.lists(some.lists(cells, max_size=4).map(",".join), max_size=5).map("\n".join),
    key=some.booleans(),
    raw=some.binary(max_size=40),
    broken=some.integers(0, 3),
)
def test_any_csv_is_imported_whole_or_refused(copied_run, tmp_path, text, key, raw, broken):
    source = tmp_path / "labels.csv"
    source.write_bytes(
        (f"{'sample' if key else 'seed'},a\n{text}").encode() + (raw if broken == 0 else b"")
    )
    before = open_run(copied_run.folder).labels
    try:
        names = import_labels(open_run(copied_run.folder), source, "mine")
    except UsageError as error:
        assert source.name in str(error)
        after = open_run(copied_run.folder).labels
        assert after.keys() == before.keys()
        np.testing.assert_equal(after, before)
        return
    found = open_run(copied_run.folder).labels["mine"]
    assert list(found) == names and not any(np.isinf(column).any() for column in found.values())


PAGES = ("dashboard", "extract", "gallery", "pca", "probes", "swap", "edit", "figures")
DAMAGES = {
    "truncated": (RUN_JSON, lambda text: text[: len(text) // 2]),
    "no provenance": (RUN_JSON, lambda text: json.dumps({**json.loads(text), "provenance": {}})),
    "strange provenance": (
        RUN_JSON,
        lambda text: json.dumps(
            {**json.loads(text), "provenance": {"created": 3, "libraries": [1], "device": None}}
        ),
    ),
    "other shapes": (RUN_JSON, lambda text: text.replace('"image": [\n   16', '"image": [\n   17')),
    "manifest": (MANIFEST, lambda text: text.replace('"start"', '"stant"', 1)),
    "no shards": (MANIFEST, lambda text: ""),
    "job": (JOB_JSON, lambda text: '{"run": [], "state": "running", "pid": -1}'),
    "verdict": (VERIFY_JSON, lambda text: '{"when": 3}'),
}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_no_page_breaks_on_a_damaged_run_and_the_good_one_is_there(
    home, copied_run, monkeypatch, damage, page
):
    name, change = DAMAGES[damage]
    path = copied_run.folder / name
    before = path.read_text() if path.exists() else ""
    path.write_text(change(before))
    assert path.read_text() != before
    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("HCACHE_HOME", str(home))
    app = AppTest.from_file("../dashboard.py", default_timeout=60)
    app.session_state["kept"] = {"run": copied_run.name}
    app.run()
    if page != "dashboard":
        app.switch_page(f"pages/{page}.py").run()
    assert not app.exception, app.exception
    assert "good-run" in app.selectbox(key="choose-run").options
    if page == "dashboard":
        assert "good-run" in app.dataframe[0].value.to_string()
    app.selectbox(key="choose-run").set_value("good-run").run()
    assert not app.exception, app.exception


@pytest.mark.parametrize("page", PAGES)
def test_no_page_breaks_on_a_run_that_stores_no_site(
    tiny_model, tiny_folder, tmp_path, monkeypatch, page
):
    from hcache.cards import default_spec
    from hcache.extraction.run import extract

    extract(
        tiny_model,
        default_spec(str(tiny_folder), samples=16, steps=2, batch=16, store={"h": "none"}),
        tmp_path,
    )
    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path))
    app = AppTest.from_file("../dashboard.py", default_timeout=60).run()
    if page != "dashboard":
        app.switch_page(f"pages/{page}.py").run()
    assert not app.exception, app.exception
