"""Extractions as processes of their own: started, watched, asked to stop, found dead."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from msgspec import structs
from tiny import PATIENCE, assert_same_contents, wait_for

from hcache.background import extractions as jobs
from hcache.background import processes
from hcache.background.kinds import Extraction
from hcache.background.status import StatusFile
from hcache.cache.layout import JOB_JSON, JOB_LOG, LOCK
from hcache.cache.reading import open_run
from hcache.cards import default_spec
from hcache.cli.main import build_parser, main
from hcache.errors import RunBusyError, UsageError
from hcache.extraction.run import extract
from hcache.specs import Conditioning

SOURCE = str(Path(jobs.__file__).parent.parent.parent)


@pytest.fixture(autouse=True)
def no_job_outlives_its_test(tmp_path):
    yield
    for job in jobs.list_jobs(tmp_path):
        if job.live and job.pid != os.getpid():
            os.kill(job.pid, signal.SIGKILL)


@pytest.fixture
def slow_spec(tiny_folder):
    """Some seconds of work in 12 shards, so that there is time to interrupt it."""
    return default_spec(
        str(tiny_folder), samples=24, steps=25, batch=2, store={"h": "full", "skip.2": "pooled"}
    )


def end_of_job(folder):
    def ended():
        job = jobs.read_job(folder)
        return None if job.live else job

    return wait_for(ended, "the end of the job")


def samples_of(folder):
    return len(open_run(folder)) if (folder / "run.json").is_file() else 0


def put_job(folder, **fields):
    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    me = {
        "pid": os.getpid(),
        "process_started": psutil.Process().create_time(),
        "title": folder.name,
    }
    job = jobs.Job(
        **{"run": folder.name, "state": jobs.RUNNING, **me, "begun": now, "updated": now, **fields}
    )
    (folder / JOB_JSON).write_text(json.dumps(structs.asdict(job)))
    return job


@pytest.mark.slow  # killed extractions that continue are in test_kills, too
def test_a_real_extraction_stopped_midway_and_run_again_is_the_same(
    tiny_model, slow_spec, tmp_path
):
    folder = tmp_path / "runs" / slow_spec.name
    command = [sys.executable, "-m", "hcache", *jobs.extract_arguments(slow_spec, tmp_path)]
    process = subprocess.Popen(
        command, cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: samples_of(folder) >= 2 or process.poll() is not None, "the first shard")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert out == "" and "Traceback" not in err
    assert err.strip().splitlines()[-1].startswith("hcache: stopped on request")
    partial = open_run(folder)
    assert 0 < len(partial) < 24 and jobs.read_job(folder).state == jobs.CANCELLED
    assert not list(folder.rglob("*.partial"))

    started = jobs.start(slow_spec, tmp_path)
    assert started.live and started.state == jobs.STARTING
    job = end_of_job(folder)
    assert job.state == jobs.DONE and job.done == job.total == 24 and job.pid == started.pid, job
    whole = extract(tiny_model, slow_spec, tmp_path / "uninterrupted")
    assert_same_contents(open_run(folder), whole)


def test_a_job_is_started_once_watched_and_cancelled(tiny_model, slow_spec, tmp_path, capsys):
    folder = tmp_path / "runs" / slow_spec.name
    jobs.start(slow_spec, tmp_path)
    with pytest.raises(RunBusyError, match=slow_spec.name):
        jobs.start(slow_spec, tmp_path)
    job = wait_for(lambda: (job := jobs.read_job(folder)).done >= 2 and job, "the first shard")
    assert job.state == jobs.RUNNING and job.total == 24 and 0 < job.rate and job.remaining > 0
    assert [found.run for found in jobs.list_jobs(tmp_path)] == [slow_spec.name]
    with pytest.raises(RunBusyError):
        extract(tiny_model, slow_spec, tmp_path)
    assert main(["cancel", slow_spec.name, "--home", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"run": slow_spec.name, "pid": job.pid}
    job = end_of_job(folder)
    assert job.state == jobs.CANCELLED and "stopped on request" in job.message
    assert 2 <= len(open_run(folder)) < 24 and "Traceback" not in (folder / JOB_LOG).read_text()
    with pytest.raises(UsageError, match="nothing to cancel"):
        jobs.cancel(folder)


def test_a_job_cancelled_before_it_got_going_is_cancelled_not_dead(slow_spec, tmp_path):
    jobs.start(slow_spec, tmp_path)
    folder = tmp_path / "runs" / slow_spec.name
    jobs.cancel(folder)
    assert end_of_job(folder).state == jobs.CANCELLED


def test_a_job_that_fails_says_why(slow_spec, tmp_path):
    """The model is gone when the process comes to load it."""
    gone = dataclasses.replace(slow_spec, model=str(tmp_path / "gone"))
    jobs.start(gone, tmp_path)
    folder = tmp_path / "runs" / gone.name
    job = end_of_job(folder)
    assert job.state in (jobs.FAILED, jobs.DIED) and "no model" in job.message


def test_a_job_is_dead_when_its_process_is(tmp_path):
    folder = tmp_path / "runs" / "some-run"
    put_job(folder)
    assert jobs.read_job(folder).state == jobs.RUNNING
    put_job(folder, process_started=psutil.Process().create_time() - 100)
    assert jobs.read_job(folder).state == jobs.DIED, "another process has its number now"
    (folder / JOB_LOG).write_text("first\nsome-run: 10%\rsome-run: 20%\nMemoryError: all gone\n\n")
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    began = psutil.Process(ended.pid).create_time()
    put_job(folder, pid=ended.pid, process_started=began)
    wait_for(
        lambda: psutil.Process(ended.pid).status() == psutil.STATUS_ZOMBIE, "the process to end"
    )
    assert jobs.read_job(folder).state == jobs.DIED, "a zombie does not live"
    ended.wait()
    job = jobs.read_job(folder)
    assert job.state == jobs.DIED and "MemoryError: all gone" in job.message and not job.live
    with pytest.raises(UsageError):
        jobs.cancel(folder)


@pytest.mark.parametrize("state", [jobs.DONE, jobs.FAILED, jobs.CANCELLED])
def test_a_job_that_has_ended_stays_as_it_ended(tmp_path, state):
    put_job(tmp_path, state=state, message="as it was", process_started=0.0)
    assert (jobs.read_job(tmp_path).state, jobs.read_job(tmp_path).message) == (state, "as it was")


def test_another_machines_job_is_unknown_until_it_says_more(tmp_path):
    """Nobody here can ask whether its process lives. It is waited for a while, and not for ever."""
    folder = tmp_path / "runs" / "some-run"
    put_job(folder, host="elsewhere", boot="another")
    job = jobs.read_job(folder)
    assert job.state == jobs.UNKNOWN and not job.live
    assert "elsewhere, last heard of" in job.message
    with pytest.raises(UsageError, match="cancel it there"):
        jobs.cancel(folder)
    spec = default_spec("toyfaces-ddpm-64")
    put_job(tmp_path / "runs" / spec.name, host="elsewhere", boot="another")
    with pytest.raises(RunBusyError, match="last heard of"):
        jobs.start(spec, tmp_path)


def test_a_clock_that_is_set_does_not_kill_a_job(tmp_path):
    """Its start is told in ticks since the boot, where the system tells them."""
    me = processes.this_process()
    if not me["ticks"]:
        pytest.skip("this system does not tell when a process started but by the time of day")
    folder = tmp_path / "runs" / "some-run"
    put_job(folder, **{**me, "process_started": me["process_started"] - 3600})
    assert jobs.read_job(folder).state == jobs.RUNNING
    put_job(folder, **{**me, "ticks": me["ticks"] + 1})
    assert jobs.read_job(folder).state == jobs.DIED, "another process has its number now"
    put_job(folder, **{**me, "boot": "an earlier one"})
    assert jobs.read_job(folder).state == jobs.DIED, "the machine was started anew since"


def test_no_ended_process_is_left_defunct(tmp_path):
    """Its parent takes note of its end by itself, without starting another."""
    found = processes.launch(b"{}", tmp_path / "log")
    wait_for(
        lambda: not psutil.pid_exists(found["pid"]),
        "the process to be gone from the system's table",
    )
    assert "`background` reads an object" in (tmp_path / "log").read_text()


def test_a_job_file_leads_nowhere_else(tmp_path):
    """Its run is the folder that it lies in, and a log that is a link is neither shown nor
    written.
    """
    folder, secret = tmp_path / "runs" / "some-run", tmp_path / "secret"
    secret.write_text("a secret\n")
    put_job(folder, run="../..", process_started=0.0)
    (folder / JOB_LOG).symlink_to(secret)
    job = jobs.read_job(folder)
    assert job.run == "some-run" and job.state == jobs.DIED and "secret" not in job.message
    assert processes.log_text(folder / JOB_LOG) == ""
    processes.launch(b"{}", folder / JOB_LOG, append=True)
    assert secret.read_text() == "a secret\n" and not (folder / JOB_LOG).is_symlink()
    (folder / JOB_JSON).rename(tmp_path / "job.json")
    (folder / JOB_JSON).symlink_to(tmp_path / "job.json")
    assert jobs.read_job(folder) is None


def test_a_job_file_that_an_earlier_version_wrote_is_read(tmp_path):
    written = {
        "run": tmp_path.name,
        "state": "done",
        "pid": 7,
        "process_started": 5.0,
        "begun": 10.0,
        "updated": 30.0,
        "done": 8,
        "total": 10,
        "work": 8.0,
        "work_at_start": 4.0,
        "message": "",
    }
    (tmp_path / JOB_JSON).write_text(json.dumps(written))
    job = jobs.read_job(tmp_path)
    assert (job.state, job.done, job.total, job.work, job.rate) == (
        "done",
        8,
        10,
        8.0,
        pytest.approx(0.2),
    )


def test_a_run_is_from_here_if_this_user_began_it(tiny_spec, tmp_path, monkeypatch):
    folder = tmp_path / "runs" / tiny_spec.name
    folder.mkdir(parents=True)
    assert not jobs.is_from_here(folder, tiny_spec)
    StatusFile.of_extraction(folder, tiny_spec).finish(jobs.CANCELLED)
    assert jobs.is_from_here(folder, dataclasses.replace(tiny_spec, samples=99)), (
        "more samples extend it"
    )
    assert not jobs.is_from_here(folder, dataclasses.replace(tiny_spec, model="another/model"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user"))
    assert not jobs.is_from_here(folder, tiny_spec)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"run": "x"}', '{"unknown": 1}'])
def test_a_job_file_that_is_none_is_no_job(tmp_path, text):
    assert jobs.read_job(tmp_path) is None
    (tmp_path / JOB_JSON).write_text(text)
    assert jobs.read_job(tmp_path) is None and jobs.list_jobs(tmp_path) == []


def test_a_job_file_follows_the_work(tmp_path):
    job_file = StatusFile.of_extraction(tmp_path, default_spec("toyfaces-ddpm-64", samples=10))
    assert jobs.read_job(tmp_path) is None, "another process may be at it"
    job_file.count(4, 10, 4.0)
    first = jobs.read_job(tmp_path)
    assert (first.state, first.pid, first.done, first.share_before) == (
        jobs.RUNNING,
        os.getpid(),
        4,
        0.4,
    )
    assert first.remaining is None, "nothing done yet to go by"
    time.sleep(0.3)
    job_file.count(6, 10, 7.0)
    second = jobs.read_job(tmp_path)
    assert (
        second.rate == pytest.approx(3 / (second.updated - second.work_begun)) and second.rate < 11
    )
    assert second.remaining == pytest.approx(3 / second.rate)
    job_file.count(10, 10, 10.0)
    job_file.finish(jobs.DONE)
    assert jobs.read_job(tmp_path).state == jobs.DONE and not list(tmp_path.glob("*.partial"))


def test_a_second_extractor_leaves_the_first_ones_job_alone(tiny_folder, tmp_path, capsys):
    """Its own failure is not the run's: who watches still sees the first at work."""
    spec = default_spec(str(tiny_folder), samples=2, steps=2)
    folder = tmp_path / "runs" / spec.name
    first = put_job(folder, total=2)
    with FileLock(folder / LOCK):
        assert main(jobs.extract_arguments(spec, tmp_path)) == 1
    assert "is being extracted by another process" in capsys.readouterr().err
    assert jobs.read_job(folder) == first


def test_a_job_is_done_once_extract_is(tiny_folder, tmp_path, capsys):
    spec = default_spec(str(tiny_folder), samples=2, steps=2)
    assert main(jobs.extract_arguments(spec, tmp_path)) == 0
    job = jobs.read_job(tmp_path / "runs" / spec.name)
    assert (job.state, job.done, job.total, job.work) == (jobs.DONE, 2, 2, 2.0)


HOSTILE = (
    "--status=overwritten",
    "-x",
    "---",
    "a 'quoted' $(touch overwritten) name",
    "--batch",
    "=",
    "\u2028",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_never_taken_for_an_option(text, tiny_folder, tmp_path):
    """As a model's name and as a prompt, in the command that is shown, and in what a process is
    given.
    """
    from hcache.cli.background import read_order
    from hcache.cli.spec_options import conditioning_of

    given = Conditioning(prompts=(text,), negative_prompt=text)
    spec = dataclasses.replace(default_spec(str(tiny_folder), conditioning=given), model=text)
    arguments = build_parser().parse_args(jobs.extract_arguments(spec, tmp_path))
    assert (arguments.model, arguments.status) == (text, None)
    assert (arguments.prompt, arguments.negative_prompt) == (text, text)
    arguments.model = str(tiny_folder)
    assert conditioning_of(arguments) == given
    order = {"home": str(tmp_path), "run": spec.name, "kind": "extract", "order": spec.to_json()}
    folder = tmp_path / "runs" / spec.name
    assert read_order(json.dumps(order).encode()) == (folder, Extraction(spec=spec))


def test_a_run_that_was_renamed_goes_on_where_it_lies(tiny_model, tiny_folder, tmp_path):
    """As the dashboard's Resume starts it: by a process of its own."""
    spec = default_spec(str(tiny_folder), samples=4, steps=3, batch=2, store={"h": "full"})
    whole = extract(tiny_model, spec, tmp_path / "whole")
    half = dataclasses.replace(spec, samples=2)
    renamed = extract(tiny_model, half, tmp_path).folder.rename(tmp_path / "runs" / "my-run")
    jobs.start(spec, tmp_path, renamed)
    job = end_of_job(renamed)
    assert (job.state, job.run) == (jobs.DONE, "my-run"), job.message
    assert jobs.is_from_here(renamed, spec)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["my-run"]
    assert_same_contents(open_run(renamed), whole)


def test_resume_on_the_page_goes_on_where_the_run_lies(copied_run, tmp_path, monkeypatch):
    from streamlit.testing.v1 import AppTest

    renamed = copied_run.folder.rename(copied_run.folder.with_name("my-run"))
    StatusFile.of_extraction(renamed, copied_run.spec).finish(jobs.FAILED, "the disk is full")
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path / "copy"))
    started = []
    monkeypatch.setattr(jobs.tasks, "start", lambda folder, work: started.append((folder, work)))
    app = AppTest.from_file("../dashboard.py", default_timeout=60)
    app.switch_page("pages/extract.py").run()
    app.button(key="resume-my-run").click().run()
    assert started == [(renamed, Extraction(spec=copied_run.spec))] and not app.exception


@pytest.mark.parametrize("folder", ["../elsewhere", ".", "a/b", 3])
def test_an_order_cannot_name_a_folder_elsewhere(folder, tiny_spec, tmp_path):
    from hcache.cli.background import read_order

    order = {"home": str(tmp_path), "run": tiny_spec.name, "kind": "extract", "folder": folder}
    with pytest.raises(UsageError):
        read_order(json.dumps({**order, "order": tiny_spec.to_json()}).encode())


def test_a_model_that_is_named_like_an_option_overwrites_nothing(tmp_path, monkeypatch):
    """The whole way: a run's spec with such a name is extracted, and ends by saying that there
    is no such model.
    """
    victim = tmp_path / "victim"
    victim.write_text("precious")
    spec = dataclasses.replace(
        default_spec("toyfaces-ddpm-64", samples=1), model=f"--status={victim}"
    )
    words = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda command, **more: words.append(command) or popen(command, **more)
    )
    jobs.start(spec, tmp_path)
    job = end_of_job(tmp_path / "runs" / spec.name)
    assert job.state == jobs.FAILED and "no model" in job.message
    assert victim.read_text() == "precious" and words == [
        [sys.executable, "-m", "hcache", "background"]
    ]


def test_a_prompt_that_begins_with_a_dash_is_told_how_to_be_given(tiny_folder, capsys):
    assert main(["extract", str(tiny_folder), "--prompt", "-dash"]) == 2
    assert "--prompt=VALUE" in capsys.readouterr().err
    assert main(["extract", str(tiny_folder), "--prompt=--"]) == 2, (
        "which argparse would take for no value at all"
    )
    assert "--prompt cannot be" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"samples": 3, "steps": 7, "seed": 5, "eta": 0.1, "batch": 2},
        {"store": {"h": "none"}},
        {
            "store": {"skip.1": "pooled", "skip.3": "full"},
            "store_dtype": "float32",
            "dtype": "bfloat16",
        },
        {"eta": 1e-5},
    ],
    ids=str,
)
def test_the_command_of_a_job_asks_for_the_very_run(tiny_folder, tmp_path, changes):
    from hcache.cli.spec_options import spec_of

    spec = default_spec(str(tiny_folder), **changes)
    arguments = build_parser().parse_args(jobs.extract_arguments(spec, tmp_path))
    assert spec_of(arguments) == spec and arguments.home == str(tmp_path)


def test_an_extraction_that_has_nothing_to_do_leaves_the_rate_of_the_one_before(
    tiny_model, tiny_spec, tmp_path, capsys
):
    words = ["extract", tiny_spec.model, "--samples", "12", "--steps", "4", "--home", str(tmp_path)]
    assert main(words) == 0
    (run,) = (tmp_path / "runs").iterdir()
    before = jobs.read_job(run)
    assert before.rate > 0
    assert main(words) == 0
    after = jobs.read_job(run)
    assert (after.state, after.rate, after.updated) == ("done", before.rate, before.updated)
    text = (run / JOB_JSON).read_text(encoding="utf-8")
    (run / JOB_JSON).write_text(text.replace('"done"', '"running"', 1), encoding="utf-8")
    assert jobs.read_job(run).state != "done", "it was killed before its last word"
    assert main(words) == 0
    assert jobs.read_job(run).state == "done"
