"""Files are read a few ahead, and what is given is what one after the other gives."""

import threading

import numpy as np
import pytest
from tiny import synthetic_run

from hcache.cache.ahead import read_ahead
from hcache.errors import CacheError
from hcache.specs import RunSpec


def test_results_come_in_order_and_only_a_few_ahead():
    begun, most = [], []

    def read(item):
        begun.append(item)
        return item * item

    for number, found in enumerate(read_ahead(read, range(20), 4)):
        assert found == number * number
        most.append(len(begun) - number)
    assert max(most) <= 4 + 1 and sorted(begun) == list(range(20))


def test_several_are_read_at_the_same_time():
    together = threading.Barrier(3, timeout=60)

    def read(item):
        together.wait()  # passes only if three readers are here at once
        return item

    assert list(read_ahead(read, range(9), 3)) == list(range(9))


def test_an_error_comes_in_its_place_and_ends_the_reading():
    begun = []

    def read(item):
        begun.append(item)
        if item == 5:
            raise CacheError("the fifth is damaged")
        return item

    given = []
    with pytest.raises(CacheError, match="the fifth"):
        for found in read_ahead(read, range(100), 3):
            given.append(found)
    assert given == list(range(5)) and max(begun) <= 8


def test_whoever_stops_early_leaves_no_thread():
    work = read_ahead(lambda item: item, range(50), 4)
    assert next(work) == 0
    work.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("hcache-reading")]


def test_a_run_of_many_shards_gives_its_blocks_in_order(tmp_path):
    h = np.random.default_rng(0).normal(size=(2, 40, 2, 2, 2)).astype(np.float32)
    spec = RunSpec(model="m", samples=40, steps=2, store_dtype="float32")
    run = synthetic_run(tmp_path, spec, h, [(i, i + 4) for i in range(0, 40, 4)])
    np.testing.assert_array_equal(np.concatenate(list(run.blocks("h", 1))), h[1].reshape(40, -1))
    steps = np.concatenate(list(run.step_blocks("h")), 1)
    np.testing.assert_array_equal(steps, h.reshape(2, 40, -1))
    (run.folder / "shards" / run.shards[7].file).unlink()
    with pytest.raises(CacheError, match="it is gone"):
        list(run.blocks("h", 1))
