"""Directions on disk: what is saved is what is loaded, and nothing else is."""

import h5py
import numpy as np
import pytest
from tiny import synthetic_run

from hcache.cache.layout import DIRECTIONS
from hcache.directions.direction import digest_of, random_direction, spread
from hcache.directions.fitting import Fit, fit
from hcache.directions.store import delete_move, find_move, list_moves, load_move, save_move
from hcache.errors import CacheError, UsageError
from hcache.progress import drive
from hcache.specs import RunSpec


@pytest.fixture
def run(tmp_path):
    h = np.random.default_rng(0).normal(size=(3, 20, 2, 4, 4)).astype(np.float32)
    return synthetic_run(
        tmp_path, RunSpec(model="m", samples=20, steps=3, store_dtype="float32"), h
    )


def made(run, method, **more):
    return drive(fit(Fit(method=method, run=run.name, **more), run))[0]


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("naive", {"positives": (1, 2, 3)}),
        ("vae", {"positives": tuple(range(5)), "options": {"iterations": 5}}),
    ],
)
def test_what_is_saved_is_what_is_loaded(run, method, more):
    move = made(run, method, **more)
    save_move(run, "mine", move)
    loaded = load_move(run, "mine")
    assert digest_of(loaded) == digest_of(move)
    assert (loaded.made_by, loaded.model, loaded.timesteps) == (
        move.made_by,
        move.model,
        move.timesteps,
    )
    (entry,) = list_moves(run)
    assert (entry.name, entry.method, entry.digest, entry.steps) == (
        "mine",
        method,
        digest_of(move),
        3,
    )
    assert (
        digest_of(find_move(run, entry.digest)) == entry.digest and find_move(run, "0" * 12) is None
    )


def test_a_name_is_not_taken_by_another_unless_told(run):
    one, two = (random_direction(spread(run), seed) for seed in (0, 1))
    save_move(run, "mine", one)
    save_move(run, "mine", one)  # the same again is no harm
    with pytest.raises(UsageError, match="another direction named 'mine'"):
        save_move(run, "mine", two)
    save_move(run, "mine", two, replace=True)
    assert digest_of(load_move(run, "mine")) == digest_of(two)
    delete_move(run, "mine")
    assert list_moves(run) == []


@pytest.mark.parametrize(
    "name", ["", "../out", "/abs", "a/b", ".hidden", "x" * 81, "nul\0", "ends.", "é"]
)
def test_a_name_cannot_lead_out_of_the_run(run, name):
    with pytest.raises(UsageError, match="name has 1 to 80"):
        save_move(run, name, random_direction(spread(run), 0))
    with pytest.raises(UsageError, match="no direction"):
        load_move(run, name)


def test_an_unknown_name_is_met_with_the_nearest(run):
    save_move(run, "glasses", random_direction(spread(run), 0))
    with pytest.raises(UsageError, match="glasses"):
        load_move(run, "glases")


def test_a_damaged_file_is_told_and_does_not_hide_the_others(run):
    save_move(run, "good", random_direction(spread(run), 0))
    path = save_move(run, "bad", random_direction(spread(run), 1))
    with h5py.File(path, "r+") as file:
        file["delta"][0, 0, 0, 0] += 1
    with pytest.raises(CacheError, match="damaged"):
        load_move(run, "bad")
    path.write_bytes(b"nothing")
    with pytest.raises(CacheError, match="not a direction"):
        load_move(run, "bad")
    assert [entry.name for entry in list_moves(run)] == ["good"]


def test_a_newer_file_is_refused_in_words(run):
    path = save_move(run, "new", random_direction(spread(run), 1))
    with h5py.File(path, "r+") as file:
        file.attrs["schema"] = 99
    with pytest.raises(CacheError, match="newer hcache"):
        load_move(run, "new")


def test_nothing_is_left_beside_a_saved_file(run):
    save_move(run, "mine", random_direction(spread(run), 0))
    assert [path.name for path in (run.folder / DIRECTIONS).iterdir()] == ["mine.h5"]
