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
from tiny import PATIENCE, assert_same_contents, wait_for

from hcache import jobs
from hcache.cache.layout import JOB_JSON, JOB_LOG, LOCK
from hcache.cache.reading import open_run
from hcache.cards import default_spec
from hcache.cli.main import build_parser, main
from hcache.errors import RunBusyError, UsageError
from hcache.extract import extract

SOURCE = str(Path(jobs.__file__).parent.parent)


@pytest.fixture(autouse=True)
def no_job_outlives_its_test(tmp_path):
    yield
    for job in jobs.list_jobs(tmp_path):
        if job.live and job.pid != os.getpid():
            os.kill(job.pid, signal.SIGKILL)


@pytest.fixture
def slow_spec(tiny_folder):
    """Some seconds of work in 12 shards, so that there is time to interrupt it."""
    return default_spec(str(tiny_folder), samples=24, steps=25, batch=2, store={"h": "full", "skip.2": "pooled"})


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
    me = {"pid": os.getpid(), "process_started": psutil.Process().create_time()}
    job = jobs.Job(**{"run": folder.name, "state": jobs.RUNNING, **me, "begun": now, "updated": now, **fields})
    (folder / JOB_JSON).write_text(json.dumps(dataclasses.asdict(job)))
    return job


def test_a_real_extraction_stopped_midway_and_run_again_is_the_same(tiny_model, slow_spec, tmp_path):
    folder = tmp_path / "runs" / slow_spec.name
    command = [sys.executable, "-m", "hcache", *jobs.extract_arguments(slow_spec, tmp_path)]
    process = subprocess.Popen(command, cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
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
    wait_for(lambda: psutil.Process(ended.pid).status() == psutil.STATUS_ZOMBIE, "the process to end")
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


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"run": "x"}', '{"unknown": 1}'])
def test_a_job_file_that_is_none_is_no_job(tmp_path, text):
    assert jobs.read_job(tmp_path) is None
    (tmp_path / JOB_JSON).write_text(text)
    assert jobs.read_job(tmp_path) is None and jobs.list_jobs(tmp_path) == []


def test_a_job_file_follows_the_work(tmp_path):
    job_file = jobs.JobFile(tmp_path, 10)
    job_file.update(4, 10, 4.0)
    first = jobs.read_job(tmp_path)
    assert (first.state, first.pid, first.done, first.work_at_start) == (jobs.RUNNING, os.getpid(), 4, 4.0)
    assert first.remaining is None, "nothing done yet to go by"
    time.sleep(0.3)
    job_file.update(6, 10, 7.0)
    second = jobs.read_job(tmp_path)
    assert second.rate == pytest.approx(3 / (second.updated - second.begun)) and second.rate < 11
    assert second.remaining == pytest.approx(3 / second.rate)
    job_file.update(10, 10, 10.0)
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


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"samples": 3, "steps": 7, "seed": 5, "eta": 0.1, "batch": 2},
        {"store": {"h": "none"}},
        {"store": {"skip.1": "pooled", "skip.3": "full"}, "store_dtype": "float32", "dtype": "bfloat16"},
        {"eta": 1e-5},
    ],
    ids=str,
)
def test_the_command_of_a_job_asks_for_the_very_run(tiny_folder, tmp_path, changes):
    from hcache.cli.commands import spec_of

    spec = default_spec(str(tiny_folder), **changes)
    arguments = build_parser().parse_args(jobs.extract_arguments(spec, tmp_path))
    assert spec_of(arguments) == spec and arguments.home == str(tmp_path)
