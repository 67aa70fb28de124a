"""Several processes extract into one run: the arrays are those of one, whoever stops, dies or
takes it up again.
"""

import dataclasses
import os
import signal
import sys
from types import ModuleType

import pytest
from tiny import assert_same_contents

from hcache.background.extractions import extract_arguments
from hcache.cache.index import index_is_behind
from hcache.cache.layout import SHARDS
from hcache.cache.reading import open_run
from hcache.cache.verify import verify
from hcache.cli.main import main
from hcache.errors import Interrupted, ModelError, UsageError
from hcache.extraction import workers as extract_workers
from hcache.extraction.run import extract
from hcache.extraction.workers import parse_devices
from hcache.progress import drive

TWO = ["cpu", "cpu"]


@pytest.fixture(autouse=True)
def plain_main(monkeypatch):
    """A new process runs its parent's main module again, which tests of pages leave as a script
    that is gone.
    """
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))


@pytest.fixture
def workers(monkeypatch):
    """The processes that an extraction starts, as it starts them."""
    started, start = [], extract_workers.start_worker

    def remember(*arguments):
        started.append(start(*arguments))
        return started[-1]

    monkeypatch.setattr(extract_workers, "start_worker", remember)
    return started


def assert_whole(run, like):
    assert_same_contents(run, like)
    assert run.complete and drive(verify(run.folder)).fine
    assert not index_is_behind(run.folder, run.spec.seed, run.shards)
    assert not list(run.folder.rglob("*.partial"))


@pytest.fixture
def forked(monkeypatch):
    """Workers that have imported everything already."""
    monkeypatch.setattr(extract_workers, "METHOD", "fork")


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tiny_spec, tiny_run, tmp_path, workers):
    """By the command, as a user would."""
    command, *others = extract_arguments(tiny_spec, tmp_path)
    assert main([command, "--devices=cpu:2", *others]) == 0
    assert_whole(open_run(tiny_spec.name, tmp_path), tiny_run)
    assert len(workers) == 2 and {worker.process.exitcode for worker in workers} == {0}


def test_stopped_and_taken_up_by_any_number_of_processes_it_is_the_same(
    tiny_model, tiny_spec, tiny_run, tmp_path, workers, forked
):
    seen = []
    with pytest.raises(Interrupted, match="of 12 samples are kept"):
        extract(
            tiny_model, tiny_spec, tmp_path, seen.append, lambda: bool(seen and seen[-1].done), TWO
        )
    kept = open_run(tiny_spec.name, tmp_path)
    assert 0 < len(kept) < 12 and not list((kept.folder / SHARDS).glob("*.partial"))
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert all(0 <= progress.work <= 12 for progress in seen)
    assert {worker.process.exitcode for worker in workers} == {0}, "they ended by themselves"
    assert_whole(extract(tiny_model, tiny_spec, tmp_path), tiny_run)


def test_what_a_dead_worker_had_in_work_is_done_by_the_other(
    tiny_model, tiny_spec, tiny_run, tmp_path, workers, forked
):
    def kill(_):
        busy = [worker for worker in workers if worker.range]
        if len(busy) == 2 and not any(worker.ended for worker in workers):
            os.kill(busy[0].process.pid, signal.SIGKILL)

    spec = dataclasses.replace(tiny_spec, batch=5)
    run = extract(tiny_model, spec, tmp_path, report=kill, devices=TWO)
    assert sorted(worker.process.exitcode for worker in workers) == [-signal.SIGKILL, 0]
    assert_whole(run, tiny_run)


def test_when_all_are_dead_it_is_said_and_what_is_committed_stays(
    tiny_model, tiny_spec, tmp_path, workers, forked
):
    def kill(progress):
        if progress.done:
            for worker in workers:
                worker.process.kill()

    spec = dataclasses.replace(tiny_spec, batch=1)
    with pytest.raises(
        ModelError, match=r"every worker died \(cpu: process \d+, exit code -9; cpu"
    ):
        extract(tiny_model, spec, tmp_path, report=kill, devices=TWO)
    kept = open_run(spec.name, tmp_path)
    assert (
        0 < len(kept) < 12
        and drive(verify(kept.folder)).fine
        and not list(kept.folder.rglob("*.partial"))
    )


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("cuda:0,cuda:1", ["cuda:0", "cuda:1"]),
        ("cpu:2", ["cpu", "cpu"]),
        ("cpu", ["cpu"]),
        ("mps", ["mps"]),
        ("cuda:0, cpu:1", ["cuda:0", "cpu"]),
    ],
)
def test_devices_are_told_from_their_list(text, devices):
    assert parse_devices(text) == devices


@pytest.mark.parametrize("text", ["", "cuda:x", "cuda:0,", "cpu:0", "cpu:-1", "cuda:1,cuda:1"])
def test_what_is_no_list_of_devices_is_refused(text):
    with pytest.raises(UsageError, match="--devices"):
        parse_devices(text)
