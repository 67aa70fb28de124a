"""Kills, full disks, readers and rivals: nothing committed is lost, and the end is the same."""

import os
import random
import resource
import shutil
import signal
import time

import h5py
import numpy as np
import pytest
from tiny import PATIENCE, assert_same_contents, code_of, drain, in_a_child, wait_for

from hcache.cache.layout import INDEX
from hcache.cache.reading import open_run
from hcache.cache.verify import verify
from hcache.cards import default_spec
from hcache.directions.direction import digest_of
from hcache.directions.naive import naive_direction
from hcache.directions.store import load_move, save_move
from hcache.errors import NoSpaceError, RunBusyError
from hcache.extraction.run import extract
from hcache.models.loading import load_model

KILLS, OPENS = 100, 500


@pytest.fixture(scope="module")
def spec(tiny_folder):
    """Ten shards of one sample each."""
    return default_spec(
        str(tiny_folder), samples=10, steps=3, batch=1, store={"h": "full", "skip.2": "full"}
    )


@pytest.fixture(scope="module")
def whole(tiny_model, spec, tmp_path_factory):
    """The run that nothing ever interrupted, and how long it took."""
    began = time.monotonic()
    run = extract(tiny_model, spec, tmp_path_factory.mktemp("whole"))
    return run, time.monotonic() - began


def committed(home, spec):
    folder = home / "runs" / spec.name
    return len(open_run(folder)) if (folder / "run.json").exists() else 0


@pytest.mark.slow
def test_killed_at_100_random_moments_nothing_committed_is_lost(tiny_model, spec, whole, tmp_path):
    uninterrupted, seconds = whole
    rng, finished, homes, before = random.Random(0), 0, 0, 0
    home = tmp_path / "0"
    for _ in range(KILLS):
        child = in_a_child(lambda home=home: extract(tiny_model, spec, home) and 0)
        time.sleep(rng.uniform(0, 0.7 * seconds))
        os.kill(child, signal.SIGKILL)
        code_of(child)
        after = committed(home, spec)
        assert after >= before, "a committed sample was lost"
        before = after
        if after:
            report = drain(verify(home / "runs" / spec.name))[1]
            assert report.fine, report.in_words()
        if after == spec.samples:
            assert_same_contents(extract(tiny_model, spec, home), uninterrupted)
            finished, homes, before = finished + 1, homes + 1, 0
            home = tmp_path / str(homes)
    assert finished >= 5, "the kills must not have prevented every end"
    assert_same_contents(extract(tiny_model, spec, home), uninterrupted)


def test_three_readers_never_meet_half_a_shard(tiny_model, spec, tmp_path):
    writer = in_a_child(lambda: extract(tiny_model, spec, tmp_path) and 0)
    folder = tmp_path / "runs" / spec.name
    wait_for((folder / "run.json").exists, "the run's description")

    def read():
        """Reads often, and until all samples are there; 2 if none was seen while some lacked."""
        opened, seen, deadline = 0, set(), time.monotonic() + PATIENCE / 2
        while (opened <= OPENS // 3 or spec.samples not in seen) and time.monotonic() < deadline:
            run = open_run(folder)
            if len(run):
                assert run.matrix("h", opened % 3).shape == (len(run), 256)
            seen.add(len(run))
            opened += 1
            time.sleep(0.002)
        assert opened > OPENS // 3 and spec.samples in seen, (opened, seen)
        return 0 if seen - {0, spec.samples} else 2

    readers = [in_a_child(read) for _ in range(3)]
    codes = [code_of(child) for child in readers]
    assert code_of(writer) == 0 and set(codes) <= {0, 2}
    assert 0 in codes, "some reader met the run while it grew"


def test_a_second_extractor_is_refused_and_told_who_is_first(tiny_model, spec, tmp_path):
    child = in_a_child(
        lambda: extract(tiny_model, spec, tmp_path, report=lambda _: time.sleep(0.2)) and 0
    )
    holder = tmp_path / "runs" / spec.name / "holder.json"
    wait_for(holder.exists, "the lock's holder")
    time.sleep(0.1)
    with pytest.raises(RunBusyError, match=rf"process {child} on .* since 20"):
        extract(tiny_model, spec, tmp_path)
    os.kill(child, signal.SIGKILL)
    code_of(child)
    assert len(extract(tiny_model, spec, tmp_path)) == spec.samples, "a dead holder does not hold"


def test_a_full_disk_keeps_what_was_committed_and_goes_on_after(tiny_model, spec, whole, tmp_path):
    """A limit on the size of files stands for it: no shard fits any more."""
    first = default_spec(spec.model, samples=4, steps=3, batch=1, store=spec.store)
    extract(tiny_model, first, tmp_path)

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            extract(tiny_model, spec, tmp_path)
        except NoSpaceError as error:
            return 7 if "more are needed" in str(error) else 8
        return 9

    assert code_of(in_a_child(limited)) == 7
    folder = tmp_path / "runs" / spec.name
    assert committed(tmp_path, spec) == 4 and not list(folder.glob("shards/*.partial"))
    assert_same_contents(extract(tiny_model, spec, tmp_path), whole[0])


def test_a_home_with_spaces_and_unicode_works_and_its_run_may_be_carried_elsewhere(
    tiny_model, tiny_folder, tmp_path
):
    """Model folder, home and the place it is taken to; the index's references go along."""
    folder = shutil.copytree(tiny_folder, tmp_path / "modèle à moi 模型")
    home, elsewhere = tmp_path / "Zwischenspeicher für größe", tmp_path / "別の場所" / "runs"
    home.mkdir()
    spec = default_spec(str(folder), samples=3, steps=2, batch=2, store={"h": "full"})
    assert spec.name.isascii() and "/" not in spec.name
    run = extract(load_model(str(folder)), spec, home)
    save_move(run, "mine", naive_direction(run, [0, 1]))
    shutil.copytree(run.folder, elsewhere / run.name)
    shutil.rmtree(home)
    there = open_run(elsewhere / run.name)
    assert (
        len(there) == 3
        and not drain(verify(there.folder))[1].faults
        and digest_of(load_move(there, "mine"))
    )
    with h5py.File(there.folder / INDEX, "r") as index:
        np.testing.assert_array_equal(
            index["h"][1].reshape(3, -1).astype(np.float32), there.matrix("h", 1)
        )
