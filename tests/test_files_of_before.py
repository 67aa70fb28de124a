"""Files that earlier versions wrote are read as they were meant.

``files_of_before/`` was written by the version before schemas were checked by msgspec: a home with
a run and every kind of JSON beside it, and more descriptions of runs.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import drain

from hcache.background import tasks
from hcache.background.extractions import read_job
from hcache.background.kinds import Fitting, Importing, Measuring, Reading
from hcache.cache.description import parse_spec, read_description
from hcache.cache.layout import MANIFEST, RUN_JSON, VERIFY_JSON
from hcache.cache.manifest import read_manifest
from hcache.cache.reading import open_run
from hcache.cache.records import load_record
from hcache.cache.verify import last_report, verify
from hcache.cli.main import main
from hcache.directions.fitting import Fit
from hcache.readers.saved import load_description, read_by
from hcache.readers.texts import Texts
from hcache.specs import Conditioning

BEFORE = Path(__file__).parent / "files_of_before"
NAME = "unsaved-7284cda4d2"
DESCRIPTIONS = sorted((BEFORE / "descriptions").glob("*.json"))


@pytest.fixture
def home(tmp_path):
    """A copy of the home of before."""
    shutil.copytree(BEFORE, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def run(home):
    return open_run(NAME, home)


def test_a_run_of_before_is_whole(run, home):
    assert run.home == home and run.name == NAME
    assert (run.spec.samples, run.spec.steps, run.spec.batch, len(run)) == (3, 2, 2, 3)
    assert dict(run.spec.store) == {"h": "full", "skip.1": "pooled"}
    assert run.anatomy.h == (4, 8, 8) and run.anatomy.parameters == 2947
    assert len(run.provenance["alpha_bar"]) == 2 and run.provenance["host"] == "elsewhere"
    assert [(s.start, s.stop) for s in run.shards] == [(0, 2), (2, 3)]
    assert drain(verify(run.folder))[1].fine
    assert np.nan_to_num(run.labels["mine"]["a"], nan=-1).tolist() == [1.0, -1.0, 0.5]


@pytest.mark.parametrize("path", DESCRIPTIONS, ids=lambda path: path.stem)
def test_a_description_of_before_says_the_same(path):
    data, found = json.loads(path.read_text()), read_description(path)
    assert found.spec.name == path.stem == data["name"]
    assert json.loads(json.dumps(found.spec.to_json())) == data["spec"]
    assert json.loads(json.dumps(found.anatomy.to_json())) == data["anatomy"]
    assert list(found.timesteps) == data["timesteps"]
    assert [type(t) for t in found.timesteps] == [type(t) for t in data["timesteps"]]
    assert parse_spec(data["spec"]) == found.spec


def test_whole_numbers_where_fractions_are_usual_stay_whole():
    """The name of a run is over them as they were written."""
    path = BEFORE / "descriptions" / "conditioned-7f9bf54b9d.json"
    found = read_description(path)
    assert found.spec.conditioning == Conditioning(
        prompts=("one", "two ✓"), negative_prompt="no", guidance=7
    )
    assert repr(found.spec.eta) == "0" and repr(found.spec.conditioning.guidance) == "7"
    assert "-Infinity" in path.read_text(), "Python's own JSON, of a scheduler's configuration"
    assert found.provenance["scheduler"] == {
        "lambda_min_clipped": None,
        "num_train_timesteps": 1000,
    }


def test_a_description_of_before_there_were_schedules_or_conditions_is_read(run):
    path = run.folder / RUN_JSON
    data = json.loads(path.read_text())
    for name in ("conditioning", "images", "schedule"):
        del data["spec"][name]
    del data["anatomy"]["blocks"]
    spec = parse_spec(data["spec"])
    path.write_text(json.dumps({**data, "schema": 1, "name": spec.name, "provenance": {}}))
    assert read_description(path).spec == spec and spec.schedule == "before"


def test_a_manifest_of_before_is_read_and_one_from_before_that(run):
    found = read_manifest(run.folder)
    assert found[1].file == "00000002.h5" and found[1].checksum.startswith("xxh3_128:")
    path = run.folder / MANIFEST
    entry = json.loads(path.read_text().splitlines()[0])
    del entry["checksum"]
    path.write_text(json.dumps({**entry, "sha256": "ab" * 32}) + "\n")
    (shard,) = read_manifest(run.folder)
    assert shard.checksum == "sha256:" + "ab" * 32 and shard.bytes == found[0].bytes


def test_tasks_of_before_say_the_same_work(run):
    job = read_job(run.folder)
    assert (job.state, job.kind, job.share, job.total, job.order) == ("done", "extract", 1, 3, {})
    found = {task.id.split("-")[0]: task for task in tasks.list_tasks(run.folder)}
    works = [
        Fitting(what=Fit(method="pca", run=NAME, options={"count": 2}), name="pc"),
        Importing(run=NAME, folder="blocks-0123456789ab", files=("smile.pth",), name="smile"),
        Reading(
            run=NAME,
            name="mine too",
            form="texts",
            source="a/model",
            attributes=("smile=smiling|not",),
        ),
    ]
    for work in works:
        task = found[work.kind]
        assert task.id == tasks.task_id(work) and task.to_do() == work and task.title == work.title
        assert (task.state, task.message, task.share, task.stage) == (
            "failed",
            "by hand",
            0.5,
            "half",
        )
    listed = tasks.list_tasks(run.folder, "measure")
    measured = sorted((task.to_do() for task in listed), key=lambda work: work.what)
    kept = {"run": NAME, "samples": 3, "nulls": 2}
    assert measured == [
        Measuring(what=("decodability",), labels=("a",), **kept),
        Measuring(what=("swaps",), labels=(), reader="toyfaces", **kept),
    ]


def test_a_job_from_before_there_was_one_schema_is_read(run):
    old = {
        "run": NAME,
        "state": "done",
        "pid": 12,
        "process_started": 1.5,
        "begun": 10,
        "updated": 20.5,
        "done": 3,
        "total": 3,
        "work": 3.0,
        "work_at_start": 1.5,
        "message": "",
    }
    (run.folder / "job.json").write_text(json.dumps(old))
    job = read_job(run.folder)
    assert (job.id, job.title, job.share, job.share_before, job.work_begun) == (
        "extract",
        NAME,
        1.0,
        0.5,
        10,
    )


def test_results_notes_and_readers_of_before_are_read(run, home):
    record = load_record(run, "decodability", {"site": "h", "steps": [0, 1]})
    assert record.result == {"steps": [{"r2": 0.25, "worst": None}]} and record.samples == 3
    note = read_by(run)["read by hand"]
    assert (note.digest, note.version, note.description["kind"]) == (
        "0123456789ab",
        "1",
        "function",
    )
    kept = load_description(home, "texts")
    assert isinstance(kept, Texts) and dict(kept.attributes) == {
        "smile": (("smiling",), ("not smiling",))
    }
    report = last_report(run.folder)
    assert report.fine and (report.shards, report.samples, report.of) == (2, 3, 3)


def test_a_verification_of_before_unread_files_were_told_apart_is_read(run):
    data = json.loads((run.folder / VERIFY_JSON).read_text())
    del data["unread"]
    data |= {"rerun": {"h": {"largest": float("nan"), "tolerance": 1}}, "missing": [[0, 2]]}
    (run.folder / VERIFY_JSON).write_text(json.dumps(data))
    report = last_report(run.folder)
    assert report.damaged and report.missing == ((0, 2),) and not report.unread


@pytest.mark.parametrize(
    ("file", "place", "value", "told"),
    [
        (RUN_JSON, ("spec", "samples"), 10**30, "spec.samples: expected a whole number from 1 to"),
        (RUN_JSON, ("spec", "store"), {"h": "half"}, "spec.store.h: expected one of full, none"),
        (RUN_JSON, ("spec", "fresh"), 1, "spec.fresh is not a field"),
        (RUN_JSON, ("anatomy", "h"), [4, 8], "anatomy.h: expected a list of 3"),
        (RUN_JSON, ("timesteps",), [1, float("nan")], "timesteps[1]: expected a number from"),
        (
            RUN_JSON,
            ("provenance", "libraries"),
            {"torch": 2},
            "provenance.libraries.torch: expected text, got 2",
        ),
        (MANIFEST, ("stop",), 2.5, "line 1 is not a shard's entry: stop: expected a whole number"),
        (MANIFEST, ("bytes",), -1, "bytes: expected a whole number of at least 0, got -1"),
    ],
)
def test_what_is_wrong_is_one_line_with_file_and_key(run, home, capsys, file, place, value, told):
    path = run.folder / file
    first, *others = path.read_text().splitlines() if file == MANIFEST else [path.read_text()]
    data = inner = json.loads(first)
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    path.write_text("\n".join([json.dumps(data), *others, ""]))
    assert main(["info", NAME, "--home", str(home)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line and told in line
