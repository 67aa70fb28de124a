"""An extraction may be stopped, killed and taken up again, and the run is the one it would have
been.
"""

import dataclasses
import errno
import shutil
from collections import namedtuple

import numpy as np
import pytest
import xxhash
from filelock import FileLock
from tiny import assert_same_contents, contents

from hcache.cache.layout import LOCK, SHARDS
from hcache.cache.manifest import read_manifest
from hcache.cache.plan import make_plan
from hcache.cache.reading import open_run
from hcache.cache.shards import ShardWriter
from hcache.errors import (
    CacheError,
    Interrupted,
    NoSpaceError,
    RunBusyError,
    UnknownSiteError,
    UsageError,
)
from hcache.extraction.run import extract


def stop_after(calls):
    """A stop callback that says so at its ``calls``-th call."""
    asked = iter([False] * (calls - 1) + [True])
    return lambda: next(asked)


def digests(run):
    return {
        shard.file: (
            "xxh3_128:" + xxhash.xxh3_128_hexdigest((run.folder / SHARDS / shard.file).read_bytes())
        )
        for shard in run.shards
    }


@pytest.mark.parametrize("calls", [1, 3, 4, 5, 9, 12])
def test_a_run_that_was_stopped_and_taken_up_is_the_same(
    tiny_model, tiny_spec, tiny_run, tmp_path, calls
):
    """Three shards of four steps: within, between and at the very end of them."""
    kept = 5 * ((calls - 1) // 4)
    with pytest.raises(Interrupted, match=f"{kept} of 12 samples are kept"):
        extract(tiny_model, tiny_spec, tmp_path, stop=stop_after(calls))
    partial = open_run(tiny_spec.name, tmp_path)
    assert len(partial) == kept and not partial.complete
    before = digests(partial)
    again = extract(tiny_model, tiny_spec, tmp_path)
    assert before.items() <= digests(again).items(), "what was committed is kept as it is"
    assert_same_contents(again, tiny_run)
    assert again.complete and not list((again.folder / SHARDS).glob("*.partial"))


def test_stopped_again_and_again_it_still_comes_to_its_end(
    tiny_model, tiny_spec, tiny_run, tmp_path
):
    lengths = []
    for calls in (2, 5, 7, 3):
        with pytest.raises(Interrupted):
            extract(tiny_model, tiny_spec, tmp_path, stop=stop_after(calls))
        lengths.append(len(open_run(tiny_spec.name, tmp_path)))
    assert lengths == [0, 5, 10, 10]
    assert_same_contents(extract(tiny_model, tiny_spec, tmp_path), tiny_run)


def test_two_extractions_are_the_same(tiny_model, tiny_spec, tiny_run, tmp_path):
    other = extract(tiny_model, tiny_spec, tmp_path)
    assert_same_contents(other, tiny_run)
    before = digests(other)
    assert digests(extract(tiny_model, tiny_spec, tmp_path)) == before, (
        "a complete run is left alone"
    )


def test_manifest_and_shards_agree(tiny_run):
    for shard, digest in zip(tiny_run.shards, digests(tiny_run).values(), strict=True):
        path = tiny_run.folder / SHARDS / shard.file
        assert shard.bytes == path.stat().st_size and shard.checksum == digest
    assert [(shard.start, shard.stop) for shard in tiny_run.shards] == [(0, 5), (5, 10), (10, 12)]


@pytest.mark.parametrize("first", [5, 10, 3])
def test_more_samples_keep_those_there_are(tiny_model, tiny_spec, tiny_run, tmp_path, first):
    small = extract(tiny_model, dataclasses.replace(tiny_spec, samples=first), tmp_path)
    before = digests(small)
    assert len(small) == first and small.complete
    grown = extract(tiny_model, dataclasses.replace(tiny_spec, batch=7), tmp_path)
    assert (
        before.items() <= digests(grown).items() and len(grown) == 12 and grown.name == small.name
    )
    assert grown.spec.samples == 12 and all(s.stop - s.start <= 5 for s in grown.shards), (
        "the batch it began with"
    )
    if first % 5 == 0:
        assert_same_contents(grown, tiny_run)
    for step in range(4):
        np.testing.assert_allclose(
            grown.matrix("h", step), tiny_run.matrix("h", step), rtol=1e-2, atol=1e-2
        )


def test_fewer_samples_leave_a_run_as_it_is(tiny_model, tiny_spec, tiny_run, tmp_path):
    extract(tiny_model, tiny_spec, tmp_path)
    fewer = extract(tiny_model, dataclasses.replace(tiny_spec, samples=3), tmp_path)
    assert_same_contents(fewer, tiny_run)
    assert fewer.spec.samples == 12


def test_fewer_samples_of_a_partial_run_take_it_no_further(
    tiny_model, tiny_spec, tiny_run, tmp_path
):
    with pytest.raises(Interrupted):
        extract(tiny_model, tiny_spec, tmp_path, stop=stop_after(5))
    some = extract(tiny_model, dataclasses.replace(tiny_spec, samples=7), tmp_path)
    assert [(shard.start, shard.stop) for shard in some.shards] == [
        (0, 5),
        (5, 7),
    ] and not some.complete
    whole = extract(tiny_model, tiny_spec, tmp_path)
    assert whole.complete and whole.sample_ids.tolist() == list(range(12))
    assert np.abs(whole.images.astype(int) - tiny_run.images).max() <= 1


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"eta": 0.5}, {"steps": 5}, {"store": {"h": "pooled"}}], ids=str
)
def test_what_changes_a_sample_or_what_is_kept_makes_another_run(
    tiny_model, tiny_spec, tiny_run, tmp_path, change
):
    other = extract(tiny_model, dataclasses.replace(tiny_spec, samples=2, **change), tmp_path)
    assert other.name != tiny_run.name
    if "store" not in change:
        assert not np.array_equal(other.images, tiny_run.images[:2])
    if "seed" in change:
        assert np.abs(other.images[0].astype(int) - tiny_run.images[1]).max() <= 1, (
            "sample 0 has its neighbour's seed"
        )


def test_progress_goes_forward_to_the_end(tiny_model, tiny_spec, tmp_path):
    seen = []
    extract(tiny_model, tiny_spec, tmp_path, report=seen.append)
    work = [progress.work for progress in seen]
    assert work == sorted(work) and work[-1] == 12 and len(seen) == 3 * 4 + 1
    assert {progress.done for progress in seen} == {0, 5, 10, 12} and {p.total for p in seen} == {
        12
    }


def test_a_reader_meets_whole_shards_only(tiny_model, tiny_spec, tmp_path):
    """Whenever a run is opened while it is being written, all it lists can be read."""
    lengths = []

    def look(_):
        run = open_run(tiny_spec.name, tmp_path)
        lengths.append(len(run))
        assert run.matrix("h", 3).shape[0] == len(run.images) == len(run)

    extract(tiny_model, tiny_spec, tmp_path, report=look)
    assert sorted(set(lengths)) == [0, 5, 10, 12]


def test_what_a_killed_extraction_left_is_swept(tiny_model, tiny_spec, tiny_run, tmp_path):
    with pytest.raises(Interrupted):
        extract(tiny_model, tiny_spec, tmp_path, stop=stop_after(6))
    folder = tmp_path / "runs" / tiny_spec.name
    for start in (5, 7):  # one that is written again, and one that is not
        (folder / SHARDS / f"{start:08d}.h5.partial").write_bytes(b"half a shard")
    (folder / SHARDS / "00000010.h5").write_bytes(b"renamed, but not in the manifest")
    with (folder / "manifest.jsonl").open("ab") as file:
        file.write(b'{"start": 5, "st')
    assert len(open_run(folder)) == 5
    run = extract(tiny_model, tiny_spec, tmp_path)
    assert_same_contents(run, tiny_run)
    assert not list((folder / SHARDS).glob("*.partial"))


@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_spoilt_shard_is_replaced_as_its_error_promises(
    copied_run, tiny_model, tiny_run, tmp_path, harm
):
    path = copied_run.folder / SHARDS / copied_run.shards[1].file
    path.write_bytes(path.read_bytes()[:3000]) if harm == "cut" else path.unlink()
    with pytest.raises(CacheError, match="repair .* to replace it"):
        copied_run.matrix("h", 0)
    assert_same_contents(extract(tiny_model, copied_run.spec, tmp_path / "copy"), tiny_run)


def test_two_extractors_do_not_meet(tiny_model, tiny_spec, tmp_path):
    folder = tmp_path / "runs" / tiny_spec.name
    folder.mkdir(parents=True)
    with FileLock(folder / LOCK), pytest.raises(RunBusyError, match=tiny_spec.name):
        extract(tiny_model, tiny_spec, tmp_path)
    inner = []

    def intrude(_):
        if not inner:
            with pytest.raises(RunBusyError) as caught:
                extract(tiny_model, tiny_spec, tmp_path)
            inner.append(caught)

    assert extract(tiny_model, tiny_spec, tmp_path, report=intrude).complete and inner


def disk_with(monkeypatch, free):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(free, 0, free))


def test_a_run_that_does_not_fit_is_refused_before_it_begins(
    tiny_model, tiny_spec, tmp_path, monkeypatch
):
    needed = make_plan(tiny_spec, tiny_model.anatomy).total
    disk_with(monkeypatch, needed - 1)
    with pytest.raises(NoSpaceError, match="store less"):
        extract(tiny_model, tiny_spec, tmp_path)
    assert not list((tmp_path / "runs" / tiny_spec.name).rglob("*.h5*"))
    disk_with(monkeypatch, needed)
    assert extract(tiny_model, tiny_spec, tmp_path).complete


def test_only_what_is_missing_must_fit(tiny_model, tiny_spec, tmp_path, monkeypatch):
    with pytest.raises(Interrupted):
        extract(tiny_model, tiny_spec, tmp_path, stop=stop_after(9))
    disk_with(
        monkeypatch, make_plan(tiny_spec, tiny_model.anatomy).total // 5
    )  # 2 of 12 samples are missing
    assert extract(tiny_model, tiny_spec, tmp_path).complete
    disk_with(monkeypatch, 0)
    assert extract(tiny_model, tiny_spec, tmp_path).complete, "nothing is missing"


@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, NoSpaceError), (errno.EIO, CacheError)])
def test_a_disk_that_fails_midway_costs_the_shard_in_work(
    tiny_model, tiny_spec, tiny_run, tmp_path, monkeypatch, code, kind
):
    write_x = ShardWriter.write_x

    def failing(self, index, values):
        if (self.start, index) == (5, 2):
            raise OSError(code, "the disk says no")
        write_x(self, index, values)

    with monkeypatch.context() as patched:
        patched.setattr(ShardWriter, "write_x", failing)
        with pytest.raises(kind, match=tiny_spec.name):
            extract(tiny_model, tiny_spec, tmp_path)
    folder = tmp_path / "runs" / tiny_spec.name
    assert [shard.start for shard in read_manifest(folder)] == [0]
    assert [path.name for path in (folder / SHARDS).iterdir()] == ["00000000.h5"]
    assert_same_contents(extract(tiny_model, tiny_spec, tmp_path), tiny_run)


@pytest.mark.parametrize(
    "place", ["open", "write", "close", "fsync", "rename", "manifest", "index"]
)
def test_a_disk_that_is_full_at_any_place_loses_nothing_and_says_what_is_missing(
    tiny_model, tiny_spec, tiny_run, tmp_path, monkeypatch, place
):
    """At the second shard; and the same call goes on when there is space."""
    from hcache.cache import files, hdf5, index, shards

    target, name = {
        "open": (shards.ShardWriter, "__init__"),
        "write": (shards.ShardWriter, "write_images"),
        "close": (hdf5.Output, "close"),
        "fsync": (files.os, "fsync"),
        "rename": (files.os, "replace"),
        "manifest": (shards, "append_to_manifest"),
        "index": (index, "replacing_hdf5"),
    }[place]
    whole, second = getattr(target, name), []

    def full(*arguments, **options):
        if second:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(target, name, full)
        report = lambda progress: second.append(1) if progress.done == 5 and progress.step else None  # noqa: E731
        needed = make_plan(tiny_spec, tiny_model.anatomy).total
        disk_with(patched, needed)
        if place == "open":
            report = lambda progress: second.append(1) if progress.step == 4 else None  # noqa: E731
        with pytest.raises(NoSpaceError, match="more are needed, .* are free") as caught:
            extract(tiny_model, tiny_spec, tmp_path, report=report)
    assert tiny_spec.name in str(caught.value)
    folder = tmp_path / "runs" / tiny_spec.name
    kept = [shard.start for shard in read_manifest(folder)]
    assert kept == ([0, 5] if place == "index" else [0]) and not list(folder.rglob("*.partial"))
    open_run(folder).matrix("h", 0)
    assert_same_contents(extract(tiny_model, tiny_spec, tmp_path), tiny_run)


def test_impossible_runs_are_refused_in_words(tiny_model, tiny_spec, tmp_path):
    with pytest.raises(UnknownSiteError, match="skip.9"):
        extract(tiny_model, dataclasses.replace(tiny_spec, store={"skip.9": "full"}), tmp_path)
    with pytest.raises(UsageError, match="1 to 1000"):
        extract(tiny_model, dataclasses.replace(tiny_spec, steps=1001), tmp_path)


def test_every_spacing_of_steps_stores_one_row_a_step(tiny_folder, tiny_model, tmp_path):
    """61 steps: there diffusers' trailing spacing counts one too many."""
    from diffusers import DDIMScheduler

    from hcache.cards import default_spec

    model = dataclasses.replace(tiny_model, scheduler=DDIMScheduler(timestep_spacing="trailing"))
    run = extract(
        model, default_spec(str(tiny_folder), samples=1, steps=61, store={"h": "pooled"}), tmp_path
    )
    arrays = {name: array for (_, _, name), array in contents(run).items()}
    assert (
        len(run.timesteps)
        == len(arrays["timestep"])
        == len(arrays["h"])
        == len(arrays["x_0"])
        == 61
    )
    assert len(arrays["x"]) == 62
    assert len({row.tobytes() for row in arrays["h"]}) == 61


def test_provenance_tells_what_made_a_run(tiny_run, tiny_model):
    made = tiny_run.provenance
    assert made["model"] == tiny_run.spec.model and len(made["alpha_bar"]) == 4
    assert set(made["libraries"]) >= {"torch", "diffusers"}
    assert made["scheduler"]["num_train_timesteps"] == 1000
    assert len(tiny_run.spec.weights) == 64
