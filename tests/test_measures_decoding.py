"""Probes find what was planted, with intervals that cover it, and nothing where there is
nothing.
"""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import balanced_accuracy_score, r2_score, roc_auc_score
from tiny import drain

from hcache.analysis.bootstrap import bootstrap_many, draw_counts, mean_of
from hcache.analysis.decoding import Probing, decode, difference, fold_of, shuffled_within
from hcache.analysis.groups import shuffled_by_group
from hcache.analysis.learning_curves import default_sizes, learning_curve
from hcache.analysis.linear_probes import (
    LOGISTIC_PENALTIES,
    PENALTIES,
    ColumnProducts,
    fit_logistic,
    leave_one_out,
    logistic,
    ridge,
    with_ones,
)
from hcache.analysis.probes import AUC, R2, Space, gram_matrix, principal_scores
from hcache.analysis.proportions import auc_interval, wilson
from hcache.analysis.scoring import accuracy, auc, score_statistic
from hcache.errors import AnalysisError

QUICK = {"controls": 2, "repeats": 300}


def planted(rng, n=100, d=300, noise=0.5, rank=10):
    """Features with some strong components, and a label that is one of these, in noise. The true
    R² is 1/(1+noise²).
    """
    strong = rng.normal(size=(n, rank))
    data = strong @ rng.normal(size=(rank, d)) + 0.5 * rng.normal(size=(n, d))
    return data.astype(np.float32), strong[:, 0] + noise * rng.normal(size=n)


def split(n, rng):
    test = rng.permutation(n) < n // 4
    return np.flatnonzero(~test), np.flatnonzero(test)


@pytest.mark.parametrize("d", [20, 300])
def test_ridge_probes_are_scikit_learns(d):
    """Predictions and the penalty that leaving one out chooses, for several labels at once."""
    rng = np.random.default_rng(0)
    data, label = planted(rng, d=d)
    targets = np.stack([label, rng.normal(size=len(label)), data[:, 3]], 1)
    z = (data - data.mean(0)) / data.std(0) / np.sqrt(d)
    train, test = split(len(z), rng)
    unit = np.square(z[train] - z[train].mean(0)).sum(1).mean()
    theirs = [
        RidgeCV(PENALTIES * unit).fit(z[train], target[train]).predict(z[test])
        for target in targets.T
    ]
    inner, outer = principal_scores(gram_matrix(data), train, test)
    np.testing.assert_allclose(ridge(inner, outer, targets[train]), np.stack(theirs, 1), atol=1e-3)


@pytest.mark.parametrize("d", [8, 90])
def test_held_out_predictions_are_scikit_learns_of_every_fold(d):
    """From data to predictions, of few features and of many; logistic at one of its penalties."""
    rng = np.random.default_rng(2)
    data, label = planted(rng, n=80, d=d, rank=4)
    z = (data - data.mean(0)) / data.std(0) / np.sqrt(d)
    values, classes = (
        decode(data, part, folds=4, **QUICK) for part in (label, (label > 0).astype(float))
    )
    for number in range(4):
        train, test = values.fold != number, values.fold == number
        unit = np.square(z[train] - z[train].mean(0)).sum(1).mean()
        theirs = RidgeCV(PENALTIES * unit).fit(z[train], label[train]).predict(z[test])
        np.testing.assert_allclose(values.predicted[test], theirs, atol=2e-3)
        train, test = classes.fold != number, classes.fold == number
        scale = np.sqrt(np.square(z[train] - z[train].mean(0)).sum(1).mean())
        fits = [
            LogisticRegression(
                C=1 / (c * scale**2), class_weight="balanced", tol=1e-9, max_iter=10**4
            ).fit(z[train], classes.target[train])
            for c in LOGISTIC_PENALTIES
        ]
        apart = [
            np.abs(fit.decision_function(z[test]) - classes.predicted[test]).max() for fit in fits
        ]
        assert min(apart) < 5e-3, apart


def test_draws_made_before_are_the_draws_that_would_be_made():
    rng = np.random.default_rng(0)
    strata, values = np.arange(40) % 2, rng.normal(size=(40, 3))
    drawn = draw_counts(40, 300, np.random.default_rng(5), strata).astype(np.uint8)
    options = {"repeats": 300, "seed": 5, "strata": strata}
    assert bootstrap_many(mean_of(values), 40, drawn=drawn) == bootstrap_many(
        mean_of(values), 40, **options
    )


def test_logistic_probes_are_scikit_learns():
    """Of the same penalty, balanced classes; for labels of very different balance at once."""
    rng = np.random.default_rng(0)
    x = with_ones(rng.normal(size=(80, 6)))
    odds = x @ rng.normal(size=(7, 3)) + [0, 2, -2]
    y = (odds + rng.logistic(size=odds.shape) > 0).T.astype(float)
    share = y.mean(1, keepdims=True)
    weights = 0.5 * np.where(y > 0.5, 1 / share, 1 / (1 - share))
    for penalty in LOGISTIC_PENALTIES:
        beta = fit_logistic(x, y, weights, penalty, np.zeros((3, 7)))
        for ours, target in zip(beta, y, strict=True):
            theirs = LogisticRegression(
                C=1 / penalty, class_weight="balanced", tol=1e-9, max_iter=10**4
            )
            theirs.fit(x[:, :-1], target)
            np.testing.assert_allclose(ours, [*theirs.coef_[0], theirs.intercept_[0]], atol=2e-3)


def test_leaving_one_out_of_a_logistic_probe_is_nearly_fitting_it_without():
    rng = np.random.default_rng(1)
    x = with_ones(rng.normal(size=(60, 5)))
    y = (x[:, 0] + rng.logistic(size=60) > 0).astype(float)[None]
    weights = np.ones_like(y)
    beta = fit_logistic(x, y, weights, 1.0, np.zeros((1, 6)))
    quick = leave_one_out(x, y, weights, 1.0, beta, ColumnProducts(x))
    slow = []
    for i in range(60):
        kept = np.arange(60) != i
        beta = fit_logistic(x[kept], y[:, kept], weights[:, kept], 1.0, np.zeros((1, 6)))
        slow.append(beta[0] @ x[i])
    np.testing.assert_allclose(quick[0], slow, atol=0.05)


def test_logistic_probes_of_classes_that_can_be_told_apart_stay_finite():
    data = np.random.default_rng(0).normal(size=(40, 200)).astype(np.float32)
    data[:20, :100] += 3
    target = np.r_[np.ones(20), np.zeros(20)][:, None]
    train, test = np.arange(0, 40, 2), np.arange(1, 40, 2)
    odds = logistic(*principal_scores(gram_matrix(data), train, test), target[train])
    assert np.isfinite(odds).all() and ((odds[:, 0] > 0) == (target[test, 0] == 1)).all()


def test_the_auc_is_scikit_learns_within_folds():
    rng = np.random.default_rng(0)
    target, fold = rng.integers(0, 2, (60, 2)), np.arange(60) % 3
    predicted = np.round(rng.normal(size=(60, 2)) + target, 1)  # with ties
    drawn = rng.integers(0, 4, 60)
    again = np.repeat(np.arange(60), drawn)
    whole = auc(target, predicted, np.zeros(60))(np.stack([np.ones(60), drawn]))
    for k in range(2):
        assert whole[0, k] == pytest.approx(roc_auc_score(target[:, k], predicted[:, k]))
        assert whole[1, k] == pytest.approx(roc_auc_score(target[again, k], predicted[again, k]))
    ones = np.ones((1, 60))
    moved = auc(target, predicted + 100 * fold[:, None], fold)(ones)
    np.testing.assert_allclose(moved, auc(target, predicted, fold)(ones), atol=1e-12)


def test_scores_are_scikit_learns():
    rng = np.random.default_rng(0)
    target = rng.normal(size=50)
    predicted = target + rng.normal(size=50)
    found = score_statistic(target[:, None], predicted[:, None], np.zeros(50), R2)(np.ones((1, 50)))
    assert found[0, 0] == pytest.approx(r2_score(target, predicted))
    classes = (target > 0.5).astype(int)
    expected = balanced_accuracy_score(classes, predicted > 0)
    assert accuracy(classes, predicted)(np.ones((1, 50)))[0, 0] == pytest.approx(expected)


def test_a_planted_label_is_recovered():
    data, label = planted(np.random.default_rng(0), n=200)
    found = decode(data, label, repeats=500)
    assert found.metric == R2 and found.score.covers(0.8) and found.accuracy is None
    assert found.p == 0.01 and found.selectivity.low > 0.5 and abs(found.control) < 0.2
    classes = decode(data, (label > 0).astype(float), repeats=500)
    assert classes.metric == AUC and classes.score.low > 0.85 and classes.accuracy.low > 0.7
    assert classes.p == 0.05 and abs(classes.control - 0.5) < 0.15 and classes.selectivity.low > 0.2
    assert not np.isnan(classes.predicted).any() and set(classes.fold) == set(range(5))


def test_a_label_that_is_there_but_not_linearly_is_not_read_off():
    data, _ = planted(np.random.default_rng(0), n=200, d=5, rank=3)
    z = data[:, 0] - data[:, 0].mean()
    found = decode(data, np.square(z), **QUICK)
    assert found.score.value < 0.3 and decode(data, z, **QUICK).score.value > 0.95


@pytest.mark.parametrize(
    ("sets", "least", "most"), [(60, 0.87, 1), pytest.param(200, 0.9, 0.98, marks=pytest.mark.slow)]
)
def test_intervals_cover_what_probes_of_that_size_score(sets, least, most):
    """Against 2,000 unseen samples; and the planted R² itself, where there are samples enough to
    reach it.
    """
    covered, planted_covered = [], []
    for seed in range(sets):
        rng = np.random.default_rng([seed, 7])
        n, d = 160, 4
        x = rng.normal(size=(n + 2000, d)).astype(np.float32)
        y = x @ np.array([1, 0, 0, 0]) + rng.normal(size=n + 2000)
        found = decode(x[:n], y[:n], seed=seed, **QUICK)
        z = (x - x[:n].mean(0)) / x[:n].std(0)
        fits = [
            RidgeCV(np.logspace(-1, 4, 8)).fit(z[:n][found.fold != k], y[:n][found.fold != k])
            for k in range(5)
        ]
        covered.append(
            found.score.covers(np.mean([r2_score(y[n:], fit.predict(z[n:])) for fit in fits]))
        )
        planted_covered.append(found.score.covers(0.5))
    assert least <= np.mean(covered) <= most, np.mean(covered)
    assert least <= np.mean(planted_covered) <= most, np.mean(planted_covered)


@pytest.mark.parametrize(("sets", "most"), [(60, 8), pytest.param(200, 14, marks=pytest.mark.slow)])
@pytest.mark.parametrize("binary", [False, True])
def test_labels_that_are_not_there_are_called_significant_in_5_per_cent(binary, sets, most):
    """Data sets of more features than samples."""
    significant = 0
    for seed in range(sets):
        rng = np.random.default_rng([seed, 3])
        data, label = rng.normal(size=(40, 100)).astype(np.float32), rng.normal(size=40)
        label = (label > 0.3).astype(float) if binary else label
        significant += decode(data, label, folds=4, repeats=20, seed=seed).p <= 0.05
    assert significant <= most, significant


def test_shuffling_keeps_every_folds_labels():
    rng = np.random.default_rng(0)
    target = (rng.random(60) > 0.8).astype(int)
    fold = fold_of(target, AUC, 5, 0)
    shuffled = shuffled_within(target, fold, rng)
    assert (shuffled != target).any()
    for number in range(5):
        assert shuffled[fold == number].sum() == target[fold == number].sum()


def test_two_sites_compare_on_the_same_samples():
    """A label that both hold: the difference is known better than either score."""
    rng = np.random.default_rng(0)
    data, label = planted(rng, n=200)
    blurred = data + 4 * rng.normal(size=data.shape).astype(np.float32)
    clear, dim = (decode(part, label, **QUICK) for part in (data, blurred))
    found = difference(clear, dim)
    assert (
        found.value == pytest.approx(clear.score.value - dim.score.value, abs=1e-9)
        and found.low > 0
    )
    assert found.high - found.low < (dim.score.high - dim.score.low) + (
        clear.score.high - clear.score.low
    )
    none = difference(clear, clear)
    assert (none.value, none.low, none.high) == (0, 0, 0)
    classes = (label > 0).astype(float)
    assert difference(*(decode(part, classes, **QUICK) for part in (data, blurred))).value > -0.05
    for other in (decode(data, label, seed=1, **QUICK), decode(data, classes, **QUICK)):
        with pytest.raises(AnalysisError, match="same"):
            difference(clear, other)


@pytest.mark.parametrize("binary", [False, True])
def test_learning_curves_rise_and_say_how_many_are_enough(binary):
    data, label = planted(np.random.default_rng(0), n=200, noise=0.1)
    label = (label > 0).astype(float) if binary else label
    shares, found = drain(
        learning_curve(Space.of(data), label, [8, 20, 80, 160], draws=3, repeats=300)
    )
    assert shares == [0.25, 0.5, 0.75, 1] and found.sizes == (8, 20, 80, 160)
    values = [score.value for score in found.scores]
    assert values[0] < values[1] < values[2] and values[3] > values[0] + 0.1
    assert found.enough in (20, 80, None)
    chance = 0.5 if binary else 0
    assert (
        len(found.controls) == 4
        and max(found.controls) < chance + 0.2
        and values[0] > found.controls[0]
    )
    with pytest.raises(AnalysisError, match="from 6 to 160"):
        next(learning_curve(Space.of(data), label, [8, 161]))
    assert default_sizes(200) == (6, 10, 20, 40, 80, 160)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros(40), "same value"),
        (np.r_[np.nan, np.arange(39.0)], "1 of 40 samples have no value"),
        (np.arange(9.0), "10 samples or more, got 9"),
        (np.r_[np.ones(4), np.zeros(36)], "smaller class has 4"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_labels_are_refused_before_data_are_looked_at(labels, words):
    with pytest.raises(AnalysisError, match=words):
        decode(np.full((len(labels), 3), np.nan), labels)
    with pytest.raises(AnalysisError, match=words):
        next(learning_curve(None, labels, [8]))


def test_data_that_say_nothing_are_refused_in_words():
    with pytest.raises(AnalysisError, match="the same number of both"):
        Probing.of(np.arange(40.0)).decode(Space(gram=np.eye(30)))
    for value, words in ((1.0, "same for all samples"), (np.nan, "not finite")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            with pytest.raises(AnalysisError, match=words):
                decode(np.full((40, 20), value, np.float32), np.arange(40.0))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.floats(0.01, 100), st.floats(0.01, 100), st.booleans())
def test_a_probe_is_blind_to_units(seed, unit, label_unit, binary):
    data, label = planted(np.random.default_rng(seed), n=40, d=30)
    target = (label > np.median(label)).astype(float) if binary else label
    moved = target if binary else label_unit * target - 3
    plain, scaled = (
        decode(d, t, folds=4, **QUICK) for d, t in ((data, target), (unit * data + 1, moved))
    )
    assert scaled.score.value == pytest.approx(plain.score.value, abs=5e-3)
    assert scaled.control == pytest.approx(plain.control, abs=0.05)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_a_probe_knows_no_order_of_features(seed):
    rng = np.random.default_rng(seed)
    data, label = planted(rng, n=40, d=30)
    other = decode(data[:, rng.permutation(30)], label, folds=4, **QUICK)
    assert other.score.value == pytest.approx(
        decode(data, label, folds=4, **QUICK).score.value, abs=1e-3
    )


def test_samples_that_belong_together_are_in_one_fold_and_shuffled_as_one():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), [1, 2, 3, 4] * 3)
    label = rng.normal(size=12)[groups]
    probing = Probing.of(label, groups=groups, controls=30, repeats=50)
    for number in range(12):
        rows = np.flatnonzero(groups == number)
        assert len(np.unique(probing.fold[rows])) == 1
        assert (probing.targets[rows] == probing.targets[rows[0]]).all()
        assert (probing.drawn[:, rows] == probing.drawn[:, rows[:1]]).all()
    varied = shuffled_by_group(np.arange(30.0), groups, rng)
    assert sorted(varied) == list(range(30)), "each label is still there"
    of_fours = [set(np.arange(30.0)[groups == number]) for number in (3, 7, 11)]
    assert all(set(varied[groups == number]) in of_fours for number in (3, 7, 11)), (
        "and those of a group together"
    )


@pytest.mark.parametrize(("sets", "most"), [(24, 4), pytest.param(60, 8, marks=pytest.mark.slow)])
@pytest.mark.parametrize("binary", [False, True])
def test_labels_of_groups_that_are_not_there_are_called_significant_in_5_per_cent(
    binary, sets, most
):
    """16 prompts of 4 samples, whose activations share much; a label of prompts that has nothing
    to do with them.
    """
    groups, significant, apart = np.repeat(np.arange(16), 4), 0, 0
    for seed in range(sets):
        rng = np.random.default_rng([6, seed])
        label = rng.normal(size=16)[groups]
        label = (label > np.median(label)).astype(float) if binary else label
        data = (rng.normal(size=(16, 60))[groups] + rng.normal(size=(64, 60))).astype(np.float32)
        significant += (
            decode(data, label, groups=groups, controls=19, repeats=2, folds=4, seed=seed).p <= 0.05
        )
        apart += decode(data, label, controls=19, repeats=2, folds=4, seed=seed).p <= 0.05
    assert significant <= most and apart > 2 / 3 * sets, (significant, apart)


def test_rows_that_are_the_same_to_the_bit_belong_together():
    rng = np.random.default_rng(0)
    data, label = rng.normal(size=(32, 50)).astype(np.float32), rng.normal(size=32)
    found = decode(np.r_[data, data], np.r_[label, label], **QUICK)
    assert (
        found.groups.tolist() == [*found.groups[:32]] * 2
        and found.score.n == 32
        and found.score.value < 0.3
    )
    assert decode(data, label, **QUICK).groups is None
    with pytest.raises(AnalysisError, match="2 groups that belong together"):
        decode(data, label, groups=np.arange(32) % 2)
    with pytest.raises(AnalysisError, match="one value for each of 32 samples"):
        decode(data, label, groups=np.arange(31))


def test_what_is_told_right_throughout_has_an_interval_all_the_same():
    rng = np.random.default_rng(0)
    label = np.repeat([0.0, 1.0], 32)
    found = decode(
        (label[:, None] + 0.01 * rng.normal(size=(64, 20))).astype(np.float32), label, **QUICK
    )
    assert found.score.value == 1 and 0.9 < found.score.low < 0.95 and found.score.high == 1
    assert found.accuracy.low < 0.95 and found.selectivity.low < found.selectivity.value
    assert auc_interval(1.0, 32, 32) == pytest.approx((0.9373, 1), abs=1e-3)
    assert auc_interval(0.0, 32, 32) == pytest.approx(
        tuple(1 - x for x in auc_interval(1.0, 32, 32)[::-1]), abs=1e-6
    )
    low, high = auc_interval(0.75, 20, 30)
    assert low < 0.75 < high and wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_intervals_of_areas_near_1_cover_the_truth():
    """Scores of two normal classes, apart by as much as gives areas of 0.9, 0.98 and 0.995, 300
    data sets each.
    """
    rng = np.random.default_rng(0)
    for truth in (0.9, 0.98, 0.995):
        apart, covered = np.sqrt(2) * stats.norm.ppf(truth), 0
        for _ in range(300):
            ones, zeros = rng.normal(size=24) + apart, rng.normal(size=40)
            low, high = auc_interval(float((ones[:, None] > zeros).mean()), 24, 40)
            covered += low <= truth <= high
        assert covered >= 276, (truth, covered)
