"""DCI and SAP against cases worked by hand, alignment and scatter against what was planted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcache.analysis.alignment import alignment, alignment_of_gram, scatter
from hcache.analysis.direction_cosines import cosines
from hcache.analysis.disentanglement import completeness_of, dci, disentanglement_of, sap
from hcache.errors import AnalysisError

LOG2_3 = np.log2(3)


@pytest.mark.parametrize(
    ("importance", "disentanglement", "completeness"),
    [
        # One code a factor, whatever the scales.
        ([[1, 0], [0, 1]], 1, 1),
        ([[0, 7], [0.2, 0]], 1, 1),
        # Every code for every factor.
        ([[1, 1], [1, 1]], 0, 0),
        # Two codes share a factor: each is pure, the factor needs two. Over 3 codes: 1 - 1 bit /
        # log2(3) and 1.
        ([[1, 0], [1, 0], [0, 1]], 1, (1 - 1 / LOG2_3 + 1) / 2),
        # One code carries both factors: entropy 1 bit of 1; the dead one has no weight. Each factor
        # needs one code.
        ([[1, 1], [0, 0]], 0, 1),
        # Rows 3:1 and 0:2. H(3/4, 1/4) = 0.811278; weights 4/6 and 2/6. Columns 3:0 and 1:2, H(1/3)
        # = 0.918296.
        ([[3, 1], [0, 2]], (4 * (1 - 0.8112781245) + 2) / 6, (1 + 1 - 0.9182958341) / 2),
        # A factor that nothing carries: no code is the worse for it, completeness is.
        ([[1, 0, 0], [0, 1, 0], [0, 0, 0]], 1, 2 / 3),
        # Three factors to the base 3: H(1/2, 1/2, 0) = 1 bit = 1 / log2(3).
        ([[1, 1, 0], [0, 0, 1]], (2 * (1 - 1 / LOG2_3) + 1) / 3, 1),
    ],
)
def test_dci_of_importances_worked_by_hand(importance, disentanglement, completeness):
    assert disentanglement_of(np.array(importance)) == pytest.approx(disentanglement, abs=1e-9)
    assert completeness_of(np.array(importance)) == pytest.approx(completeness, abs=1e-9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.floats(0.001, 1000))
def test_dci_knows_no_scale_and_no_order(seed, unit):
    rng = np.random.default_rng(seed)
    importance = rng.gamma(0.5, size=(5, 3))
    other = unit * importance[rng.permutation(5)][:, rng.permutation(3)]
    for score in (disentanglement_of, completeness_of):
        assert (
            score(other) == pytest.approx(score(importance), abs=1e-9)
            and 0 <= score(importance) <= 1 + 1e-12
        )


def factors_of(rng, n=200):
    """Two continuous factors and a binary one, independent."""
    return np.stack([rng.normal(size=n), rng.uniform(-1, 1, n), rng.integers(0, 2, n)], 1)


def test_codes_that_are_the_factors_are_disentangled():
    rng = np.random.default_rng(0)
    y = factors_of(rng)
    found = dci(y[:, [2, 0, 1]] * [5, -1, 0.1] + 3, y, repeats=40)
    assert found.disentanglement.value > 0.95 and found.completeness.value > 0.95
    assert all(r2.value > 0.95 for r2 in found.informativeness)
    assert found.importance.argmax(0).tolist() == [1, 2, 0]
    assert found.shuffled[0] < 0.75 and found.disentanglement.low > found.shuffled[0]


def test_codes_that_mix_the_factors_are_entangled_and_as_informative():
    """A rotation by 45 degrees loses nothing but the axes."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(300, 2))
    mixed = y @ np.array([[1, 1], [-1, 1]]) / np.sqrt(2)
    found = dci(mixed, y, repeats=40)
    assert found.disentanglement.high < 0.1 and found.completeness.high < 0.1
    assert all(r2.value > 0.99 for r2 in found.informativeness)


def test_codes_of_nothing_inform_of_nothing():
    rng = np.random.default_rng(0)
    found = dci(rng.normal(size=(200, 4)), factors_of(rng), repeats=20)
    assert all(abs(r2.value) < 0.1 for r2 in found.informativeness)
    assert not found.disentanglement.defined and not found.completeness.defined and found.p is None
    assert "codes tell no factor" in str(found.disentanglement)


def test_sap_worked_by_hand():
    """Four samples of orthogonal codes: squared correlations 16/25 and 9/25 with a factor of 4 and
    3 parts; a factor of two values is told by the best threshold, right throughout and half of the
    time."""
    a, b = np.array([1.0, 1, -1, -1]), np.array([1.0, -1, 1, -1])
    found = sap(np.stack([a, b], 1), np.stack([4 * a + 3 * b, 3 * a], 1), repeats=50)
    np.testing.assert_allclose(found.scores, [[16 / 25, 1], [9 / 25, 0.5]], atol=1e-12)
    assert found.score.value == pytest.approx((7 / 25 + 0.5) / 2)


def test_sap_of_a_binary_factor_is_by_thresholds():
    """Code 1 tells all zeros but one from the ones, (3/4 + 1) / 2; code 2, turned round, half of
    them and 3/4.
    """
    factor = np.array([0, 0, 0, 0, 1, 1, 1, 1.0])
    one = np.array([1, 2, 3, 4, 2.5, 5, 6, 7.0])
    flat = np.array([9, 9, 1, 1, 9, 1, 1, 1.0])
    found = sap(np.stack([one, flat], 1), np.stack([factor], 1), repeats=50)
    np.testing.assert_allclose(found.scores[:, 0], [7 / 8, 5 / 8])
    assert found.score.value == pytest.approx(2 / 8)
    turned = sap(np.stack([-one, flat], 1), np.stack([factor], 1), repeats=50)
    np.testing.assert_allclose(turned.scores, found.scores)


def test_sap_of_a_constant_code_is_nothing():
    y = np.random.default_rng(0).normal(size=(50, 1))
    found = sap(np.concatenate([y, np.ones((50, 1))], 1), y, repeats=50)
    assert found.scores[1, 0] == 0 and found.score.value == pytest.approx(1)
    assert found.shuffled < 0.1


def test_intervals_of_sap_hold_a_gap_of_nothing():
    """Two codes are as good as each other: the best of a draw is ahead by chance alone."""
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng([seed, 3])
        y, one, other, noise = rng.normal(size=(4, 80))
        codes = np.stack([y + one, y + other, noise], 1)
        covered += sap(codes, y[:, None], repeats=200).score.covers(0.0)
    assert covered >= 54


def test_a_factor_that_few_samples_tell_throughout_has_a_wide_interval():
    """Two classes and no sample told wrong: a bootstrap tells all draws right, too."""
    widths = []
    for n in (6, 60):
        factor = np.repeat([0.0, 1.0], n)
        codes = np.stack([factor * 2 - 1, np.zeros(2 * n)], 1)
        score = sap(codes, factor[:, None], repeats=100).score
        assert score.value == 0.5 and score.low < 0.5
        widths.append(score.high - score.low)
    assert widths[0] > 3 * widths[1] and widths[0] > 0.15


def test_intervals_of_sap_cover_what_was_planted():
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng([seed, 19])
        a, b, c, noise = rng.normal(size=(4, 150))
        found = sap(
            np.stack([a, b, c], 1), np.stack([a + 0.5 * noise, b + 0.5 * c], 1), repeats=300
        )
        covered += found.score.covers((1 / 1.25 + (1 - 0.25) / 1.25) / 2)
    assert 180 <= covered <= 196, covered


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.floats(0.01, 100), st.floats(-10, 10))
def test_sap_knows_no_units_and_no_order(seed, unit, origin):
    rng = np.random.default_rng(seed)
    y = factors_of(rng, 30)
    codes = y + 0.3 * rng.normal(size=y.shape)
    order = rng.permutation(30)
    plain, other = sap(codes, y, repeats=5), sap(unit * codes[order] + origin, y[order], repeats=5)
    np.testing.assert_allclose(other.scores, plain.scores, atol=1e-6)


def test_cosines_are_found_without_their_samples_chance():
    """Two labels whose directions have a known angle, and a third that means nothing."""
    rng = np.random.default_rng(3)
    n, d = 200, 400
    u, v, nothing = rng.normal(size=(3, n))
    a, b = np.zeros(d), np.zeros(d)
    a[:40], b[20:60] = 0.5, 0.5  # half of either is the other's: a cosine of 1/2
    data = u[:, None] * a + v[:, None] * b + rng.normal(size=(n, d))

    def ends(label):
        return np.where(label > 0.6, 1, np.where(label < -0.6, -1, 0))

    found = cosines(
        data @ data.T, {"u": ends(u), "v": ends(v), "nothing": ends(nothing)}, repeats=200
    )
    meant, *chance = found
    assert (
        meant.cosine.covers(0.5)
        and meant.p < 0.01
        and meant.null < meant.fitted < meant.cosine.value
    )
    assert all(each.p > 0.05 for each in chance) and {each.second for each in chance} == {"nothing"}
    with pytest.raises(AnalysisError, match="2 positives and 2 negatives"):
        cosines(data @ data.T, {"u": ends(u), "v": np.ones(n)})
    with pytest.raises(AnalysisError, match="2 or more directions"):
        cosines(data @ data.T, {"u": ends(u)})


def test_codes_beyond_their_rotations():
    """The factors themselves are more disentangled than any rotation of them; a rotation is not."""
    rng = np.random.default_rng(0)
    y = factors_of(rng)
    turned = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for codes, meant in ((y, True), ((y - y.mean(0)) / y.std(0) @ turned, False)):
        found, gap = dci(codes, y, repeats=10), sap(codes, y, repeats=10)
        assert (found.p == 0.05) == meant and (gap.p == 0.05) == meant
        assert found.rotated.shape == (19, 2) and gap.rotated.shape == (19,)


def positives_of(rng, shift, n=120, d=200, count=20):
    """Samples of which the first ``count`` are moved alike by ``shift`` σ; alignment is shift² /
    (1 + shift²).
    """
    data = rng.normal(size=(n, d))
    positive = np.arange(n) < count
    data[:count] += shift * np.ones(d)
    return data, positive


def test_positives_that_share_something_are_aligned():
    data, positive = positives_of(np.random.default_rng(0), 0.7)
    found = alignment_of_gram(data @ data.T, positive, repeats=300)
    assert found.alignment.covers(0.49 / 1.49) and found.p == 0.001 and not found.warning
    assert found.reliability.value > 0.85 and found.positives == 20
    assert abs(found.null.mean()) < 0.01 and found.alignment.low > found.null.max()
    assert alignment(data.astype(np.float32), positive, repeats=100).alignment.low > 0.2


def test_positives_that_share_nothing_are_warned_of():
    data, positive = positives_of(np.random.default_rng(0), 0.0)
    found = alignment(data, positive, repeats=300)
    assert found.p > 0.05 and "means little" in found.warning and "20 positives" in found.warning


def test_positives_of_two_opposite_kinds_cancel():
    """The same positives, of one pose and of both: each kind is aligned, the two together are
    not.
    """
    data, positive = positives_of(np.random.default_rng(0), 0.6)
    both = data.copy()
    both[10:20] -= 1.2
    found = alignment(both, positive, repeats=300)
    assert found.warning and found.alignment.high < 0.1
    one = np.delete(both, np.arange(10, 20), 0)
    assert alignment(one, np.arange(110) < 10, repeats=300).alignment.value > 0.15


def test_a_weak_average_over_few_positives_is_warned_of_for_its_reliability():
    data, positive = positives_of(np.random.default_rng(3), 0.38, n=200, count=4)
    found = alignment(data, positive, repeats=300)
    assert (
        found.p <= 0.05
        and "would be found again" in found.warning
        and found.reliability.value < 0.5
    )


def test_intervals_of_alignment_cover_and_its_test_keeps_its_level(monkeypatch):
    monkeypatch.setattr("hcache.analysis.alignment.PERMUTATIONS", 99)
    covered = false = 0
    for seed in range(200):
        rng = np.random.default_rng([seed, 99])
        data, positive = positives_of(rng, 0.5)
        covered += alignment_of_gram(data @ data.T, positive, repeats=300).alignment.covers(0.2)
        data, positive = positives_of(rng, 0.0, n=60)
        false += alignment_of_gram(data @ data.T, positive, repeats=20).p <= 0.05
    assert 180 <= covered <= 196 and false <= 14, (covered, false)


def test_scatter_between_classes_is_its_share_of_the_variance(monkeypatch):
    monkeypatch.setattr("hcache.analysis.alignment.PERMUTATIONS", 99)
    covered = false = 0
    classes = np.repeat(np.arange(4), 15)
    for seed in range(200):
        rng = np.random.default_rng([seed, 29])
        noise = rng.normal(size=(60, 100))
        false += scatter(noise, classes, repeats=20).p <= 0.05
        means = np.kron(np.array([[1, 1, -1, -1], [1, -1, 1, -1.0]]).T, np.ones(50)) * 0.6
        # Every coordinate comes to σ = 1 by itself: the share is 0.36 / 1.36 in each.
        covered += scatter(noise + means[classes], classes, repeats=300).between.covers(0.36 / 1.36)
    assert 180 <= covered <= 196 and false <= 14, (covered, false)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_alignment_knows_no_order_of_samples_and_no_units(seed):
    rng = np.random.default_rng(seed)
    data, positive = positives_of(rng, 0.5, n=30, d=20, count=6)
    order, units = rng.permutation(30), 10.0 ** rng.uniform(-2, 2, size=20)
    plain = alignment(data, positive, repeats=5)
    other = alignment(data[order] * units + 1, positive[order], repeats=5)
    assert other.alignment.value == pytest.approx(plain.alignment.value, abs=1e-4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: disentanglement_of(np.zeros((2, 2))), "not all 0"),
        (lambda: disentanglement_of(np.array([[-1.0, 1]])), "not negative"),
        (lambda: disentanglement_of(np.ones((2, 1))), "2 or more factors"),
        (lambda: completeness_of(np.ones((1, 2))), "2 or more codes"),
        (lambda: dci(np.ones((30, 2)), np.ones((30, 2))), "factor 0, 1 has one value"),
        (lambda: dci(np.ones((5, 2)), np.ones((5, 2))), "10 samples or more, got 5"),
        (lambda: dci(np.ones((30, 2)), np.full((30, 2), np.nan)), "missing"),
        (lambda: dci(np.ones((30, 2)), np.ones((29, 2))), "same n"),
        (lambda: sap(np.ones((30, 1)), np.arange(30.0)[:, None]), "2 codes"),
        (lambda: alignment(np.ones((9, 2)), np.arange(9)), "bool"),
        (lambda: alignment(np.ones((9, 2)), np.arange(9) < 2), "got 2 and 7"),
        (lambda: alignment(np.ones((9, 2)), np.arange(9) < 4), "same for all samples"),
        (lambda: scatter(np.ones((9, 2)), np.zeros(9)), "2 or more classes"),
        (lambda: scatter(np.ones((9, 2)), np.arange(9) // 8), "8, 1"),
    ],
)
def test_what_has_no_measure_is_refused_in_words(call, words):
    with pytest.raises(AnalysisError, match=words):
        call()


def test_intervals_of_dci_lie_about_the_value_and_cover_that_of_more_data():
    """The truth is what far more samples give; draws of the same sample twice would lie beside
    it.
    """

    def planted(seed, n):
        rng = np.random.default_rng([seed, 23])
        y = rng.normal(size=(n, 2))
        return y @ np.array([[1.0, 0.4, 0], [0, 1, 1]]) + 0.5 * rng.normal(size=(n, 3)), y

    truth = dci(*planted(0, 4000), repeats=2).disentanglement.value
    found = [dci(*planted(seed, 150), repeats=20).disentanglement for seed in range(1, 11)]
    assert all(each.low <= each.value <= each.high for each in found)
    assert sum(each.covers(truth) for each in found) >= 8


def test_what_is_mostly_chance_has_no_cosine():
    rng = np.random.default_rng(0)
    data, ends = rng.normal(size=(80, 300)), np.repeat([1, 0, -1, 0], 20)
    (found,) = cosines(data @ data.T, {"a": ends, "b": np.roll(ends, 10)}, repeats=20)
    assert found.cosine is None and -1 <= found.fitted <= 1
