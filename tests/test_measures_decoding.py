"""Probes find what was planted, with intervals that cover it, and nothing where there is nothing."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import balanced_accuracy_score, r2_score, roc_auc_score
from tiny import drain

from hcache.analysis.decoding import (
    balanced_accuracy,
    decode,
    decode_gram,
    decode_map,
    difference,
    fold_of,
    learning_curve,
    score_statistic,
    shuffled_within,
    within_fold_auc,
)
from hcache.analysis.linear_probes import LOGISTIC_PENALTIES, PENALTIES, _newton, _with_ones, logistic, ridge
from hcache.analysis.probes import AUC, R2, gram_matrix
from hcache.errors import AnalysisError

QUICK = {"controls": 2, "repeats": 300}


def planted(rng, n=100, d=300, noise=0.5, rank=10):
    """Features with some strong components, and a label that is one of these, in noise. The true R² is 1/(1+noise²)."""
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
    theirs = [RidgeCV(PENALTIES * unit).fit(z[train], target[train]).predict(z[test]) for target in targets.T]
    np.testing.assert_allclose(ridge(gram_matrix(data), targets, train, test), np.stack(theirs, 1), atol=1e-3)


def test_logistic_probes_are_scikit_learns():
    """Of the same penalty, balanced classes; for labels of very different balance at once."""
    rng = np.random.default_rng(0)
    x = _with_ones(rng.normal(size=(80, 6)))
    odds = x @ rng.normal(size=(7, 3)) + [0, 2, -2]
    y = (odds + rng.logistic(size=odds.shape) > 0).T.astype(float)
    share = y.mean(1, keepdims=True)
    weights = 0.5 * np.where(y > 0.5, 1 / share, 1 / (1 - share))
    for penalty in LOGISTIC_PENALTIES:
        beta, _ = _newton(x, y, weights, penalty, np.zeros((3, 7)))
        for ours, target in zip(beta, y, strict=True):
            theirs = LogisticRegression(C=1 / penalty, class_weight="balanced", tol=1e-9, max_iter=10**4)
            theirs.fit(x[:, :-1], target)
            np.testing.assert_allclose(ours, [*theirs.coef_[0], theirs.intercept_[0]], atol=2e-3)


def test_leaving_one_out_of_a_logistic_probe_is_nearly_fitting_it_without():
    rng = np.random.default_rng(1)
    x = _with_ones(rng.normal(size=(60, 5)))
    y = (x[:, 0] + rng.logistic(size=60) > 0).astype(float)[None]
    weights = np.ones_like(y)
    _, quick = _newton(x, y, weights, 1.0, np.zeros((1, 6)))
    slow = []
    for i in range(60):
        kept = np.arange(60) != i
        beta, _ = _newton(x[kept], y[:, kept], weights[:, kept], 1.0, np.zeros((1, 6)))
        slow.append(beta[0] @ x[i])
    np.testing.assert_allclose(quick[0], slow, atol=0.05)


def test_logistic_probes_of_classes_that_can_be_told_apart_stay_finite():
    data = np.random.default_rng(0).normal(size=(40, 200)).astype(np.float32)
    data[:20, :100] += 3
    target = np.r_[np.ones(20), np.zeros(20)][:, None]
    train, test = np.arange(0, 40, 2), np.arange(1, 40, 2)
    odds = logistic(gram_matrix(data), target, train, test)
    assert np.isfinite(odds).all() and ((odds[:, 0] > 0) == (target[test, 0] == 1)).all()


def test_the_auc_is_scikit_learns_within_folds():
    rng = np.random.default_rng(0)
    target, fold = rng.integers(0, 2, 60), np.arange(60) % 3
    predicted = np.round(rng.normal(size=60) + target, 1)  # with ties
    counts = np.ones((1, 60))
    whole = within_fold_auc(target, predicted, np.zeros(60), counts)
    assert whole[0] == pytest.approx(roc_auc_score(target, predicted))
    moved = within_fold_auc(target, predicted + 100 * fold, fold, counts)
    assert moved[0] == pytest.approx(within_fold_auc(target, predicted, fold, counts)[0], abs=1e-12)
    drawn = rng.integers(0, 4, 60)
    again = np.repeat(np.arange(60), drawn)
    found = within_fold_auc(target, predicted, np.zeros(60), drawn[None].astype(float))
    assert found[0] == pytest.approx(roc_auc_score(target[again], predicted[again]))


def test_scores_are_scikit_learns():
    rng = np.random.default_rng(0)
    target = rng.normal(size=50)
    predicted = target + rng.normal(size=50)
    found = score_statistic(target[:, None], predicted[:, None], np.zeros(50), R2)(np.ones((1, 50)))
    assert found[0, 0] == pytest.approx(r2_score(target, predicted))
    classes = (target > 0.5).astype(int)
    expected = balanced_accuracy_score(classes, predicted > 0)
    assert balanced_accuracy(classes, predicted, 50).value == pytest.approx(expected)


def test_a_planted_label_is_recovered():
    data, label = planted(np.random.default_rng(0), n=200)
    found = decode(data, label, repeats=500)
    assert found.metric == R2 and found.score.covers(0.8) and found.accuracy is None
    assert found.p == 0.05 and found.selectivity.low > 0.5 and abs(found.control) < 0.2
    classes = decode(data, (label > 0).astype(float), repeats=500)
    assert classes.metric == AUC and classes.score.low > 0.85 and classes.accuracy.low > 0.7
    assert classes.p == 0.05 and abs(classes.control - 0.5) < 0.15 and classes.selectivity.low > 0.2
    assert not np.isnan(classes.predicted).any() and set(classes.fold) == set(range(5))


def test_a_label_that_is_there_but_not_linearly_is_not_read_off():
    data, _ = planted(np.random.default_rng(0), n=200, d=5, rank=3)
    z = data[:, 0] - data[:, 0].mean()
    found = decode(data, np.square(z), **QUICK)
    assert found.score.value < 0.3 and decode(data, z, **QUICK).score.value > 0.95


def test_intervals_cover_what_probes_of_that_size_score():
    """Against 2,000 unseen samples; and the planted R² itself, where there are samples enough to reach it."""
    covered, planted_covered = [], []
    for seed in range(200):
        rng = np.random.default_rng([seed, 7])
        n, d = 160, 4
        x = rng.normal(size=(n + 2000, d)).astype(np.float32)
        y = x @ np.array([1, 0, 0, 0]) + rng.normal(size=n + 2000)
        found = decode(x[:n], y[:n], seed=seed, **QUICK)
        z = (x - x[:n].mean(0)) / x[:n].std(0)
        fits = [RidgeCV(np.logspace(-1, 4, 8)).fit(z[:n][found.fold != k], y[:n][found.fold != k]) for k in range(5)]
        covered.append(found.score.covers(np.mean([r2_score(y[n:], fit.predict(z[n:])) for fit in fits])))
        planted_covered.append(found.score.covers(0.5))
    assert 0.90 <= np.mean(covered) <= 0.98, np.mean(covered)
    assert 0.90 <= np.mean(planted_covered) <= 0.98, np.mean(planted_covered)


@pytest.mark.parametrize("binary", [False, True])
def test_labels_that_are_not_there_are_called_significant_in_5_per_cent(binary):
    """200 data sets of more features than samples."""
    significant = 0
    for seed in range(200):
        rng = np.random.default_rng([seed, 3])
        data, label = rng.normal(size=(40, 100)).astype(np.float32), rng.normal(size=40)
        label = (label > 0.3).astype(float) if binary else label
        significant += decode(data, label, folds=4, repeats=20, seed=seed).p <= 0.05
    assert significant <= 14, significant


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
    assert found.value == pytest.approx(clear.score.value - dim.score.value, abs=1e-9) and found.low > 0
    assert found.high - found.low < (dim.score.high - dim.score.low) + (clear.score.high - clear.score.low)
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
    shares, found = drain(learning_curve(data, label, [8, 20, 80, 160], draws=3, repeats=300))
    assert shares == [0.25, 0.5, 0.75, 1] and found.sizes == (8, 20, 80, 160)
    values = [score.value for score in found.scores]
    assert values[0] < values[1] < values[2] and values[3] > values[0] + 0.1
    assert found.enough in (20, 80, None)
    with pytest.raises(AnalysisError, match="from 6 to 160"):
        next(learning_curve(data, label, [8, 161]))


def test_a_map_goes_over_sites_and_steps_with_progress():
    data, label = planted(np.random.default_rng(0), n=60, d=40)
    noise = np.random.default_rng(1).normal(size=data.shape).astype(np.float32)
    shares, found = drain(
        decode_map(lambda site, step: data if step else noise, ["h", "x"], [0, 3], label, repeats=200, controls=2)
    )
    assert shares == [0.25, 0.5, 0.75, 1] and set(found) == {("h", 0), ("h", 3), ("x", 0), ("x", 3)}
    assert found["h", 3].score.low > 0.3 > found["h", 0].score.value


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
def test_labels_are_refused_before_data_are_read(labels, words):
    def unread(site, step):
        raise AssertionError("data were read")

    with pytest.raises(AnalysisError, match=words):
        next(decode_map(unread, ["h"], [0], labels))
    with pytest.raises(AnalysisError, match=words):
        decode(np.full((len(labels), 3), np.nan), labels)


def test_data_that_say_nothing_are_refused_in_words():
    with pytest.raises(AnalysisError, match="give as many of both"):
        decode_gram(np.eye(30), np.arange(40.0))
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
    plain, scaled = (decode(d, t, folds=4, **QUICK) for d, t in ((data, target), (unit * data + 1, moved)))
    assert scaled.score.value == pytest.approx(plain.score.value, abs=5e-3)
    assert scaled.control == pytest.approx(plain.control, abs=0.05)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_a_probe_knows_no_order_of_features(seed):
    rng = np.random.default_rng(seed)
    data, label = planted(rng, n=40, d=30)
    other = decode(data[:, rng.permutation(30)], label, folds=4, **QUICK)
    assert other.score.value == pytest.approx(decode(data, label, folds=4, **QUICK).score.value, abs=1e-3)
