"""Directions have unit length in units of σ, and the naive one finds what was planted."""

import numpy as np
import pytest
from tiny import synthetic_run

from hcache.directions.direction import (
    Direction,
    in_units,
    named_samples,
    random_direction,
    spread,
)
from hcache.directions.naive import naive_direction, top_samples
from hcache.errors import AnalysisError, HcacheError, UsageError
from hcache.specs import RunSpec

STEPS, SAMPLES, SHAPE = 3, 120, (4, 4, 4)
POSITIVES = list(range(0, SAMPLES, 3))


def length(direction):
    return np.sqrt(np.square(direction.delta / direction.sigma).mean())


@pytest.fixture(scope="module")
def planted():
    """(scale of h, Δh in units of it): channels of widely different scales, Δh large in the
    middle of denoising.
    """
    rng = np.random.default_rng(1)
    scale = 10.0 ** rng.uniform(-2, 1, size=(STEPS, *SHAPE))
    return scale, rng.normal(size=(STEPS, *SHAPE)) * np.array([0.5, 2.0, 1.0])[:, None, None, None]


@pytest.fixture(scope="module")
def run(tmp_path_factory, planted):
    """Noise of unit variance about 5, positives moved by the planted Δh, all times the scale."""
    scale, delta = planted
    moved = np.isin(np.arange(SAMPLES), POSITIVES)[None, :, None, None, None]
    noise = np.random.default_rng(0).normal(size=(STEPS, SAMPLES, *SHAPE))
    h = scale[:, None] * (noise + 5 + moved * delta[:, None])
    spec = RunSpec(model="planted", samples=SAMPLES, steps=STEPS, store_dtype="float32")
    return synthetic_run(
        tmp_path_factory.mktemp("planted"), spec, h.astype(np.float32), [(0, 50), (50, SAMPLES)]
    )


@pytest.fixture(scope="module")
def truth(run, planted):
    scale, delta = planted
    return in_units((scale * delta).astype(np.float32), spread(run), {})


def test_a_planted_direction_is_found(run, truth):
    found = naive_direction(run, POSITIVES)
    assert found.cosine(truth) > 0.95 and truth.cosine(found) > 0.95
    assert np.argmax(found.profile) == 1, "where in denoising it is long"
    assert found.made_by == {"method": "naive", "run": run.name, "positives": POSITIVES}


def test_a_direction_of_random_positives_finds_nothing(run, truth):
    chosen = np.random.default_rng(5).permutation(SAMPLES)[: len(POSITIVES)]
    assert abs(naive_direction(run, chosen).cosine(truth)) < 0.5
    assert abs(random_direction(spread(run), 0).cosine(truth)) < 0.3


def test_every_direction_has_unit_length(run):
    for direction in (
        naive_direction(run, POSITIVES),
        naive_direction(run, [0, 1]),
        *(random_direction(spread(run), seed) for seed in range(3)),
        in_units(7 * np.ones((STEPS, *SHAPE), np.float32), spread(run), {}),
    ):
        assert length(direction) == pytest.approx(1, rel=1e-4)
        assert np.sqrt(np.square(direction.profile).mean()) == pytest.approx(1, rel=1e-4)
        assert direction.delta.shape == direction.sigma.shape == (STEPS, *SHAPE)
        assert direction.delta.dtype == np.float32


def test_a_unit_is_the_same_whatever_the_scale_of_h(run):
    sigma = spread(run)
    delta = np.random.default_rng(2).normal(size=sigma.shape).astype(np.float32) * sigma
    stretch = 10.0 ** np.random.default_rng(3).uniform(-2, 2, size=sigma.shape).astype(np.float32)
    plain, stretched = in_units(delta, sigma, {}), in_units(delta * stretch, sigma * stretch, {})
    np.testing.assert_allclose(
        stretched.delta / stretched.sigma, plain.delta / plain.sigma, rtol=1e-4
    )


def test_towards_the_others_is_the_opposite(run):
    others = sorted(set(range(SAMPLES)) - set(POSITIVES))
    assert naive_direction(run, POSITIVES).cosine(naive_direction(run, others)) == pytest.approx(
        -1, abs=1e-4
    )


def test_order_and_repetition_of_positives_do_not_matter(run):
    once, twice = (
        naive_direction(run, POSITIVES),
        naive_direction(run, POSITIVES[::-1] + POSITIVES[:5]),
    )
    np.testing.assert_array_equal(once.delta, twice.delta)


def test_cosine_is_that_of_an_angle(run):
    a, b = (random_direction(spread(run), seed) for seed in (0, 1))
    back = Direction(delta=-a.delta, sigma=a.sigma)
    assert a.cosine(a) == pytest.approx(1, abs=1e-5) and a.cosine(back) == pytest.approx(
        -1, abs=1e-5
    )
    assert a.cosine(b) == pytest.approx(b.cosine(a), abs=1e-6) and abs(a.cosine(b)) < 0.3


def test_random_directions_are_their_seeds(run):
    sigma = spread(run)
    first, again, other = (random_direction(sigma, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.delta, again.delta)
    assert not np.array_equal(first.delta, other.delta)


def test_the_spread_is_the_standard_deviation(run):
    for step in range(STEPS):
        h = np.stack([run.features(sample, step).h for sample in range(SAMPLES)])
        np.testing.assert_allclose(spread(run)[step], h.std(0), rtol=1e-4)


@pytest.mark.parametrize(
    "positives", [[], [3], [3, 3], list(range(SAMPLES))], ids=["none", "one", "one twice", "all"]
)
def test_too_few_positives_or_no_others_are_refused_in_words(run, positives):
    with pytest.raises(AnalysisError, match=f"2 to {SAMPLES - 1} positives of {SAMPLES}"):
        naive_direction(run, positives)


def test_positives_that_are_not_there_are_refused(run):
    with pytest.raises(UsageError, match="not in run"):
        naive_direction(run, [0, SAMPLES])


def test_where_h_does_not_vary_a_direction_is_zero(tmp_path):
    h = np.random.default_rng(0).normal(size=(2, 10, *SHAPE)).astype(np.float32)
    h[:, :, 0] = 3
    run = synthetic_run(
        tmp_path, RunSpec(model="still", samples=10, steps=2, store_dtype="float32"), h
    )
    direction = naive_direction(run, [0, 1, 2])
    assert np.isfinite(direction.delta).all() and np.isfinite(direction.profile).all()
    assert np.abs(direction.delta[:, 0]).max() < 1e-6 < np.abs(direction.delta[:, 1:]).min()
    with pytest.raises(AnalysisError, match="no length"):
        in_units(np.zeros((2, *SHAPE), np.float32), direction.sigma, {})


def test_samples_are_told_by_number_not_by_row(tmp_path):
    """A run whose first samples are missing: number 20 is in row 4."""
    h = np.random.default_rng(0).normal(size=(2, 10, *SHAPE)).astype(np.float32)
    spec = RunSpec(model="gaps", samples=30, steps=2, store_dtype="float32")
    run = synthetic_run(tmp_path, spec, h, [(10, 14), (20, 26)])
    assert run.sample_ids.tolist() == [10, 11, 12, 13, 20, 21, 22, 23, 24, 25]
    positives = [11, 20, 25]
    expected = h[:, [1, 4, 9]].mean(1) - h.mean(1)
    found = naive_direction(run, positives)
    np.testing.assert_allclose(
        found.delta / np.linalg.norm(found.delta), expected / np.linalg.norm(expected), atol=1e-5
    )
    assert found.made_by["positives"] == positives
    assert top_samples(run, np.arange(10.0), 3) == [25, 24, 23]
    with pytest.raises(UsageError):
        naive_direction(run, [0, 11])


def test_top_samples_leave_out_those_without_a_value(run):
    values = np.full(SAMPLES, np.nan)
    values[[4, 7, 9, 11]] = [0.5, 2.0, -1.0, np.inf]
    assert top_samples(run, values, 2) == [7, 4]
    assert top_samples(run, values, 2, highest=False) == [9, 4]
    assert top_samples(run, values, 50) == [7, 4, 9]


@pytest.mark.parametrize(
    "measure", [spread, lambda run: naive_direction(run, [0, 1])], ids=["spread", "naive"]
)
@pytest.mark.parametrize(
    "store", [{"h": "pooled"}, {"skip.1": "full"}], ids=["pooled", "not stored"]
)
def test_a_run_without_h_in_full_is_refused_in_words(
    tiny_model, tiny_folder, tmp_path, measure, store
):
    from hcache.cards import default_spec
    from hcache.extraction.run import extract

    run = extract(
        tiny_model, default_spec(str(tiny_folder), samples=4, steps=1, store=store), tmp_path
    )
    with pytest.raises(HcacheError):
        measure(run)


def test_the_spread_of_one_sample_is_refused_in_words(tmp_path):
    run = synthetic_run(
        tmp_path, RunSpec(model="one", samples=1, steps=1), np.ones((1, 1, *SHAPE), np.float32)
    )
    with pytest.raises(AnalysisError, match="2 samples"):
        spread(run)


def test_the_samples_that_a_file_of_others_names_are_whole_numbers_or_left_out():
    assert named_samples({"positives": [3, True, 0.5, "4", 7]}, "positives") == (3, 7)
    for made_by in ({}, {"positives": 3}, {"positives": "12"}, {"positives": None}):
        assert named_samples(made_by, "positives") == ()
