"""CKA: copies, independent noise, a population whose CKA is known, and what is not defined."""

import numpy as np
import pytest

from hcache.analysis.cka import alike, cka, gram
from hcache.errors import AnalysisError
from tests.tiny import drain


def rotation(d, rng):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def by_definition(x, y):
    """Song's HSIC, term by term."""

    def hsic(k, l):
        n, one = len(k), np.ones(len(k))
        k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))
        terms = np.trace(k @ l) + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
        return (terms - 2 / (n - 2) * one @ k @ l @ one) / (n * (n - 3))

    k, l = x @ x.T, y @ y.T
    return hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))


def of(*data, **options):
    """All of them with all."""
    return drain(alike(np.stack([gram(each) for each in data]), **options))[1]


def test_rotated_scaled_and_shifted_copies_have_1():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 12)) * np.arange(1, 13)
    y = 3 * x @ rotation(12, rng) + 7
    assert cka(x, y) == pytest.approx(1, abs=1e-5)
    found = of(x.astype(np.float32), y.astype(np.float32))
    pair = found.estimates[0][1]
    assert pair.low == pytest.approx(1, abs=1e-3) and found.p[0, 1] == 0.01
    assert cka(x, x**2) < 0.9, "a copy that is bent has less"


def test_it_is_the_formula_of_the_paper():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(15, 6)), rng.normal(size=(15, 4))
    y[:, :2] += x[:, :2]
    assert cka(x, y) == pytest.approx(by_definition(x, y), abs=1e-5)


def test_independent_noise_is_within_its_null_and_without_bias():
    """More features than samples: the biased CKA would be near 1."""
    rng = np.random.default_rng(2)
    pairs = [of(rng.normal(size=(20, 200)), rng.normal(size=(20, 200))) for _ in range(60)]
    values = np.array([found.estimates[0][1].value for found in pairs])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values)) + 1e-3
    false = np.mean([found.p[0, 1] <= 0.05 for found in pairs])
    assert false <= 0.13, "the test keeps its level"
    inside = np.mean([f.estimates[0][1].value <= f.null[0, 1] for f in pairs])
    assert inside >= 0.85


def test_intervals_cover_the_populations_cka():
    """x normal, y = x W + noise: CKA of the population is ‖Σ_xy‖² / (‖Σ_x‖ ‖Σ_y‖)."""
    rng = np.random.default_rng(3)
    mixing = rng.normal(size=(5, 8)) / 2
    cov_y = mixing.T @ mixing + np.eye(8)
    truth = np.linalg.norm(mixing) ** 2 / (np.linalg.norm(np.eye(5)) * np.linalg.norm(cov_y))
    covered, values = 0, []
    for _ in range(150):
        x = rng.normal(size=(60, 5))
        y = x @ mixing + rng.normal(size=(60, 8))
        found = of(x, y, shuffles=1).estimates[0][1]
        covered += found.covers(truth)
        values.append(found.value)
    assert 0.88 <= covered / 150 <= 1
    assert np.mean(values) == pytest.approx(truth, abs=0.03)


def test_one_sample_left_out_is_what_the_formula_says():
    """The jackknife of all samples at once equals computing CKA anew without each."""
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(12, 5)), rng.normal(size=(12, 5))
    y += x
    without = [cka(np.delete(x, m, 0), np.delete(y, m, 0)) for m in range(12)]
    z = np.arctanh(without)
    error = np.sqrt(11 / 12 * np.square(z - z.mean()).sum())
    from scipy.stats import t

    found = of(x, y, shuffles=1).estimates[0][1]
    expected = np.tanh(np.arctanh(found.value) + np.array([-1, 1]) * t.ppf(0.975, 11) * error)
    np.testing.assert_allclose((found.low, found.high), expected, atol=1e-4)


def test_all_pairs_are_tested_as_one_family_and_nothing_against_itself():
    rng = np.random.default_rng(5)
    data = [rng.normal(size=(20, 30)) for _ in range(4)]
    found = of(*data, data[0] @ rotation(30, rng))
    assert np.isnan(np.diag(found.p)).all() and np.isnan(np.diag(found.null)).all()
    np.testing.assert_array_equal(found.p, found.p.T)
    assert found.family_p[0, 4] <= 0.02
    off = ~np.eye(5, dtype=bool)
    assert (found.family_p[off] >= found.p[off]).all()
    assert found.family_p[1, 2] > 0.05


def test_two_lists_and_samples_in_another_order():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(3, 16, 7))
    grams = np.stack([gram(each) for each in x])
    found = drain(alike(grams, grams[:2]))[1]
    assert np.shape(found.estimates) == (3, 2) and found.p[0, 0] == 0.01
    assert found.estimates[0][0].value == pytest.approx(1, abs=1e-5)
    turned = gram(x[0][::-1])
    mixed = drain(alike(grams[:1], turned[None]))[1]
    assert mixed.estimates[0][0].value < 0.9, "other samples side by side are not alike"


def test_blocks_of_rows_and_of_columns_give_the_same(monkeypatch):
    x = np.random.default_rng(7).normal(size=(30, 700)).astype(np.float32)
    whole = gram(x)
    monkeypatch.setattr("hcache.analysis.blocks.MEMORY", 1000)
    monkeypatch.setattr("hcache.analysis.cka.Blocks.of.__func__.__defaults__", (1000, 1))
    streamed = gram(lambda: iter([x[:11], x[11:]]))
    np.testing.assert_allclose(streamed, whole, atol=1e-6)


def test_what_is_the_same_of_all_samples_has_no_cka():
    x = np.random.default_rng(8).normal(size=(10, 3))
    found = of(x, np.full((10, 4), 0.1, np.float32))
    assert found.estimates[0][0].defined and not found.estimates[0][1].defined
    assert "the same" in str(found.estimates[0][1]) and np.isnan(found.p[0, 1])


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda: gram(np.ones((4, 3))), "5 samples or more, got 4"),
        (lambda: gram(np.full((6, 3), np.inf)), "not finite"),
        (lambda: cka(np.ones((6, 3)), np.ones((7, 3))), "the same samples; got 6 and 7"),
        (lambda: drain(alike(np.ones((1, 5, 5)), np.ones((1, 6, 6)))), "got 5 and 6"),
    ],
)
def test_what_cannot_be_compared_is_refused(work, said):
    with pytest.raises(AnalysisError, match=said):
        work()
