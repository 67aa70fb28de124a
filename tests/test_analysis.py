"""Measures hold against scikit-learn where that is feasible, and against planted truth;
elsewhere they refuse.
"""

import warnings

import numpy as np
import pytest
from sklearn.decomposition import PCA as ReferencePCA
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from hcache.analysis.decoding import decode
from hcache.analysis.pca import principal_components
from hcache.analysis.probes import (
    AUC,
    LOGISTIC,
    R2,
    RIDGE,
    check_labels,
    gram_matrix,
    is_binary,
    principal_scores,
)
from hcache.errors import AnalysisError

WIDE, TALL, SQUARE = (30, 500), (500, 30), (40, 40)


def data_of(shape, seed=0, rank=6, noise=0.1):
    """A few strong components of falling strength in noise, away from the origin."""
    rng = np.random.default_rng(seed)
    n, d = shape
    strong = rng.normal(size=(n, rank)) * np.arange(rank, 0, -1)
    return (strong @ rng.normal(size=(rank, d)) + noise * rng.normal(size=shape) + 3).astype(
        np.float32
    )


@pytest.mark.parametrize("shape", [WIDE, TALL, SQUARE], ids=str)
def test_components_are_scikit_learns(shape):
    data = data_of(shape)
    ours, theirs = (
        principal_components(data, k=6),
        ReferencePCA(6, svd_solver="full").fit(data.astype(np.float64)),
    )
    scores = theirs.transform(data.astype(np.float64))
    signs = np.sign((ours.scores * scores).sum(0))
    np.testing.assert_allclose(ours.scores, signs * scores, atol=1e-3 * np.abs(scores).max())
    np.testing.assert_allclose(ours.explained, theirs.explained_variance_ratio_, rtol=1e-4)


@pytest.mark.parametrize("shape", [WIDE, TALL], ids=str)
def test_components_are_ordered_shares_of_the_variance_with_a_sign(shape):
    found = principal_components(data_of(shape), k=10**6)
    k = min(shape[0] - 1, shape[1])
    assert found.scores.shape == (
        shape[0],
        k,
    ) and found.explained.shape == found.baseline.shape == (k,)
    assert (np.diff(found.explained) <= 1e-9).all() and found.explained.sum() == pytest.approx(
        1, abs=1e-4
    )
    assert ((found.scores**3).sum(0) >= -1e-3).all(), "skewed to the right"
    turned = principal_components(-data_of(shape), k=3)
    np.testing.assert_allclose(
        np.abs(turned.scores), np.abs(found.scores[:, :3]), rtol=1e-3, atol=1e-3
    )


def test_the_baseline_is_what_structureless_data_explain():
    noise = np.random.default_rng(0).normal(size=(60, 200)).astype(np.float32)
    found = principal_components(noise)
    np.testing.assert_allclose(found.explained, found.baseline, rtol=0.15)
    structured = principal_components(data_of((60, 200), rank=2))
    assert (structured.explained[:2] > 2 * structured.baseline[:2]).all()
    assert (structured.explained[2:] < structured.baseline[2:]).all()


def test_components_do_not_depend_on_the_weather():
    once, again = (principal_components(data_of(WIDE)) for _ in range(2))
    for name in ("scores", "explained", "baseline"):
        np.testing.assert_array_equal(getattr(once, name), getattr(again, name))


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 700.0, -1e4])
@pytest.mark.parametrize("n", [3, 7, 12, 64])
def test_samples_that_are_all_the_same_have_no_components(n, value):
    """Also where the mean of equal numbers is not that number, but for rounding."""
    with pytest.raises(AnalysisError, match="no variance"):
        principal_components(np.full((n, 50), value, np.float32))


def test_components_of_what_they_are_not_defined_on_are_refused():
    with pytest.raises(AnalysisError, match="3 samples"):
        principal_components(data_of((2, 10)))
    for broken in (np.nan, np.inf):
        data = data_of(WIDE)
        data[3, 7] = broken
        with pytest.raises(AnalysisError, match="not finite"):
            principal_components(data)


@pytest.mark.parametrize("shape", [WIDE, TALL], ids=str)
def test_the_gram_matrix_is_that_of_standardised_features(shape):
    data = data_of(shape) * 10.0 ** np.random.default_rng(1).uniform(-3, 3, size=shape[1])
    data[:, 4] = 7  # constant: left out
    z = StandardScaler().fit_transform(np.delete(data, 4, 1))
    for block in (8192, 7):
        np.testing.assert_allclose(gram_matrix(data, block), z @ z.T / (shape[1] - 1), atol=1e-4)


@pytest.mark.parametrize("shape", [WIDE, TALL], ids=str)
@pytest.mark.parametrize("penalty", [0.01, 1.0, 30.0])
def test_a_ridge_on_principal_scores_is_the_ridge_on_the_features(shape, penalty):
    """The claim all probes rest on: nothing is lost between features and Gram matrix."""
    data = data_of(shape, noise=2.0).astype(np.float64)
    target = data[:, 0] + np.random.default_rng(2).normal(size=len(data))
    z = StandardScaler().fit_transform(data) / np.sqrt(shape[1])
    train, test = np.arange(len(data)) % 4 > 0, np.arange(len(data)) % 4 == 0
    inner, outer = principal_scores(gram_matrix(data), np.flatnonzero(train), np.flatnonzero(test))
    ours = Ridge(penalty).fit(inner, target[train]).predict(outer)
    theirs = Ridge(penalty).fit(z[train], target[train]).predict(z[test])
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.ptp(theirs))


def probe(data, labels, **options):
    return decode(data, labels, controls=1, repeats=50, **options)


def labelled(n, d, seed=0):
    """Features, and a label that is a linear function of them."""
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(n, 8)) @ rng.normal(size=(8, d)) + 0.05 * rng.normal(size=(n, d))
    return data.astype(np.float32), data @ rng.normal(size=d) / np.sqrt(d)


@pytest.mark.parametrize("d", [20, 2000])
def test_planted_linear_labels_are_read_off(d):
    data, labels = labelled(120, d)
    found = probe(data, labels)
    assert found.metric == R2 and found.score.value > 0.95 and found.control < 0.1
    classes = probe(data, (labels > np.median(labels)).astype(float))
    assert classes.metric == AUC and classes.score.value > 0.97 and abs(classes.control - 0.5) < 0.2


@pytest.mark.parametrize("d", [20, 2000])
def test_labels_that_are_not_there_are_not_found(d):
    """However many features there are to overfit with."""
    rng = np.random.default_rng(3)
    data, labels = rng.normal(size=(120, d)).astype(np.float32), rng.normal(size=120)
    found = probe(data, labels)
    assert found.score.value < 0.1 and found.control < 0.1
    classes = probe(data, (labels > 0).astype(float))
    assert abs(classes.score.value - 0.5) < 0.2 and abs(classes.control - 0.5) < 0.2


def test_a_probe_is_blind_to_the_scale_and_origin_of_features():
    data, labels = labelled(80, 300)
    rng = np.random.default_rng(4)
    moved = data * 10.0 ** rng.uniform(-2, 2, size=300) + rng.normal(size=300)
    for target in (labels, (labels > 0).astype(float)):
        plain, other = probe(data, target), probe(moved.astype(np.float32), target)
        assert plain.score.value == pytest.approx(other.score.value, abs=0.01)


def test_a_probe_is_its_seed():
    data, labels = labelled(40, 30)
    noisy = labels + np.random.default_rng(0).normal(size=40)
    values = [probe(data, noisy, seed=seed).score.value for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_a_label_is_probed_by_its_kind_or_the_one_asked_for():
    """Values above the median are a class; two classes have values."""
    values, classes = np.arange(40.0), np.arange(40) % 2.0
    target, metric = check_labels(values, 5, LOGISTIC)
    assert metric == AUC and target.sum() == 20 and (target == (values > 19.5)).all()
    target, metric = check_labels(classes, 5, RIDGE)
    assert metric == R2 and (target == classes).all()
    assert [check_labels(each, 5)[1] for each in (values, classes)] == [R2, AUC]
    with pytest.raises(AnalysisError, match="must be ridge or logistic, got 'svm'"):
        check_labels(values, 5, "svm")
    with pytest.raises(AnalysisError, match="2 folds or more, got 1"):
        check_labels(values, 1)
    with pytest.raises(AnalysisError, match="smaller class has 2"):
        check_labels(np.r_[np.zeros(38), 5, 6], 5, LOGISTIC)


def test_labels_are_binary_when_they_are_near_0_or_1():
    rng = np.random.default_rng(0)
    assert is_binary(np.array([0.0, 1, 1, 0])) and is_binary(
        np.r_[rng.uniform(0, 0.1, 50), rng.uniform(0.9, 1, 50)]
    )
    for other in (
        rng.normal(size=100),
        np.zeros(9),
        np.ones(9),
        np.array([0.0, 1, 2, 3]),
        rng.uniform(size=100),
    ):
        assert not is_binary(other)
    tail = np.r_[rng.uniform(0, 0.15, 97), 0.6, 0.7, 0.95]  # an error, most of it small
    assert not is_binary(tail) and check_labels(tail, 5)[1] == R2
    target, metric = check_labels(np.array([3.0, 5.0] * 10), 5)
    assert metric == AUC and target.tolist() == [0, 1] * 10, (
        "two distinct values are two classes, whichever they are"
    )
    target, metric = check_labels(np.array([0.02, 0.99] * 10), 5)
    assert metric == AUC and target.tolist() == [0, 1] * 10


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros(40), "same value"),
        (np.ones(40), "same value"),
        (np.full(40, 3.7), "same value"),
        (np.r_[np.nan, np.arange(39.0)], "1 of 40 samples have no value"),
        (np.r_[np.inf, np.arange(39.0)], "1 of 40 samples have no value"),
        (np.arange(9.0), "10 samples or more, got 9"),
        (np.r_[np.ones(4), np.zeros(36)], "smaller class has 4"),
        (np.r_[np.zeros(3), np.ones(37)], "smaller class has 3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_labels_a_probe_is_not_defined_on_are_refused_in_words(labels, words):
    data = np.random.default_rng(0).normal(size=(len(labels), 20)).astype(np.float32)
    with pytest.raises(AnalysisError, match=words):
        probe(data, labels)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("folds", [2, 3, 5])
def test_as_few_samples_as_are_accepted_are_enough(folds, binary):
    """check_labels promises that what it lets pass can be probed."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(4 * folds, 20)).astype(np.float32)
    labels = np.r_[np.ones(folds), np.zeros(3 * folds)] if binary else rng.normal(size=4 * folds)
    try:
        check_labels(labels, folds)
    except AnalysisError:
        assert folds == 2, "a penalty cannot be chosen among fewer than 2 samples a class"
        return
    found = probe(data, labels, folds=folds)
    assert np.isfinite(found.predicted).all() and np.isfinite(found.control)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("value", [1.0, np.nan, np.inf])
def test_features_that_say_nothing_are_said_to_or_refused_in_words(value, binary):
    """Constant, or not finite: at a site that died or overflowed, say."""
    labels = np.arange(40.0) if not binary else np.arange(40) % 2.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            found = probe(np.full((40, 20), value, np.float32), labels)
        except AnalysisError:
            return
    assert not found.score.value > (0.6 if binary else 0.1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_value_that_is_not_finite_does_not_silently_cost_the_others(value):
    """Either said in words, or the rest is probed as if that feature were not there."""
    data, labels = labelled(60, 50)
    data[3, 7] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            found = probe(data, labels)
        except AnalysisError:
            return
    assert found.score.value > 0.9
