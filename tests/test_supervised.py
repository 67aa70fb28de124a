"""Directions from scores, and what is left of them without others."""

import numpy as np
import pytest
from tiny import synthetic_run

from hcache.directions.supervised import conditional_direction, supervised_direction
from hcache.errors import AnalysisError
from hcache.specs import RunSpec


@pytest.fixture
def planted(tmp_path):
    """40 samples whose h has two planted axes, correlated, and noise; with the scores along
    both.
    """
    rng = np.random.default_rng(0)
    a = rng.standard_normal(40)
    b = 0.8 * a + 0.6 * rng.standard_normal(40)
    axes = np.linalg.qr(rng.standard_normal((32, 2)))[0].T.reshape(2, 2, 4, 4)
    h = (
        0.1 * rng.standard_normal((3, 40, 2, 4, 4))
        + np.einsum("n,cij->ncij", a, axes[0])
        + np.einsum("n,cij->ncij", b, axes[1])
    )
    run = synthetic_run(
        tmp_path,
        RunSpec(model="m", samples=40, steps=3, store_dtype="float32"),
        h.astype(np.float32),
    )
    return run, a, b, axes


def along(direction, axis):
    """The cosine between a direction, at any step, and a planted axis."""
    return float(np.mean([d.ravel() @ axis.ravel() / np.linalg.norm(d) for d in direction.delta]))


def test_top_minus_bottom_is_along_the_difference_of_the_means(planted):
    run, a, _, _ = planted
    found = supervised_direction(run, a, 10)
    order = np.argsort(a)
    for step in range(3):
        h = run.matrix("h", step)
        expected = h[order[-10:]].mean(0) - h[order[:10]].mean(0)
        assert found.delta[step].ravel() @ expected / np.linalg.norm(
            found.delta[step]
        ) / np.linalg.norm(expected) == pytest.approx(1, abs=1e-5)
    assert np.sqrt(np.square(found.delta / found.sigma).mean()) == pytest.approx(1, abs=1e-5)
    reverse = supervised_direction(run, -a, 10)
    np.testing.assert_allclose(reverse.delta, -found.delta, rtol=1e-4, atol=1e-5)


def test_projecting_the_other_out_leaves_ones_own_axis(planted):
    """The scores are correlated, so each direction leaks into the other's axis; less so without
    it.
    """
    run, a, b, axes = planted
    first, second = supervised_direction(run, a, 15), supervised_direction(run, b, 15)
    alone = conditional_direction(first, [second])
    assert abs(alone.cosine(second)) < 1e-6, "in units of σ, as cosines are shown"
    assert along(first, axes[1]) > 0.3 and along(alone, axes[0]) > 0.5


def test_nothing_is_left_of_a_direction_without_itself(planted):
    run, a, _, _ = planted
    found = supervised_direction(run, a, 5)
    with pytest.raises(AnalysisError, match="nothing is left"):
        conditional_direction(found, [found])


@pytest.mark.parametrize("k", [0, 21, -1])
def test_a_k_that_cannot_be_is_refused(planted, k):
    run, a, _, _ = planted
    with pytest.raises(AnalysisError, match="k must lie"):
        supervised_direction(run, a, k)


def test_samples_without_a_score_take_no_part(planted):
    run, a, _, _ = planted
    scores = a.copy()
    scores[np.argsort(a)[-3:]] = np.nan
    found = supervised_direction(run, scores, 5)
    assert not set(found.made_by["positives"]) & set(np.argsort(a)[-3:])
