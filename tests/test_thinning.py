"""Of very many points sparse regions are drawn whole, and dense ones in part."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as some

from hcache.ui.thinning import thinned


def cloud(n, seed=0):
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(n, 2))
    places[:5] = [[9, 9], [-9, 9], [9, -9], [-9, -9], [0, 12]]
    return places


def test_outliers_and_what_must_be_there_are_drawn_and_the_dense_middle_in_part():
    places, kept = cloud(30_000), np.zeros(30_000, bool)
    kept[29_000:29_010] = True
    rows = thinned(places, kept, 5000)
    assert set(range(5)) <= set(rows.tolist()) and set(range(29_000, 29_010)) <= set(rows.tolist())
    assert 2500 < len(rows) <= 5010 and (np.diff(rows) > 0).all()
    middle = (np.abs(places) < 1).all(1)
    assert middle[rows].mean() < 0.8 * middle.mean()


@settings(deadline=None, max_examples=30)
@given(n=some.integers(1, 400), most=some.integers(1, 500), seed=some.integers(0, 3))
def test_few_are_all_drawn_and_every_cell_shows_something(n, most, seed):
    places = np.random.default_rng(seed).normal(size=(n, 2)).round(1)
    rows = thinned(places, np.zeros(n, bool), most)
    if n <= most:
        assert rows.tolist() == list(range(n))
    assert len(rows) and len(rows) <= max(most, len(np.unique(places, axis=0)))


def test_points_on_one_spot_are_thinned_too():
    assert len(thinned(np.zeros((100, 2)), np.zeros(100, bool), 10)) == 10
