"""Intervals of alignment at the ends of its range, 0 and 1."""

import numpy as np

from hcache.analysis.alignment import alignment


def test_copies_agree_and_that_says_nothing_of_others():
    """Five positives that are the same picture: every draw agrees as much."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(40, 30))
    data[:5] = data[0]
    found = alignment(data, np.arange(40) < 5, repeats=100)
    assert not found.alignment.defined and not found.reliability.defined
    assert "copies of one another: too few to say" in str(found.alignment)
    data[:5] += 0.3 * rng.normal(size=(5, 30))
    nearly = alignment(data, np.arange(40) < 5, repeats=100)
    assert nearly.alignment.defined and nearly.alignment.value > 0.7


def test_intervals_of_positives_that_have_nothing_in_common_hold_0():
    """True alignment is 0, and half of the values found are below."""
    below, held = 0, 0
    for seed in range(40):
        data = np.random.default_rng([seed, 5]).normal(size=(48, 20))
        found = alignment(data, np.arange(48) < 12, repeats=200)
        below += found.alignment.value < 0
        held += found.alignment.low <= 0 <= found.alignment.high
        if found.alignment.value <= 0:
            assert found.reliability.high > 0, "what is found at 0 is not known to be 0"
    assert below >= 10 and held >= 36
