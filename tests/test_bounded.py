"""The pages' cache of matrices: bounded by bytes, shared, the one used longest ago goes first."""

import numpy as np
import pytest

from hcache.ui.bounded import ArrayCache


def rows(count):
    return np.zeros((count, 10), np.float32)  # 40 bytes a row


def test_what_is_kept_never_takes_more_bytes_than_it_may():
    cache, made = ArrayCache(400), []
    for step in range(20):
        cache.get(step, lambda step=step: made.append(step) or rows(4))
        assert cache.bytes <= 400
    assert made == list(range(20)) and cache.bytes == 320
    cache.get(18, lambda: pytest.fail("it was kept"))
    cache.get(20, lambda: rows(4))
    cache.get(18, lambda: pytest.fail("used later than 19"))
    assert cache.get(19, lambda: rows(1)).shape == (1, 10), "the one used longest ago made room"


def test_what_is_too_large_is_not_kept_and_pushes_nothing_out():
    cache = ArrayCache(400)
    cache.get("small", lambda: rows(4))
    assert cache.get("large", lambda: rows(100)).shape == (100, 10)
    cache.get("small", lambda: pytest.fail("it was kept"))
    assert cache.bytes == 160


def test_what_is_shared_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        ArrayCache(400).get(1, lambda: rows(4))[0, 0] = 1
