"""``index.h5`` while a run grows: as new as the manifest at every commit, at the cost of one
shard.
"""

import dataclasses

import h5py
import numpy as np
import pytest
from tiny import synthetic_run

from hcache.cache import index as index_module
from hcache.cache.hdf5 import Malformed
from hcache.cache.index import IndexWriter, index_is_behind, seeds_of_index, write_index
from hcache.cache.layout import INDEX, SEED, SHARDS
from hcache.cache.reading import open_run
from hcache.errors import CacheError, Interrupted
from hcache.extraction.run import extract
from hcache.specs import RunSpec

SPEC = RunSpec(model="m", samples=9, steps=2)
SHAPE = (2, 9, 3, 2, 2)


@pytest.fixture
def opened(monkeypatch):
    """The shards that the index opens, by name, in order."""
    names, open_file = [], index_module.opened

    def counted(path):
        names.append(path.name)
        return open_file(path)

    monkeypatch.setattr(index_module, "opened", counted)
    return names


def read(folder, name="h"):
    with h5py.File(folder / INDEX, "r") as file:
        return file[name][()]


def run_of(tmp_path, h=None, shards=((0, 4), (4, 5), (5, 9))):
    h = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32) if h is None else h
    return synthetic_run(tmp_path, SPEC, h, list(shards)), h


def test_at_every_commit_the_index_holds_what_the_manifest_does(
    tiny_model, tiny_spec, tiny_run, tmp_path
):
    folder, seen = tmp_path / "runs" / tiny_spec.name, []

    def look(progress):
        committed = len(open_run(folder))
        if committed and progress.step:
            found = read(folder)
            assert found.shape[1] == committed
            np.testing.assert_array_equal(
                found.reshape(4, committed, -1)[2], tiny_run.matrix("h", 2)[:committed]
            )
            seen.append(committed)

    extract(tiny_model, tiny_spec, tmp_path, report=look)
    assert set(seen) == {5, 10} and read(folder).shape[1] == 12
    assert not list(folder.rglob("*.partial"))


def test_no_shard_is_opened_twice_however_many_follow(tmp_path, opened):
    run, _ = run_of(tmp_path)
    index = IndexWriter(run.folder, 0)
    for shard in run.shards:
        index.add(shard)
        index.write()
        assert read(run.folder).shape[1] == shard.stop
    assert [name for name in opened if name != INDEX] == [shard.file for shard in run.shards]


def test_a_dtype_that_widens_on_the_way_loses_nothing(tmp_path):
    h = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    h[1, 6] *= 1e6  # in the last shard
    run, _ = run_of(tmp_path, h)
    assert run.widened == ("h",)
    index, dtypes = IndexWriter(run.folder, 0), []
    for shard in run.shards:
        index.add(shard)
        index.write()
        dtypes.append(read(run.folder).dtype)
    assert dtypes == [np.float16, np.float16, np.float32]
    np.testing.assert_array_equal(read(run.folder).reshape(2, 9, -1)[1], run.matrix("h", 1))


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0), (2, 1, 0)], ids=str)
def test_shards_that_come_out_of_order_stand_in_order(tmp_path, order):
    """As after a repair."""
    run, h = run_of(tmp_path)
    index = IndexWriter(run.folder, 100, [run.shards[i] for i in order])
    index.write()
    np.testing.assert_array_equal(read(run.folder), h.astype(np.float16))
    assert read(run.folder, "seed").tolist() == list(range(100, 109))


def test_what_some_shard_lacks_is_left_out(tmp_path):
    run, h = run_of(tmp_path)
    with h5py.File(run.folder / SHARDS / run.shards[1].file, "a") as file:
        file["labels/mine/size"] = np.zeros(1, np.float32)
    write_index(run)
    with h5py.File(run.folder / INDEX, "r") as file:
        assert "labels" not in file
    np.testing.assert_array_equal(read(run.folder), h.astype(np.float16))


def test_a_reader_keeps_the_index_it_opened(tmp_path):
    run, h = run_of(tmp_path)
    index = IndexWriter(run.folder, 0, run.shards[:1])
    index.write()
    with h5py.File(run.folder / INDEX, "r") as held:
        for shard in run.shards[1:]:
            index.add(shard)
            index.write()
        np.testing.assert_array_equal(held["h"][()], h[:, :4].astype(np.float16))
    assert read(run.folder).shape[1] == 9


def test_an_index_that_is_behind_is_brought_up_to_date(tiny_model, copied_run, tmp_path):
    """A kill between a commit and the index: nothing is left to extract, and the index is
    written all the same.
    """
    IndexWriter(copied_run.folder, 0, copied_run.shards[:1]).write()
    assert (
        index_is_behind(copied_run.folder, 0, copied_run.shards)
        and read(copied_run.folder).shape[1] == 5
    )
    extract(tiny_model, copied_run.spec, tmp_path / "copy")
    assert read(copied_run.folder).shape[1] == 12 and not index_is_behind(
        copied_run.folder, 0, copied_run.shards
    )
    before = (copied_run.folder / INDEX).stat().st_ino
    extract(tiny_model, copied_run.spec, tmp_path / "copy")
    assert (copied_run.folder / INDEX).stat().st_ino == before, "a whole run is left alone"


def test_an_interrupted_run_has_its_index(tiny_model, tiny_spec, tmp_path):
    asked = iter([False] * 5 + [True])
    with pytest.raises(Interrupted):
        extract(tiny_model, tiny_spec, tmp_path, stop=lambda: next(asked))
    assert read(tmp_path / "runs" / tiny_spec.name).shape[1] == 5


def test_a_shard_that_is_spoilt_names_the_cure(copied_run, tiny_model, tmp_path):
    path = copied_run.folder / SHARDS / copied_run.shards[1].file
    path.write_bytes(bytes(path.stat().st_size))
    more = dataclasses.replace(copied_run.spec, samples=13)
    with pytest.raises(CacheError, match=f"{path.name}.*hcache repair"):
        extract(tiny_model, more, tmp_path / "copy")


def test_seeds_that_are_a_group_are_none(tmp_path):
    with h5py.File(tmp_path / INDEX, "w") as file:
        file.create_group(SEED)
    with pytest.raises(Malformed, match="seed is no array of numbers"):
        seeds_of_index(tmp_path)
