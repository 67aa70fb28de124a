"""Probes of very many samples: few features exactly, many on random directions, which is stated."""

import numpy as np
import pytest

from hcache.analysis import probes as probes_module
from hcache.analysis import projected as projected_module
from hcache.analysis.decoding import Probing
from hcache.analysis.probes import Space, gram_matrix
from hcache.analysis.projected import standardised_rows
from hcache.errors import AnalysisError

N, D = 240, 600


def data_of(n=N, d=D, seed=0):
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n, 5))
    data = factors @ rng.normal(size=(5, d)) + rng.normal(size=(n, d)) + 40
    data[:, 0] = 7  # constant: left out
    return data.astype(np.float32), factors[:, 0]


def in_blocks(data, size=13):
    return lambda: (data[start : start + size] for start in range(0, len(data), size))


@pytest.fixture
def many(monkeypatch):
    """So that 240 samples count as very many, and 600 features as more than can be kept."""
    monkeypatch.setattr(probes_module, "EXACT", 100)
    monkeypatch.setattr(projected_module, "TOGETHER", 50 * 4 * D)
    monkeypatch.setattr(projected_module.standardised_rows, "__defaults__", (200,))


def test_few_features_are_kept_as_they_are():
    data, _ = data_of(d=60)
    found, projected = standardised_rows(in_blocks(data), data.shape, 40)
    assert projected == 0 and found.shape == (N, 59)
    np.testing.assert_allclose(found @ found.T, gram_matrix(data), atol=1e-4)


def test_a_projection_keeps_inner_products_nearly():
    data, _ = data_of()
    found, projected = standardised_rows(in_blocks(data), data.shape, 250)
    assert projected == 250 and found.shape == (N, 250)
    off = np.abs(found @ found.T - gram_matrix(data))
    assert 1e-3 < off.mean() < 2 / np.sqrt(250)


def test_cuts_change_nothing(many):
    data, _ = data_of()
    one, other = (standardised_rows(in_blocks(data, size), data.shape, 200)[0] for size in (1, N))
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("binary", [False, True])
def test_a_probe_on_the_projection_reads_what_the_exact_one_reads_and_says_so(many, binary):
    data, label = data_of()
    label = label + 0.5 * np.random.default_rng(1).normal(size=N)
    label = (label > 0).astype(float) if binary else label
    probing = Probing.of(label, folds=3, controls=5, repeats=50)
    exact = probing.decode(Space(gram=gram_matrix(data)))
    found = probing.decode(Space.of(in_blocks(data)))
    assert found.projected == 200 and exact.projected == 0
    assert found.score.value == pytest.approx(exact.score.value, abs=0.05)
    assert found.score.value > 0.5 and found.control < 0.6


def test_chance_stays_chance(many):
    data, _ = data_of()
    label = np.random.default_rng(5).normal(size=N)
    found = Probing.of(label, folds=3, controls=19, repeats=50).decode(Space.of(in_blocks(data)))
    assert found.p > 0.05 and found.score.value < 0.1


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_values_that_are_not_finite_and_constant_data_are_refused(broken):
    data, _ = data_of()
    data[3, 4] = broken
    with pytest.raises(AnalysisError, match="not finite"):
        standardised_rows(in_blocks(data), data.shape)
    with pytest.raises(AnalysisError, match="nothing to read"):
        standardised_rows(in_blocks(np.ones((9, 4), np.float32)), (9, 4))


@pytest.mark.parametrize("exact", [50, 1000])
def test_scores_of_many_samples_are_those_of_all_pairs(exact, monkeypatch):
    """By the features' own products, and by passes; up to a sign, where components stand out."""
    from scipy.linalg import subspace_angles

    from hcache.analysis import standard_scores as module
    from hcache.analysis.probes import gram_matrix
    from hcache.analysis.projections import leading

    rng = np.random.default_rng(0)
    data = rng.normal(size=(400, 4)) * [8, 5, 3, 2] @ rng.normal(size=(4, 120))
    data = (data + rng.normal(size=(400, 120)) * rng.uniform(0.5, 2, 120) + 3).astype(np.float32)
    data[:, 7] = 5.0
    values, vectors = leading(gram_matrix(data), 6)
    monkeypatch.setattr(module, "EXACT", exact)
    rows = lambda: (data[start : start + 60] for start in range(0, 400, 60))  # noqa: E731
    found = module.standard_scores(rows, data.shape, 6)
    assert found.shape == (400, 6)
    for j in range(4):
        expected = vectors[:, j] * np.sqrt(values[j])
        assert subspace_angles(expected[:, None], found[:, j : j + 1])[0] < 1e-2
        assert np.linalg.norm(found[:, j]) == pytest.approx(np.sqrt(values[j]), rel=1e-3)
    with pytest.raises(AnalysisError, match="nothing to read"):
        module.standard_scores(lambda: iter([np.ones((9, 3), np.float32)]), (9, 3), 2)


def test_codes_of_many_samples_are_those_of_few(tiny_run, monkeypatch):
    """The run's own scores, whichever way they come."""
    from hcache.measures import codes

    expected = codes.codes_of(tiny_run, codes.COMPONENTS, "h", 1, 5)
    monkeypatch.setattr(codes, "EXACT", 5)
    monkeypatch.setattr(type(tiny_run), "matrix", None)
    found = codes.codes_of(tiny_run, codes.COMPONENTS, "h", 1, 5)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4 * np.abs(expected).max())


def test_many_features_of_very_many_samples_are_projected_too(monkeypatch):
    """Twice as many samples as features do not make their products cheap."""
    monkeypatch.setattr(probes_module, "EXACT", 50)
    monkeypatch.setattr(projected_module, "SIZE", 16)
    monkeypatch.setattr(standardised_rows, "__defaults__", (16,))
    found = Space.of(data_of(300, 100)[0])
    assert found.projected == 16 and found.features.shape == (300, 16)
    few = Space.of(data_of(300, 40)[0])
    assert few.projected == 0 and few.features.shape[1] == 39, "one is constant"
