"""A run of 20,000 samples: opening it opens no shard, finding a sample looks at one, and one
step streams.
"""

import json
import tracemalloc

import h5py
import numpy as np
import pytest
from msgspec.structs import asdict
from tiny import synthetic_run

from hcache.cache.labels import label_names, named_labels
from hcache.cache.layout import MANIFEST, run_names
from hcache.cache.manifest import Shard
from hcache.cache.reading import AHEAD, Run, open_run
from hcache.cli.runs import run_facts
from hcache.errors import NotStoredError, UsageError
from hcache.specs import RunSpec

SHARDS, BATCH = 2500, 8
SAMPLES = SHARDS * BATCH


@pytest.fixture
def large(tmp_path):
    """The description and the manifest of such a run; its shards are not there, so nothing can
    open them.
    """
    spec = RunSpec(model="m", samples=SAMPLES, steps=4, batch=BATCH)
    run = synthetic_run(tmp_path, spec, np.zeros((4, 0, 1, 2, 2), np.float32), [])
    zeros = "xxh3_128:" + "0" * 32
    entries = [
        Shard(
            start=i * BATCH,
            stop=(i + 1) * BATCH,
            file=f"{i * BATCH:08d}.h5",
            bytes=10,
            checksum=zeros,
        )
        for i in range(SHARDS)
    ]
    lines = "".join(json.dumps(asdict(entry)) + "\n" for entry in entries)
    (run.folder / MANIFEST).write_text(lines)
    return run.folder


def test_opening_20000_samples_opens_no_shard(large, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a shard was opened")

    monkeypatch.setattr(h5py, "File", refuse)
    run = open_run(large)
    assert len(run) == SAMPLES and run.complete and run.bytes == 10 * SHARDS
    assert run.sample_ids[[0, -1]].tolist() == [0, SAMPLES - 1]


class Counted(tuple):
    """Shards that count how often one of them is looked at."""

    looks = 0

    def __getitem__(self, number):
        Counted.looks += 1
        return super().__getitem__(number)

    def __iter__(self):
        Counted.looks += len(self)
        return super().__iter__()


def test_finding_a_sample_looks_at_its_shard_alone(large):
    run = open_run(large)
    object.__setattr__(run, "shards", Counted(run.shards))
    assert [run.position(s) for s in (0, 7, 8, SAMPLES - 1)] == [0, 7, 8, SAMPLES - 1]
    Counted.looks = 0
    for sample in range(0, SAMPLES, 20):
        assert (
            run.position(sample) == sample
            and len(run) == SAMPLES
            and run.sample_ids[sample] == sample
        )
    assert Counted.looks <= 4 * SAMPLES // 20 + SHARDS
    for sample in (-1, SAMPLES, 10**9):
        with pytest.raises(UsageError, match=f"{SAMPLES} of {SAMPLES}"):
            run.position(sample)


def test_samples_are_found_around_a_gap(tmp_path):
    h = np.arange(2 * 9, dtype=np.float32).reshape(2, 9, 1, 1, 1)
    spec = RunSpec(model="m", samples=30, steps=2, store_dtype="float32")
    run = synthetic_run(tmp_path, spec, h, [(3, 5), (10, 11), (20, 26)])
    assert [run.position(int(s)) for s in run.sample_ids] == list(range(9))
    assert [float(run.row("h", int(s), 1).item()) for s in run.sample_ids] == h[1].ravel().tolist()
    for sample in (0, 2, 5, 9, 11, 19, 26):
        with pytest.raises(UsageError):
            run.position(sample)


SHAPE = (64, 16, 16)
WIDE = RunSpec(model="m", samples=96, steps=2, batch=4)
STORED = 4 * 2 * 64 * 16 * 16
BEING_READ = (2 * AHEAD + 1) * STORED
"""Every thread may hold what it reads and a copy of it, and the caller what it just took."""


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """24 shards; a step of h is 6.3 MB in float32, and a shard's part of it 0.26 (stored 0.13)."""
    h = np.random.default_rng(0).normal(size=(2, 96, *SHAPE)).astype(np.float16).astype(np.float32)
    run = synthetic_run(
        tmp_path_factory.mktemp("wide"), WIDE, h, [(i, i + 4) for i in range(0, 96, 4)]
    )
    return run, h


def peak_of(work):
    """The most memory that Python and numpy held at once meanwhile, in bytes, and the result."""
    tracemalloc.start()
    try:
        result = work()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def test_one_step_of_all_samples_takes_the_memory_of_the_result_and_of_what_is_being_read(wide):
    run, h = wide
    peak, matrix = peak_of(lambda: run.matrix("h", 1))
    np.testing.assert_array_equal(matrix, h[1].reshape(96, -1))
    assert BEING_READ < matrix.nbytes / 4
    assert matrix.nbytes <= peak < matrix.nbytes + BEING_READ


def test_blocks_are_the_matrix_a_shard_at_a_time(wide):
    run, h = wide
    peak, lengths = peak_of(lambda: [len(block) for block in run.blocks("h", 0)])
    assert lengths == [4] * 24 and peak < BEING_READ + 4 * STORED < h[0].nbytes / 3
    blocks = list(run.blocks("h", 0))
    assert all(block.dtype == np.float32 and block.shape[1] == run.width("h") for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), run.matrix("h", 0))


def test_the_mean_over_space_streams_too(wide):
    run, h = wide
    peak, pooled = peak_of(lambda: run.pooled("h", 1))
    np.testing.assert_allclose(pooled, h[1].mean((2, 3)), atol=1e-5)
    assert peak < BEING_READ + 4 * STORED


def test_widths_and_rows_are_those_of_the_matrix_however_a_site_is_stored(tiny_run):
    for site in (*tiny_run.anatomy.sites, "x"):
        matrix = tiny_run.matrix(site, 2)
        assert matrix.shape == (12, tiny_run.width(site))
        members = tiny_run.anatomy.members(site) if site != "x" else ("x",)
        row = np.concatenate([tiny_run.row(member, 7, 2).ravel() for member in members])
        np.testing.assert_array_equal(row, matrix[7])


def test_what_cannot_be_had_is_refused_before_anything_is_read(tiny_run, tmp_path):
    with pytest.raises(UsageError, match="step"):
        tiny_run.blocks("h", 99)
    bare = synthetic_run(
        tmp_path, RunSpec(model="m", samples=2, steps=1, store={}), np.zeros((1, 2, 1, 2, 2))
    )
    with pytest.raises(NotStoredError):
        bare.blocks("h", 0)


def test_a_million_samples_open_and_are_described_without_a_shard(tmp_path, monkeypatch):
    """Simulated: the manifest of 62,500 shards, of which none is there."""
    count, batch = 62_500, 16
    spec = RunSpec(model="m", samples=count * batch, steps=4, batch=batch)
    run = synthetic_run(tmp_path, spec, np.zeros((4, 0, 1, 2, 2), np.float32), [])
    lines = (
        f'{{"start": {i * batch}, "stop": {(i + 1) * batch}, "file": "{i * batch:08d}.h5",'
        f' "bytes": 10, "checksum": "xxh3_128:{"0" * 32}"}}\n'
        for i in range(count)
    )
    (run.folder / MANIFEST).write_text("".join(lines))
    monkeypatch.setattr(Run, "open_shard", None)
    found = open_run(run.folder)
    assert run_facts(found)["samples"] == found.spec.samples == 10**6 and found.complete
    assert found.position(999_999) == 999_999 and run_names(found.home) == [found.name]


def test_one_picture_and_the_names_of_labels_open_one_shard(tiny_run, monkeypatch):
    opened = []
    real = Run.open_shard
    monkeypatch.setattr(Run, "open_shard", lambda s, shard: opened.append(shard) or real(s, shard))
    run = open_run(tiny_run.folder)
    names = label_names(run)
    assert len(opened) == (1 if run.shards else 0)
    picture = run.picture(7)
    assert [shard.start for shard in opened[1:]] == [5]
    np.testing.assert_array_equal(picture, run.images[7])
    assert names == list(named_labels(run))


@pytest.mark.cluster  # with the others' requirements
def test_the_index_opens_lazily_in_dask(tiny_run):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("dask")
    index = tiny_run.folder / "index.h5"
    with xarray.open_dataset(index, engine="h5netcdf", chunks={"timestep": 1, "seed": 5}) as found:
        assert found["h"].chunks[:2] == ((1, 1, 1, 1), (5, 5, 2))
    with xarray.open_dataset(index, engine="h5netcdf", chunks={}) as found:
        h = found["h"]
        assert h.chunks is not None and h.dims[:2] == ("timestep", "seed")
        mean = h.isel(timestep=1).mean("seed").compute()
        np.testing.assert_allclose(
            mean.to_numpy().ravel(), tiny_run.matrix("h", 1).mean(0), rtol=1e-2, atol=1e-3
        )
