"""Extraction by a queue: tasks leave records, and whoever holds the lock takes them in."""

import dataclasses
import os
import sys
from pathlib import Path

import pytest
from tiny import assert_same_contents

from hcache.background.extractions import extract_arguments
from hcache.cache.layout import SHARDS
from hcache.cache.reading import open_run
from hcache.cache.verify import verify
from hcache.cli.main import main
from hcache.errors import Interrupted, UsageError
from hcache.extraction import sidecars
from hcache.extraction.on_slurm import OnSlurm, SlurmTask
from hcache.extraction.run import extract
from hcache.progress import drive

ROOT = Path(__file__).parents[1]


def assert_whole(run, like):
    assert_same_contents(run, like)
    assert run.complete and drive(verify(run.folder)).fine
    left = [path.name for path in (run.folder / SHARDS).iterdir() if path.suffix != ".h5"]
    assert not left


class Submitting:
    """A place whose tasks run when they are asked to; the submitting command may end before."""

    device = "a queue"

    def compute(self, ranges, commit, report, stop):
        self.ranges = ranges
        raise Interrupted


@pytest.fixture
def submitted(tiny_model, tiny_spec, tmp_path):
    """(run's folder, its ranges): what a submitting command left that has ended."""
    place = Submitting()
    with pytest.raises(Interrupted):
        extract(tiny_model, tiny_spec, tmp_path, place=place)
    return tmp_path / "runs" / tiny_spec.name, place.ranges


def run_task(ranges, todo=None):
    return SlurmTask(ranges=dataclasses.replace(ranges, todo=todo or ranges.todo))()


def test_tasks_that_outlive_their_command_are_taken_in_by_commit(submitted, tiny_run, capsys):
    folder, ranges = submitted
    assert run_task(ranges) == 3
    assert len(open_run(folder)) == 0, "nobody but the lock's holder writes the manifest"
    home = f"--home={folder.parent.parent}"
    assert main(["commit", home, folder.name]) == 0
    assert "3 shards were taken in; 12 of 12" in capsys.readouterr().out
    assert_whole(open_run(folder), tiny_run)
    assert main(["commit", home, folder.name]) == 0
    assert "0 shards" in capsys.readouterr().out


def test_the_next_extraction_takes_them_in_and_does_the_rest(
    submitted, tiny_model, tiny_spec, tiny_run, tmp_path
):
    folder, ranges = submitted
    run_task(ranges, ranges.todo[1:2])
    (record,) = (folder / SHARDS).glob("*.finished")
    inode = (folder / SHARDS / record.name.replace(".finished", ".partial")).stat().st_ino
    run = extract(tiny_model, tiny_spec, tmp_path)
    assert_whole(run, tiny_run)
    assert inode in {run.shard_path(shard).stat().st_ino for shard in run.shards}


def test_what_is_finished_or_at_work_is_not_computed_by_another_task(submitted):
    folder, ranges = submitted
    first, second, third = ranges.todo
    assert run_task(ranges, [first]) == 1 and run_task(ranges, [first]) == 0
    at_work = folder / SHARDS / f"{second[0]:08d}.h5.abcdef-1.partial"
    at_work.write_bytes(b"")
    sidecars.mark_working(at_work)
    assert run_task(ranges) == 1, "the third alone"
    old = at_work.with_suffix(".working")
    os.utime(old, (1, 1))
    assert run_task(ranges) == 1, "who was not heard of for long is dead"


def test_a_sweep_spares_what_is_at_work_and_no_other(submitted, tiny_model, tiny_spec, tmp_path):
    folder, _ = submitted
    (folder / SHARDS).mkdir()
    living, dead = (folder / SHARDS / f"00000099.h5.abcdef-{n}.partial" for n in (1, 2))
    for path in (living, dead):
        path.write_bytes(b"")
    sidecars.mark_working(living)
    extract(tiny_model, tiny_spec, tmp_path)
    assert living.exists() and not dead.exists()


@pytest.mark.parametrize("damage", ["cut", "not a record", "other run"])
def test_what_is_not_whole_is_not_taken_in(submitted, tiny_model, tiny_spec, tiny_run, damage):
    folder, ranges = submitted
    run_task(ranges, ranges.todo[:1])
    (record,) = (folder / SHARDS).glob("*.finished")
    shard = folder / SHARDS / record.name.replace(".finished", ".partial")
    if damage == "cut":
        os.truncate(shard, shard.stat().st_size - 100)
    elif damage == "not a record":
        record.write_text("{")
    else:
        shard.write_bytes(os.urandom(shard.stat().st_size))
    assert sidecars.commit_finished(folder) == 0
    assert not record.exists() and not shard.exists()
    assert_whole(extract(tiny_model, tiny_spec, folder.parent.parent), tiny_run)


@pytest.mark.cluster
def test_submitits_local_executor_gives_what_one_process_gives(
    tiny_spec, tiny_run, tmp_path, monkeypatch
):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command, *others = extract_arguments(tiny_spec, tmp_path)
    assert main([command, "--slurm=cluster=local,tasks=2", *others]) == 0
    assert_whole(open_run(tiny_spec.name, tmp_path), tiny_run)


def test_options_are_told_from_their_text():
    found = OnSlurm.parse("tasks=3,slurm_partition=gpu,timeout_min=60")
    assert found == OnSlurm(tasks=3, options={"slurm_partition": "gpu", "timeout_min": 60})
    assert OnSlurm.parse("") == OnSlurm()


@pytest.mark.parametrize("text", ["tasks", "tasks=0", "tasks=many", "=1", "cluster=moon", "a b=1"])
def test_what_is_no_option_is_refused(text):
    with pytest.raises(UsageError, match="--slurm takes"):
        OnSlurm.parse(text)


def test_without_submitit_the_extra_is_named(capsys, monkeypatch, tiny_spec, tmp_path):
    monkeypatch.setitem(sys.modules, "submitit", None)
    command, *others = extract_arguments(tiny_spec, tmp_path)
    assert main([command, "--slurm=tasks=2", *others]) == UsageError.exit_code
    assert "pip install 'hcache[slurm]'" in capsys.readouterr().err
