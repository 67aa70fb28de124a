"""Intervals cover what was planted, tests are significant as often as they say, and what
overlaps is not ranked.
"""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from hcache.analysis.bootstrap import (
    BCA,
    PERCENTILE,
    bootstrap,
    bootstrap_many,
    draw_counts,
    mean_of,
    ratio_of,
    rows,
)
from hcache.analysis.estimate import (
    Contrast,
    Estimate,
    difference_interval,
    known_order,
    not_exceeded,
    ordered_groups,
    without_implied,
)
from hcache.analysis.permutation import (
    family_p,
    holm,
    over_parts,
    p_value,
    permutation_test,
    sign_flip_test,
)
from hcache.cache.records import plain
from hcache.errors import AnalysisError

REPETITIONS = 200


def share_of(function, repetitions=REPETITIONS):
    """The mean of what a function finds in as many data sets, each of its own generator."""
    return np.mean([function(np.random.default_rng([seed, 1])) for seed in range(repetitions)], 0)


def estimate(value, low, high):
    return Estimate(value=value, low=low, high=high, n=9)


@pytest.mark.parametrize("method", [BCA, PERCENTILE])
@pytest.mark.parametrize("n", [8, 24, 100])
def test_intervals_of_a_mean_cover_it(n, method):
    covered = share_of(
        lambda rng: bootstrap(mean_of(rng.normal(3, 2, n)), n, repeats=500, method=method).covers(3)
    )
    assert 0.90 <= covered <= 0.98


@pytest.mark.parametrize("n", [24, 100])
def test_intervals_of_a_ratio_of_sums_cover_it(n):
    def covers(rng):
        below = rng.gamma(4, size=n)
        return bootstrap(
            ratio_of(0.3 * below + 0.2 * rng.normal(size=n), below), n, repeats=500
        ).covers(0.3)

    assert 0.90 <= share_of(covers) <= 0.98


def test_intervals_of_any_function_of_rows_cover_it():
    """A correlation: skewed, and not a function of sums that anyone has written down for it."""

    def covers(rng):
        x = rng.normal(size=60)
        y = 0.8 * x + 0.6 * rng.normal(size=60)
        return bootstrap(rows(lambda a, b: np.corrcoef(a, b)[0, 1], x, y), 60, repeats=200).covers(
            0.8
        )

    assert 0.90 <= share_of(covers, 100) <= 0.98


def test_clusters_are_drawn_as_a_whole():
    """16 values that come 5 times each are 16 samples, not 80."""

    def covers(rng):
        values, clusters = np.repeat(rng.normal(size=16), 5), np.repeat(np.arange(16), 5)
        right = bootstrap(mean_of(values), 80, repeats=500, clusters=clusters)
        wrong = bootstrap(mean_of(values), 80, repeats=500)
        assert (right.n, wrong.n) == (16, 80)
        return right.covers(0), wrong.covers(0)

    right, wrong = share_of(covers)
    assert 0.90 <= right <= 0.98 and wrong < 0.75


def test_strata_keep_their_sizes():
    strata = np.array([0] * 5 + [1] * 20)
    counts = draw_counts(25, 100, np.random.default_rng(0), strata)
    assert (counts[:, :5].sum(1) == 5).all() and (counts[:, 5:].sum(1) == 20).all()
    with pytest.raises(AnalysisError, match="not by both"):
        bootstrap(mean_of(np.arange(25.0)), 25, strata=strata, clusters=strata)


def test_several_statistics_share_their_draws():
    """A difference of the same numbers is exactly 0, interval and all."""
    values = np.random.default_rng(0).normal(size=(30, 1))
    same = np.concatenate([values, values, values - values], 1)
    a, b, difference = bootstrap_many(mean_of(same), 30)
    assert a == b and (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_an_interval_is_its_seed():
    values = np.random.default_rng(0).normal(size=30)
    one, again, other = (bootstrap(mean_of(values), 30, seed=seed) for seed in (1, 1, 2))
    assert one == again != other


def test_an_interval_agrees_with_scipys():
    values = np.random.default_rng(0).exponential(size=200)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20000, method="BCa", rng=0
    ).confidence_interval
    ours = bootstrap(mean_of(values), 200, repeats=20000)
    assert ours.low == pytest.approx(theirs.low, abs=0.01) and ours.high == pytest.approx(
        theirs.high, abs=0.01
    )


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    arrays(float, 12, elements=st.floats(-100, 100)),
    st.floats(0.01, 1000),
    st.randoms(use_true_random=False),
)
def test_an_interval_scales_with_its_unit_and_knows_no_order(values, unit, random):
    order = list(range(12))
    random.shuffle(order)
    plain, scaled = (bootstrap(mean_of(v), 12, repeats=200) for v in (values, unit * values))
    for name in ("value", "low", "high"):
        assert getattr(scaled, name) == pytest.approx(
            unit * getattr(plain, name), rel=1e-6, abs=1e-6 * unit
        )
    shuffled = bootstrap(mean_of(values[order]), 12, repeats=200)
    assert shuffled.value == pytest.approx(plain.value, abs=1e-9)
    assert plain.low - 1e-9 <= plain.value <= plain.high + 1e-9


def test_what_has_no_interval_is_refused_in_words():
    with pytest.raises(AnalysisError, match="2 samples or more"):
        bootstrap(mean_of(np.ones(1)), 1)
    with pytest.raises(AnalysisError, match="not defined on these samples"):
        bootstrap(ratio_of(np.ones(5), np.zeros(5)), 5)
    with pytest.raises(AnalysisError, match="not defined on most draws"):
        bootstrap(lambda counts: np.where((counts == 1).all(1), 1.0, np.nan), 5, method=PERCENTILE)
    with pytest.raises(AnalysisError, match="got 'bca'"):
        bootstrap(mean_of(np.ones(5)), 5, method="bca")
    with pytest.raises(AnalysisError, match="between 0 and 1"):
        bootstrap(mean_of(np.ones(5)), 5, level=95)


def test_a_p_value_counts_what_was_observed():
    assert p_value(3, np.array([1, 2, 3, 4])) == 3 / 5
    assert p_value(9, np.zeros(19)) == 1 / 20
    assert p_value(0.3, np.array([0.1 + 0.2])) == 1, "equal but for rounding is equal"


def test_permutation_tests_of_nothing_are_significant_as_often_as_they_say():
    def significant(rng):
        x, y = rng.normal(size=(2, 30))
        return permutation_test(lambda orders: y[orders] @ x, 30, repeats=199)[1] <= 0.05

    assert share_of(significant) <= 0.07
    x = np.random.default_rng(0).normal(size=30)
    assert permutation_test(lambda orders: x[orders] @ x, 30, repeats=199)[1] == 1 / 200


def test_a_family_of_sign_flip_tests_has_one_error_rate():
    """Ten effects that are none, some of them tied together, noise of very different scale."""

    def any_significant(rng):
        effects = rng.normal(size=(20, 10)) + rng.normal(size=(20, 1))
        return (sign_flip_test(effects * np.logspace(-3, 3, 10), repeats=399) <= 0.05).any()

    assert share_of(any_significant) <= 0.07
    found = sign_flip_test(np.random.default_rng(0).normal(size=(20, 3)) + [0, 3, -3])
    assert found[0] > 0.05 and (found[1:] < 0.01).all()
    assert (sign_flip_test(np.zeros((5, 2))) == 1).all()
    with pytest.raises(AnalysisError, match="2 samples or more"):
        sign_flip_test(np.zeros((1, 2)))


def test_estimates_go_through_json():
    one = estimate(0.5, 0.25, 0.75)
    assert Estimate.from_json(json.loads(json.dumps(one.to_json()))) == one
    contrast = Contrast(measured=one, null=one, excess=estimate(0.1, 0.05, 0.2), p=0.01)
    assert Contrast.from_json(json.loads(json.dumps(contrast.to_json()))) == contrast
    assert contrast.above_null and str(one) == "0.50 (0.25 to 0.75)"


def test_what_nothing_is_known_to_exceed_is_not_said_to_be_equal():
    found = {
        "a": estimate(0.5, 0.4, 0.6),
        "b": estimate(0.9, 0.8, 1.0),
        "c": estimate(0.7, 0.55, 0.85),  # overlaps both, which do not overlap each other
        "d": estimate(0.1, 0.0, 0.2),
        "none": Estimate.undefined("all are alike", 9),
    }
    assert not_exceeded(found) == ("b", "c"), "b is known to exceed a"
    assert not_exceeded({"a": found["a"], "b": found["b"]}) == ("b",)
    assert not_exceeded({}) == not_exceeded({"none": found["none"]}) == ()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 4), st.floats(0, 4)), min_size=1, max_size=8)
)
def test_all_but_what_is_exceeded_is_named_and_the_largest_always(spans):
    found = {str(i): estimate(v, v - down, v + up) for i, (v, down, up) in enumerate(spans)}
    most, larger = not_exceeded(found), set(known_order(found))
    for name in found:
        assert (name in most) == (not any((other, name) in larger for other in found))
    assert found[most[0]].value == max(each.value for each in found.values())


def test_names_are_ranked_only_where_no_intervals_overlap():
    found = {
        "a": estimate(5, 4, 6),
        "b": estimate(9, 8, 10),
        "c": estimate(7, 5.5, 8.5),  # overlaps both, which do not overlap each other
        "d": estimate(1, 0, 2),
    }
    assert ordered_groups(found) == (("b", "c", "a"), ("d",))
    assert ordered_groups({"a": found["a"], "b": found["b"]}) == (("b",), ("a",))
    assert ordered_groups({}) == ()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 4), st.floats(0, 4)), min_size=1, max_size=8)
)
def test_groups_hold_every_name_and_lie_wholly_above_each_other(spans):
    found = {str(i): estimate(v, v - down, v + up) for i, (v, down, up) in enumerate(spans)}
    groups = ordered_groups(found)
    assert sorted(name for group in groups for name in group) == sorted(found)
    larger = set(known_order(found))
    for number, above in enumerate(groups):
        assert all((a, b) in larger for a in above for below in groups[number + 1 :] for b in below)


def test_only_what_is_known_is_ordered():
    found = {"a": estimate(5, 4, 6), "b": estimate(9, 8, 10), "c": estimate(7, 5.5, 8.5)}
    assert known_order(found) == (("b", "a"),), (
        "c overlaps both: it is neither's equal, nothing is known of it"
    )
    apart = {"a": estimate(3, 2.9, 3.1), "b": estimate(2, 1.9, 2.1), "c": estimate(1, 0.9, 1.1)}
    assert known_order(apart) == (("a", "b"), ("a", "c"), ("b", "c"))
    assert without_implied((("a", "b"), ("a", "c"), ("b", "c"))) == (("a", "b"), ("b", "c"))
    many = Estimate(value=9, low=8, high=10, n=512)
    assert known_order({"few": estimate(1, 0, 2), "many": many}) == (), (
        "of other numbers of samples"
    )
    nothing = Estimate.undefined("codes carry nothing", 9)
    assert known_order({"a": found["a"], "nothing": nothing}) == ()
    assert not_exceeded({"a": found["a"], "nothing": nothing}) == ("a",)


def test_two_samples_of_one_kind_are_rarely_ranked_and_a_family_more_rarely_still():
    """Differences of two means of 30, 400 times: the interval of one covers 0 in about 95 %, a
    family's in more.
    """
    rng = np.random.default_rng(0)
    one = family = 0
    for _ in range(400):
        pair = []
        for values in rng.normal(size=(2, 30)):
            half = 2.045 * values.std(ddof=1) / np.sqrt(30)
            pair.append(
                Estimate(
                    value=values.mean(), low=values.mean() - half, high=values.mean() + half, n=30
                )
            )
        low, high = difference_interval(*pair)
        one += not low <= 0 <= high
        family += bool(known_order(dict(zip("ab", pair, strict=True)), comparisons=10))
    assert 8 <= one <= 29 and family <= 6, (one, family)


def test_what_is_undefined_says_why_and_goes_through_json():
    nothing = Estimate.undefined("donor and recipient are alike", 9)
    again = Estimate.from_json(json.loads(json.dumps(plain(nothing.to_json()))))
    assert (
        not again.defined
        and str(again) == "undefined: donor and recipient are alike"
        and again.n == 9
    )
    old = {"value": 1.0, "low": 0.0, "high": 2.0, "n": 4, "level": 0.95}
    assert Estimate.from_json(old).defined, "as it was stored before there was a reason"


def test_a_pilot_says_how_many_samples_an_interval_takes():
    assert estimate(5, 4, 6).samples_for(1.0) == 4 * estimate(5, 4, 6).n
    with pytest.raises(ValueError, match="above 0"):
        estimate(5, 4, 6).samples_for(0)
    with pytest.raises(ValueError, match="undefined"):
        Estimate.undefined("nothing moves", 9).samples_for(1)


def test_holm_worked_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.9, np.nan, 0.5]), [1, np.nan, 1])
    assert holm([]).shape == (0,)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1), max_size=8))
def test_parts_of_one_answer_each_are_adjusted_as_by_holm(p):
    found = over_parts([np.array([each]) for each in p])
    np.testing.assert_allclose([each[0] for each in found], holm(p))


def test_parts_of_a_family_worked_by_hand():
    """Seven labels with 99 shuffles and one with 19: each has the smallest p that it can have, and
    all are called at 5 %.
    """
    many, one, unknown = over_parts([np.full(7, 0.01), np.array([0.05]), np.array([np.nan])])
    np.testing.assert_allclose(many, 0.02)
    np.testing.assert_allclose(one, 0.05)
    assert np.isnan(unknown).all() and over_parts([]) == []
    many, one = over_parts([np.array([0.01, 0.5]), np.array([0.05])])
    np.testing.assert_allclose(many, [0.02, 0.5])
    np.testing.assert_allclose(one, 0.1)
    (alone,) = over_parts([np.array([0.01, 0.5])])
    np.testing.assert_allclose(alone, [0.01, 0.5])


def test_a_family_of_ranks_has_one_error_rate_however_its_members_go_together():
    """60 members that share most of what they are, on scales apart by 1e6: any p of 0.05 or less
    in 5 % of families.
    """

    def significant(rng):
        shared = rng.normal(size=(100, 1))
        draws = (shared + 0.5 * rng.normal(size=(100, 60))) * np.logspace(-3, 3, 60)
        return (family_p(draws[0], draws[1:].T) <= 0.05).any()

    assert 0.01 <= share_of(significant) <= 0.09
    rng = np.random.default_rng(0)
    nulls = rng.normal(size=(3, 99))
    assert family_p(np.array([9.0, 0, 0]), nulls)[0] == 0.01
    assert np.isnan(family_p(np.array([np.nan, 9]), nulls[:2])[0])
