"""What is written is what is read; what was not finished is not there; a run weighs what was
foretold.
"""

import dataclasses
import errno
import json
import random
import shutil
from collections import namedtuple

import h5py
import numpy as np
import pytest
from tiny import synthetic_run

from hcache.cache.layout import MANIFEST, SHARDS
from hcache.cache.manifest import Shard, append_to_manifest, missing_ranges, read_manifest
from hcache.cache.plan import format_bytes, make_plan, preview_shape, site_bytes
from hcache.cache.shards import ShardWriter, explain_write_error
from hcache.errors import CacheError, NoSpaceError, UnknownSiteError
from hcache.specs import Anatomy, RunSpec

SHAPE = (3, 4, 4)


def written(folder, steps, store_dtype="float16"):
    """What a shard holds of ``h`` after these values (n, c, h, w), one array a step."""
    count = len(steps[0])
    with ShardWriter(folder, 0, np.arange(count), np.arange(len(steps)), store_dtype) as writer:
        for step, values in enumerate(steps):
            writer.write_activation(step, "h", values)
        shard = writer.commit()
    with h5py.File(folder / SHARDS / shard.file, "r") as file:
        return file["h"][()]


def normal(seed, scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=(5, *SHAPE))).astype(np.float32)


def test_float16_keeps_values_to_half_precision(tmp_path):
    steps = [normal(0), normal(1, 1e3), normal(2, 1e-3)]
    found = written(tmp_path, steps)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, np.stack(steps).astype(np.float16))
    np.testing.assert_allclose(found, steps, rtol=2**-11, atol=2**-24)


def test_float32_keeps_values_exactly(tmp_path):
    steps = [normal(0), normal(1, 1e6)]
    found = written(tmp_path, steps, "float32")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, steps)


@pytest.mark.parametrize("loud", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize("value", [65520.0, -1e5, 3e38])
def test_what_half_precision_cannot_hold_is_kept_in_single(tmp_path, loud, value):
    steps = [normal(seed) for seed in range(3)]
    steps[loud][2, 1, 3, 0] = value
    found = written(tmp_path, steps)
    assert found.dtype == np.float32 and found[loud, 2, 1, 3, 0] == np.float32(value)
    np.testing.assert_allclose(found, steps, rtol=2**-11, atol=2**-24)
    np.testing.assert_array_equal(found[loud], steps[loud])


def test_from_the_first_step_that_does_not_fit_on_all_are_exact(tmp_path):
    steps = [normal(seed) for seed in range(3)]
    steps[1][0, 0, 0, 0] = 1e6
    found = written(tmp_path, steps)
    np.testing.assert_array_equal(found[1], steps[1])
    np.testing.assert_array_equal(found[2], steps[2])


def test_what_was_widened_is_told(tmp_path, capsys):
    spec = RunSpec(model="m", samples=2, steps=1)
    h = np.ones((1, 2, 1, 2, 2), np.float32)
    assert synthetic_run(tmp_path / "fits", spec, h).widened == ()
    run = synthetic_run(tmp_path / "does not", spec, h * 1e6)
    assert run.widened == ("h",) and (run.matrix("h", 0) == 1e6).all()


def test_the_largest_half_needs_no_widening(tmp_path):
    values = np.full((5, *SHAPE), 65504, np.float32)
    found = written(tmp_path, [values])
    assert found.dtype == np.float16 and (found == 65504).all()


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_one_broken_value_costs_no_other(tmp_path, broken):
    """A sample that is not finite must not turn another's large values into infinities."""
    values = normal(0)
    values[0, 0, 0, 0], values[1, 0, 0, 0] = broken, 1e5
    found = written(tmp_path, [values])
    assert float(found[0, 1, 0, 0, 0]) == 1e5
    np.testing.assert_equal(found[0, 0, 0, 0, 0], np.float32(broken))


def test_a_shard_that_is_not_committed_leaves_nothing(tmp_path):
    with (
        pytest.raises(RuntimeError),
        ShardWriter(tmp_path, 0, np.arange(2), np.arange(1), "float16") as writer,
    ):
        writer.write_activation(0, "h", normal(0)[:2])
        assert list((tmp_path / SHARDS).iterdir())
        raise RuntimeError
    assert not list((tmp_path / SHARDS).iterdir()) and read_manifest(tmp_path) == []


def test_a_shard_describes_itself(tmp_path):
    """Dimension labels and scales: what h5py or any HDF5 viewer shows without this package."""
    with ShardWriter(tmp_path, 6, np.array([106, 107]), np.array([9, 5, 1]), "float16") as writer:
        for step in range(3):
            writer.write_activation(step, "h", normal(0)[:2])
            writer.write_activation(step, "skip.1.0", normal(0)[:2].mean((2, 3)))
        writer.write_labels("set", {"b": np.array([1.0, 2.0]), "a": np.array([np.nan, 0.5])})
        shard = writer.commit()
    assert (shard.start, shard.stop, shard.file) == (6, 8, "00000006.h5")
    with h5py.File(tmp_path / SHARDS / shard.file, "r") as file:
        assert [d.label for d in file["h"].dims] == ["step", "sample", "channel", "height", "width"]
        assert [d.label for d in file["skip.1.0"].dims] == ["step", "sample", "channel"]
        assert file["h"].dims[0][0][()].tolist() == [9, 5, 1] and file["h"].dims[1][0][
            ()
        ].tolist() == [106, 107]
        assert list(file["labels/set"]) == ["b", "a"] and file["labels/set/a"].dtype == np.float32


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EDQUOT, "full"),
        OSError(errno.EFBIG, "full"),
        OSError("write failed: No space left on device"),
        OSError("file write failed: errno = 27, 'File too large'"),
    ],
    ids=str,
)
def test_a_full_disk_is_told_from_other_failures_and_what_is_missing(tmp_path, monkeypatch, error):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**7, 8 * 10**6, 2 * 10**6))
    found = explain_write_error(error, tmp_path, 5 * 10**6)
    assert isinstance(found, NoSpaceError)
    assert "5.0 MB more are needed, 2.0 MB are free, 3.0 MB are missing" in str(found)
    assert "quota or a limit" in str(explain_write_error(error, tmp_path, 10**6)), (
        "nothing is missing on the disk"
    )
    other = explain_write_error(OSError(errno.EIO, "broken"), tmp_path, 5)
    assert (
        isinstance(other, CacheError)
        and not isinstance(other, NoSpaceError)
        and "broken" in str(other)
    )


def shards(*ranges):
    return [
        Shard(start=a, stop=b, file=f"{a:08d}.h5", bytes=1, checksum="xxh3_128:" + "0" * 32)
        for a, b in ranges
    ]


def test_a_manifest_cut_anywhere_loses_its_last_line_at_most(tmp_path):
    entries = shards((0, 8), (8, 16), (16, 20))
    for entry in entries:
        append_to_manifest(tmp_path, entry)
    path = tmp_path / MANIFEST
    whole = path.read_bytes()
    assert read_manifest(tmp_path) == entries and whole.count(b"\n") == 3
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        assert read_manifest(tmp_path) == entries[: whole[:cut].count(b"\n")], cut


def test_a_line_after_a_torn_one_is_whole(tmp_path):
    entries = shards((0, 8), (8, 16))
    for entry in entries:
        append_to_manifest(tmp_path, entry)
    path = tmp_path / MANIFEST
    whole = path.read_bytes()
    (new,) = shards((16, 20))
    for cut in range(whole.index(b"\n") - 3, len(whole) + 1, 5):
        path.write_bytes(whole[:cut])
        append_to_manifest(tmp_path, new)
        assert read_manifest(tmp_path) == [*entries[: whole[:cut].count(b"\n")], new], cut


@pytest.mark.parametrize(
    "line",
    [b"{}", b"[]", b"not json", b"\xff\xfe", b'{"start": "0"}']
    + [
        json.dumps({"start": 0, "stop": 4, "bytes": 1, "checksum": "sha256:", **changes}).encode()
        for changes in (
            {"file": "../../elsewhere.h5"},
            {"file": "/etc/passwd"},
            {"file": ".hidden"},
            {"file": "a.h5", "stop": 0},
            {"file": "a.h5", "start": -1},
            {"file": "a.h5", "start": "0"},
            {"file": 3},
            {"file": "00000000.h5", "checksum": "md5:0"},
            {"file": "00000000.h5", "checksum": None},
            {"file": "00000000.h5", "sha256": 5},
        )
    ],
)
def test_a_line_that_is_no_shard_is_an_error_with_its_number(tmp_path, line):
    append_to_manifest(tmp_path, *shards((0, 4)))
    with (tmp_path / MANIFEST).open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(CacheError, match="line 2"):
        read_manifest(tmp_path)


def test_a_shard_takes_the_place_of_those_it_overlaps(tmp_path):
    """Two shards that were lost may be made again as two others."""
    for entry in shards((0, 5), (5, 7), (7, 12), (12, 15), (5, 10)):
        append_to_manifest(tmp_path, entry)
    assert [(shard.start, shard.stop) for shard in read_manifest(tmp_path)] == [
        (0, 5),
        (5, 10),
        (12, 15),
    ]
    append_to_manifest(tmp_path, *shards((10, 12)))
    assert [shard.stop for shard in read_manifest(tmp_path)] == [5, 10, 12, 15]


def test_the_first_shard_may_be_smaller_and_the_others_are_cut_where_they_were():
    assert missing_ranges([], 20, 8, first=2) == [(0, 2), (2, 8), (8, 16), (16, 20)]
    assert missing_ranges(shards((0, 2)), 20, 8, first=2) == [
        (2, 8),
        (8, 16),
        (16, 20),
    ], "gone on with"
    assert missing_ranges(shards((0, 8)), 20, 8, first=2) == [(8, 16), (16, 20)], "of before"
    assert missing_ranges([], 2, 8, first=2) == [(0, 2)] and missing_ranges([], 1, 8, first=2) == [
        (0, 1)
    ]


@pytest.mark.parametrize("first", [0, 2])
def test_missing_ranges_cover_what_is_missing_once_in_batches(first):
    rng = random.Random(0)
    for _ in range(500):
        bounds = sorted(rng.sample(range(60), 2 * rng.randrange(5)))
        there = shards(*zip(bounds[::2], bounds[1::2], strict=True))
        samples, batch = rng.randrange(1, 60), rng.randrange(1, 9)
        ranges = missing_ranges(there, samples, batch, first)
        assert all(0 < stop - start <= batch for start, stop in ranges)
        covered = [i for start, stop in ranges for i in range(start, stop)]
        held = {i for shard in there for i in range(shard.start, shard.stop)}
        assert covered == [i for i in range(samples) if i not in held], (there, samples, batch)


ANATOMY = Anatomy(
    x=(3, 64, 64),
    image=(64, 64, 3),
    h=(128, 8, 8),
    skips=(
        ((128, 8, 8), (128, 8, 8), (96, 8, 8)),
        ((96, 16, 16), (96, 16, 16), (64, 16, 16)),
        ((64, 32, 32),) * 2,
    ),
)


@pytest.mark.parametrize("store_dtype", ["float16", "float32"])
@pytest.mark.parametrize(
    "store",
    [{"h": "full"}, {"h": "full", "skip.1": "full", "skip.2": "pooled", "skip.3": "none"}, {}],
    ids=len,
)
def test_a_shard_weighs_what_was_foretold(tmp_path, store, store_dtype):
    spec = RunSpec(model="m", samples=8, steps=20, batch=8, store=store, store_dtype=store_dtype)
    plan = make_plan(spec, ANATOMY)
    n, rng = spec.samples, np.random.default_rng(0)
    with ShardWriter(tmp_path, 0, np.arange(n), np.arange(spec.steps), store_dtype) as writer:
        for step in range(spec.steps):
            for site, policy in spec.store.items():
                for member in ANATOMY.members(site):
                    values = rng.normal(size=(n, *ANATOMY.shape(member))).astype(np.float32)
                    writer.write_activation(
                        step, member, values if policy == "full" else values.mean((2, 3))
                    )
            writer.write_x(step, np.zeros((n, *ANATOMY.x), np.float32))
            writer.write_x_0(step, np.zeros((n, *preview_shape(ANATOMY.image)), np.uint8))
        writer.write_x(spec.steps, np.zeros((n, *ANATOMY.x), np.float32))
        writer.write_images(np.zeros((n, *ANATOMY.image), np.uint8))
        shard = writer.commit()
    on_disk = (tmp_path / SHARDS / shard.file).stat().st_size
    assert shard.bytes == on_disk
    assert plan.total == pytest.approx(on_disk, rel=0.02)
    assert list(plan.parts) == [*spec.store, "x", "x_0", "image", "overhead"]


def test_a_plan_grows_with_samples_and_steps():
    spec = RunSpec(model="m", samples=16, steps=10, store={"h": "full", "skip.2": "pooled"})
    plan, twice = (
        make_plan(spec, ANATOMY),
        make_plan(dataclasses.replace(spec, samples=32), ANATOMY),
    )
    overheads = plan.parts.pop("overhead"), twice.parts.pop("overhead")
    assert overheads[0] < overheads[1] < 2 * overheads[0], "shards double, the index does not"
    assert {part: 2 * size for part, size in plan.parts.items()} == twice.parts
    assert plan.parts["h"] == 16 * 10 * 2 * 128 * 8 * 8
    assert plan.parts["skip.2"] == 16 * 10 * 2 * (96 + 96 + 64)
    assert sum(site_bytes(ANATOMY, site, "none", 2) for site in ANATOMY.sites) == 0
    with pytest.raises(UnknownSiteError, match="did you mean skip.3"):
        make_plan(dataclasses.replace(spec, store={"skip.33": "full"}), ANATOMY)


@pytest.mark.parametrize("size", [1, 16, 63, 64, 65, 100, 256, 1024])
def test_previews_are_no_larger_than_64_pixels_and_keep_the_format(size):
    side, other, _ = preview_shape((size, size, 3))
    assert side == other and (side == size if size <= 64 else 32 <= side <= 64)
    height, width, _ = preview_shape((size, 2 * size, 3))
    assert 1 <= height and width <= 64 and width == pytest.approx(2 * height, abs=2)


def test_bytes_are_written_as_disks_are_sold():
    assert [format_bytes(n) for n in (0, 999, 1000, 1_234_567, 2_500_000_000, 7.2e12, 9.9e15)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.2 MB",
        "2.5 GB",
        "7.2 TB",
        "9900 TB",
    ]


def test_a_run_of_many_shards_reads_as_one(tmp_path):
    h = np.random.default_rng(0).normal(size=(2, 9, *SHAPE)).astype(np.float32)
    spec = RunSpec(model="m", samples=9, steps=2, store_dtype="float32")
    run = synthetic_run(tmp_path, spec, h, [(0, 4), (4, 5), (5, 9)])
    for step in range(2):
        np.testing.assert_array_equal(run.matrix("h", step), h[step].reshape(9, -1))
        for sample in range(9):
            np.testing.assert_array_equal(run.features(sample, step).h, h[step, sample])
