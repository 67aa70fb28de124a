"""All ways of reading a run agree; what is not a run, or not in it, is refused in words."""

import json

import numpy as np
import pytest
import torch

from hcache.cache import half_floats
from hcache.cache.layout import RUN_JSON, SCHEMA, SHARDS, run_folder, run_names
from hcache.cache.reading import open_run
from hcache.errors import CacheError, NotStoredError, UnknownRunError, UnknownSiteError, UsageError
from hcache.features import Features
from hcache.sampling.loop import denoise

SAMPLES, STEPS = 12, 4


def test_matrix_features_and_pooled_agree(tiny_run):
    assert (
        len(tiny_run) == SAMPLES
        and tiny_run.complete
        and tiny_run.sample_ids.tolist() == list(range(SAMPLES))
    )
    anatomy = tiny_run.anatomy
    for step in range(STEPS):
        rows = [tiny_run.features(sample, step) for sample in range(SAMPLES)]
        stacked = Features.join([row.map(lambda _, a: a[None]) for row in rows], np.concatenate)
        assert stacked.skips[1:] == (None, None), "pooled groups are not there"
        for name, tensor in stacked.items():
            assert tensor.shape == (SAMPLES, *anatomy.shape(name)) and tensor.dtype == np.float32
            np.testing.assert_array_equal(tiny_run.matrix(name, step), tensor.reshape(SAMPLES, -1))
            np.testing.assert_allclose(tiny_run.pooled(name, step), tensor.mean((2, 3)), atol=1e-6)
        for site in anatomy.sites:
            members = anatomy.members(site)
            for read in (tiny_run.matrix, tiny_run.pooled):
                parts = [read(member, step) for member in members]
                np.testing.assert_array_equal(read(site, step), np.concatenate(parts, 1))
                assert read(site, step).dtype == np.float32
        assert tiny_run.matrix("skip.3", step).shape == (SAMPLES, 16), "channels only"


def test_features_are_what_the_model_made(tiny_model, tiny_run):
    """In half precision exactly: shard by shard the loop is run again."""
    for shard in tiny_run.shards:
        samples = range(shard.start, shard.stop)
        for step in denoise(tiny_model, [tiny_run.seed(s) for s in samples], STEPS):
            for name, tensor in step.features.items():
                rows = tiny_run.matrix(name, step.index)[shard.start : shard.stop]
                kept = tensor if tiny_run.policy(name) == "full" else tensor.mean((2, 3))
                np.testing.assert_array_equal(
                    rows, kept.half().float().numpy().reshape(len(samples), -1), name
                )
            x = np.stack([tiny_run.x(sample, step.index) for sample in samples])
            np.testing.assert_array_equal(x, step.x_t.numpy())
            np.testing.assert_array_equal(
                tiny_run.matrix("x", step.index)[list(samples)], x.reshape(len(x), -1)
            )
            previews = np.stack([tiny_run.trajectory(sample)[step.index] for sample in samples])
            np.testing.assert_array_equal(previews, tiny_model.to_images(step.x_0).numpy())


def test_pooled_is_the_mean_of_full(tiny_model, tiny_run, tiny_folder, tmp_path):
    """The same samples with every policy turned round."""
    from hcache.cards import default_spec
    from hcache.extraction.run import extract

    store = {"h": "pooled", "skip.1": "pooled", "skip.2": "full", "skip.3": "full"}
    other = extract(
        tiny_model,
        default_spec(str(tiny_folder), samples=12, steps=4, batch=5, store=store),
        tmp_path,
    )
    for step in range(STEPS):
        for site in tiny_run.anatomy.sites:
            np.testing.assert_allclose(
                tiny_run.pooled(site, step), other.pooled(site, step), rtol=2e-3, atol=2e-3
            )
        np.testing.assert_array_equal(tiny_run.matrix("x", step), other.matrix("x", step))


def test_float32_runs_are_exact(tiny_model, tiny_folder, tmp_path):
    from hcache.cards import default_spec
    from hcache.extraction.run import extract

    spec = default_spec(
        str(tiny_folder), samples=3, steps=3, batch=3, store={"h": "full"}, store_dtype="float32"
    )
    run = extract(tiny_model, spec, tmp_path)
    for step in denoise(tiny_model, [0, 1, 2], 3):
        np.testing.assert_array_equal(
            run.matrix("h", step.index), step.features.h.numpy().reshape(3, -1)
        )


def test_images_are_the_ends_of_trajectories(tiny_model, tiny_run):
    ends = torch.stack([torch.from_numpy(tiny_run.x(sample, STEPS)) for sample in range(SAMPLES)])
    np.testing.assert_array_equal(tiny_run.images, tiny_model.to_images(ends).numpy())
    assert (
        tiny_run.images.shape == (SAMPLES, *tiny_run.anatomy.image)
        and tiny_run.images.dtype == np.uint8
    )
    assert len({picture.tobytes() for picture in tiny_run.images}) == SAMPLES
    assert tiny_run.trajectory(0).shape == (STEPS, 16, 16, 3)


def test_pictures_are_rounded_and_clamped(tiny_model):
    values = (
        torch.tensor([-9.0, -1.0, -0.999, 0.0, 0.004, 1.0, 9.0])
        .reshape(1, 1, 1, 7)
        .expand(1, 3, 1, 7)
    )
    assert tiny_model.to_images(values)[0, 0, :, 0].tolist() == [0, 0, 0, 128, 128, 255, 255]


def test_labels_are_a_value_a_sample_and_nan_where_there_is_none(copied_run):
    import h5py

    for number in (0, 2):
        shard = copied_run.shards[number]
        with h5py.File(copied_run.folder / SHARDS / shard.file, "a") as file:
            file["labels/mine/size"] = np.arange(shard.start, shard.stop, dtype=np.float32)
    values = open_run(copied_run.folder).labels["mine"]["size"]
    expected = [0, 1, 2, 3, 4, *[np.nan] * 5, 10, 11]
    np.testing.assert_array_equal(values, np.array(expected, np.float32))
    assert copied_run.labels.keys() <= {"mine"}


def test_what_is_not_in_a_run_is_refused_in_words(tiny_run, tiny_model, tiny_folder, tmp_path):
    from hcache.cards import default_spec
    from hcache.extraction.run import extract

    for call in (
        lambda: tiny_run.matrix("h", STEPS),
        lambda: tiny_run.matrix("h", -1),
        lambda: tiny_run.features(0, STEPS),
        lambda: tiny_run.features(SAMPLES, 0),
        lambda: tiny_run.x(0, STEPS + 1),
        lambda: tiny_run.x(0, -1),
        lambda: tiny_run.x(-1, 0),
        lambda: tiny_run.trajectory(SAMPLES),
        lambda: tiny_run.position(-1),
    ):
        with pytest.raises(UsageError):
            call()
    for site in ("skip.4", "skip.0", "skip.1.2", "skip", "H", "", "h.0"):
        with pytest.raises(UnknownSiteError):
            tiny_run.matrix(site, 0)
    bare = extract(
        tiny_model,
        default_spec(str(tiny_folder), samples=2, steps=2, store={"h": "none"}),
        tmp_path,
    )
    for read in (bare.matrix, bare.pooled):
        with pytest.raises(NotStoredError, match="--store h=full"):
            read("h", 0)
    assert bare.features(0, 0).h is None and dict(bare.features(0, 0).items()) == {}
    assert bare.matrix("x", 0).shape == (2, 3 * 16 * 16)


def test_a_run_without_samples_reads_as_empty(copied_run):
    (copied_run.folder / "manifest.jsonl").unlink()
    run = open_run(copied_run.folder)
    assert len(run) == 0 and not run.complete and run.sample_ids.size == 0 and run.bytes == 0
    assert run.images.shape == (0, 16, 16, 3) and run.matrix("h", 0).size == 0 and run.labels == {}


def test_runs_are_found_by_name_and_by_folder(tiny_run, tiny_home, monkeypatch):
    assert open_run(tiny_run.name, tiny_home) == open_run(tiny_run.folder) == tiny_run
    assert tiny_run.name in run_names(tiny_home)
    monkeypatch.setenv("HCACHE_HOME", str(tiny_home))
    assert open_run(tiny_run.name) == tiny_run
    with pytest.raises(UnknownRunError, match=f"did you mean {tiny_run.name}"):
        open_run(tiny_run.name[:-1], tiny_home)


@pytest.mark.parametrize(
    "name",
    [
        "..",
        ".",
        "",
        "../copy",
        "../../etc",
        "/etc",
        "a/b",
        "a/../{run}",
        "./{run}",
        "{run}/",
        "{folder}",
        ".hidden",
        "outside",
        "a\0b",
        "a\nb",
        "~",
        "{run}\n",
        "*",
        "x" * 300,
    ],
)
def test_a_name_from_outside_leads_nowhere(copied_run, tmp_path, name):
    """Not even to a run that is there: ``outside`` is a link to one in another home."""
    elsewhere = tmp_path / "elsewhere"
    copied_run.folder.rename(elsewhere)
    home = tmp_path / "copy"
    (home / "runs" / "outside").symlink_to(elsewhere)
    (home / "runs" / ".hidden").symlink_to(elsewhere)
    with pytest.raises(UnknownRunError):
        run_folder(home, name.format(run=copied_run.name, folder=elsewhere))


def spoil(run, change):
    path = run.folder / RUN_JSON
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    return open_run(run.folder)


def test_a_run_of_a_newer_hcache_is_refused_in_words(copied_run):
    with pytest.raises(CacheError, match="newer hcache.*update"):
        spoil(copied_run, lambda data: {**data, "schema": SCHEMA + 1})


@pytest.mark.parametrize("value", [None, "text", [1], {"a": 1}, "missing"], ids=str)
@pytest.mark.parametrize("part", ["schema", "spec", "anatomy"])
def test_a_description_with_a_broken_part_is_refused_in_words(copied_run, part, value):
    def change(data):
        return (
            {k: v for k, v in data.items() if k != part}
            if value == "missing"
            else {**data, part: value}
        )

    with pytest.raises(CacheError, match="not a run's description"):
        spoil(copied_run, change)


@pytest.mark.parametrize("whole", [b"", b"[]", b"null", b"3", b"\xff\xfe\x00", b"{"], ids=str)
def test_a_description_that_is_none_is_refused_in_words(copied_run, whole):
    (copied_run.folder / RUN_JSON).write_bytes(whole)
    with pytest.raises(CacheError, match="not a run's description"):
        open_run(copied_run.folder)


def test_a_description_cut_short_anywhere_is_refused_in_words(copied_run):
    path = copied_run.folder / RUN_JSON
    whole = path.read_bytes()
    for cut in range(0, len(whole) - 2, 37):
        path.write_bytes(whole[:cut])
        with pytest.raises(CacheError):
            open_run(copied_run.folder)


@pytest.mark.parametrize("harm", ["cut", "gone", "text"])
def test_a_shard_that_cannot_be_read_is_an_error_that_names_it(copied_run, harm):
    path = copied_run.folder / SHARDS / copied_run.shards[1].file
    {
        "cut": lambda: path.write_bytes(path.read_bytes()[:2000]),
        "gone": path.unlink,
        "text": lambda: path.write_text("not HDF5"),
    }[harm]()
    for read in (
        lambda: copied_run.matrix("h", 0),
        lambda: copied_run.images,
        lambda: copied_run.x(6, 0),
    ):
        with pytest.raises(CacheError, match=path.name):
            read()
    assert copied_run.x(0, 0).shape == (3, 16, 16), "the others can"


def test_every_half_is_widened_to_the_number_that_it_is(monkeypatch):
    every = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(256, 256)
    finite = every[np.isfinite(every)]
    for at_once in (half_floats.AT_ONCE, 1000):  # of which no number of halves here is a multiple
        monkeypatch.setattr(half_floats, "AT_ONCE", at_once)
        for stored in (
            finite,
            finite.reshape(-1, 2, 8)[::3, :, 1:5],
            every,
            every.T,
            every.astype(">f2"),
            every[:0],
        ):
            found, expected = half_floats.widened(stored), stored.astype(np.float32)
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == np.float32
            assert (np.signbit(found) == np.signbit(expected))[~np.isnan(expected)].all()
    np.testing.assert_array_equal(half_floats.widened(finite[7]), np.float32(finite[7]))
    whole = np.ones((2, 3), np.float32)
    assert half_floats.widened(whole) is whole
