"""How many samples a question needs, from what was measured as the pilot."""

import numpy as np
import pytest

from hcache.analysis.bootstrap import bootstrap, mean_of
from hcache.analysis.estimate import Estimate
from hcache.measures.cell import Cell
from hcache.measures.sample_sizes import (
    in_words,
    is_open,
    samples_for_width,
    samples_to_decide,
)


def cell(estimate, null=0.0, p=None, question="q"):
    return Cell(
        question=question,
        subject="s",
        estimate=estimate,
        null=null,
        p=p,
        unit="u",
        note="",
        evidence=None,
    )


def mean_of_samples(n, seed, mean=0.3):
    values = np.random.default_rng(seed).normal(mean, 1, n)
    return bootstrap(mean_of(values), n, repeats=500)


def test_a_pilot_says_how_many_samples_a_width_takes():
    """With so many samples, intervals are as wide as was asked for, on fresh data."""
    needed = [samples_for_width(cell(mean_of_samples(40, seed)), 0.25) for seed in range(10)]
    for seed, n in enumerate(needed):
        found = mean_of_samples(n, 100 + seed)
        assert found.high - found.low == pytest.approx(0.25, rel=0.35)
    n = int(np.median(needed))
    assert 180 < n < 330, "4 · 1.96² / 0.25² is 246"


def test_an_open_answer_says_how_many_would_tell():
    open_one = Estimate(value=0.2, low=-0.2, high=0.6, n=16)
    assert is_open(cell(open_one)) and samples_to_decide(cell(open_one)) == 64
    assert "about 64 would separate it from the null" in in_words(cell(open_one))
    assert not is_open(cell(open_one, p=0.01)), "the test of the null said more"
    closed = Estimate(value=0.5, low=0.1, high=0.9, n=16)
    assert in_words(cell(closed)) == "" and samples_to_decide(cell(closed)) is None


def test_a_change_downwards_is_as_open_as_one_upwards():
    """The null of controllability is a size. A direction that lowers its label by as much is not
    told from it either.
    """
    up = Estimate(value=0.35, low=0.1, high=0.6, n=16)
    down = Estimate(value=-0.35, low=-0.6, high=-0.1, n=16)
    said = [in_words(cell(each, 0.3, 0.4, question="controllable")) for each in (up, down)]
    assert said[0] == said[1] and "too few samples to say" in said[0]
    assert not is_open(cell(down, 0.05, 0.01, question="controllable"))
    assert not is_open(cell(down, 0.3, 0.4)), "where only more counts, this is far from the null"


def test_what_lies_on_the_null_names_no_number():
    for value in (0.0, 1e-6):
        on_it = cell(Estimate(value=value, low=-0.4, high=0.4, n=16))
        assert samples_to_decide(on_it) is None and "too near it" in in_words(on_it)


def test_what_is_undefined_or_without_a_null_says_nothing():
    nothing = cell(Estimate.undefined("alike", 16))
    assert in_words(nothing, 0.1) == "" and samples_for_width(nothing, 0.1) is None
    without = cell(Estimate(value=0.2, low=-0.2, high=0.6, n=16), null=None)
    assert not is_open(without)
    assert in_words(without, 0.4) == (
        "an interval 0.4 wide takes about 64 samples (it is 0.8 wide at n 16)"
    )
