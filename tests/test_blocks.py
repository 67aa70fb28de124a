"""What does not fit into memory is measured in blocks, and comes out as if it did."""

import tracemalloc

import numpy as np
import pytest
import streamlit as st
from hypothesis import given, settings
from hypothesis import strategies as some
from tiny import synthetic_run

from hcache.analysis import blocks as blocks_module
from hcache.analysis import pca as pca_module
from hcache.analysis.blocks import Blocks, inner_products
from hcache.analysis.decoding import Probing
from hcache.analysis.pca import principal_components
from hcache.analysis.probes import (
    AUC,
    R2,
    Space,
    gram_matrix,
    principal_scores,
    principal_scores_of_features,
)
from hcache.errors import AnalysisError
from hcache.specs import RunSpec
from hcache.ui import loaders


@pytest.fixture(autouse=True, scope="module")
def narrow_stripes():
    """So narrow that small matrices have many blocks."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(blocks_module, "STRIPE", 4)
        patched.setattr(pca_module, "STRIPE", 4)
        yield


def data_of(n, d, seed):
    """Skewed, with two strong components, away from the origin."""
    rng = np.random.default_rng(seed)
    strong = rng.exponential(size=(n, 2)) * (3, 1.5) @ rng.normal(size=(2, d))
    return (strong + 0.3 * rng.exponential(size=(n, d)) + rng.normal(size=d)).astype(np.float32)


class InBlocks:
    """Rows of a matrix in blocks cut at these places; counts how often they were read."""

    def __init__(self, data, cuts=()):
        self.data, self.cuts, self.reads = data, sorted({c for c in cuts if 0 < c < len(data)}), 0

    def __call__(self):
        self.reads += 1
        yield from np.split(self.data, self.cuts)


shapes = some.tuples(some.integers(3, 40), some.integers(1, 60))
cuts = some.lists(some.integers(1, 39), max_size=6)


@settings(deadline=None, max_examples=60)
@given(shape=shapes, cuts=cuts, memory=some.integers(0, 40_000), seed=some.integers(0, 3))
def test_components_in_blocks_are_those_at_once(shape, cuts, memory, seed):
    data = data_of(*shape, seed)
    whole, parts = (
        principal_components(data, k=2),
        principal_components(InBlocks(data, cuts), k=2, memory=memory),
    )
    np.testing.assert_allclose(parts.explained, whole.explained, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(parts.baseline, whole.baseline, rtol=1e-4, atol=1e-6)
    scale = np.abs(whole.scores).max()
    clear = np.abs((whole.scores**3).sum(0)) > 1e-2 * scale**3  # else the sign hangs on rounding
    apart = whole.explained - np.append(whole.explained[1:], 0) > 1e-2  # else so do the vectors
    good = clear & apart & np.append(True, apart[:-1])
    np.testing.assert_allclose(parts.scores[:, good], whole.scores[:, good], atol=2e-3 * scale)


@pytest.mark.parametrize("shape", [(20, 50), (50, 20)], ids=str)
def test_the_first_component_keeps_its_sign_and_the_baseline_its_shuffles(shape):
    """The property above cannot pass for comparing nothing."""
    data = data_of(*shape, 0)
    whole, parts = principal_components(data), principal_components(InBlocks(data, [7]), memory=0)
    np.testing.assert_allclose(
        parts.scores[:, :2], whole.scores[:, :2], atol=1e-4 * np.abs(whole.scores).max()
    )
    np.testing.assert_allclose(parts.baseline, whole.baseline, rtol=1e-5)
    other = principal_components(data, seed=1)
    assert not np.allclose(other.baseline, whole.baseline, rtol=1e-5)


@settings(deadline=None, max_examples=60)
@given(shape=shapes, cuts=cuts, memory=some.integers(0, 40_000), seed=some.integers(0, 3))
def test_a_gram_matrix_in_blocks_is_that_at_once(shape, cuts, memory, seed):
    data = data_of(*shape, seed)
    data[:, 0] = 700  # constant: left out
    if shape[1] == 1:
        with pytest.raises(AnalysisError, match="nothing to read"):
            gram_matrix(InBlocks(data, cuts), memory=memory)
        return
    np.testing.assert_allclose(
        gram_matrix(InBlocks(data, cuts), memory=memory), gram_matrix(data), atol=1e-4
    )


@settings(deadline=None, max_examples=30)
@given(
    n=some.integers(20, 40),
    d=some.integers(2, 60),
    cuts=cuts,
    binary=some.booleans(),
    seed=some.integers(0, 3),
)
def test_probes_in_blocks_are_those_at_once_and_so_are_their_controls(n, d, cuts, binary, seed):
    data = data_of(n, d, seed)
    labels = data[:, 0] + np.random.default_rng(seed).normal(size=n)
    labels = (labels > np.median(labels)).astype(float) if binary else labels
    probing = Probing.of(labels, folds=3, controls=2, repeats=20)
    whole, parts = (
        probing.decode(Space.of(found, memory=0)) for found in (data, InBlocks(data, cuts))
    )
    assert whole.metric == parts.metric == (AUC if binary else R2)
    assert parts.score.value == pytest.approx(whole.score.value, abs=1e-3)
    assert parts.control == pytest.approx(whole.control, abs=2e-3)


@settings(deadline=None, max_examples=40)
@given(n=some.integers(12, 40), d=some.integers(1, 11), seed=some.integers(0, 5))
def test_few_features_give_the_scores_that_their_gram_matrix_gives(n, d, seed):
    """But for signs, which no probe sees."""
    data = data_of(n, d, seed)
    z = (data - data.mean(0)) / data.std(0) / np.float32(np.sqrt(d))
    train, test = np.arange(n) % 3 > 0, np.arange(n) % 3 == 0
    ours = principal_scores_of_features(z, np.flatnonzero(train), np.flatnonzero(test))
    theirs = principal_scores(gram_matrix(data), np.flatnonzero(train), np.flatnonzero(test))
    for a, b in zip(ours, theirs, strict=True):
        k = min(a.shape[1], b.shape[1])  # the last may be rounding
        np.testing.assert_allclose(a[:, :k] @ a[:, :k].T, b[:, :k] @ b[:, :k].T, atol=1e-3)


@pytest.mark.parametrize("binary", [False, True])
def test_a_probe_of_few_features_is_that_of_the_gram_matrix(binary):
    data = data_of(80, 12, 1)
    labels = data[:, 0] + np.random.default_rng(0).normal(size=80)
    labels = (labels > np.median(labels)).astype(float) if binary else labels
    probing, few = Probing.of(labels, controls=2, repeats=20), Space.of(data)
    found, other = probing.decode(few), probing.decode(Space(gram=gram_matrix(data)))
    assert few.gram is None and few.features.shape == (80, 12)
    assert found.score.value == pytest.approx(other.score.value, abs=1e-3)
    assert found.control == pytest.approx(other.control, abs=1e-3)


def test_what_fits_is_read_once_and_what_does_not_a_block_at_a_time():
    data = data_of(20, 40, 0)
    fits, does_not = InBlocks(data, [5]), InBlocks(data, [5])
    assert Blocks.of(fits, data.nbytes).width == 40 and fits.reads == 1
    blocks = Blocks.of(does_not, data.nbytes - 1)
    assert (blocks.n, blocks.d, blocks.width % 4) == (20, 40, 0) and len(blocks.starts) > 1
    np.testing.assert_array_equal(
        np.concatenate([blocks.columns(i) for i in blocks.starts], 1), data
    )
    assert does_not.reads == 1 + len(blocks.starts)


def test_memory_is_kept_to():
    """Rows that are made when they are asked for, of a matrix of 5 MB."""

    def rows():
        for i in range(32):
            yield data_of(2, 20_000, i)

    tracemalloc.start()
    try:
        found = principal_components(rows, memory=800_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.scores.shape == (64, 10) and peak < 2_600_000


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_in_blocks_too(broken):
    data = data_of(20, 40, 0)
    data[13, 31] = broken
    with pytest.raises(AnalysisError, match="not finite"):
        principal_components(InBlocks(data, [5]), memory=0)
    with pytest.raises(AnalysisError, match="not finite"):
        gram_matrix(InBlocks(data, [5]), memory=0)


def test_no_samples_are_too_few():
    with pytest.raises(AnalysisError, match="3 samples"):
        principal_components(lambda: iter(()))


def test_inner_products_are_the_same_a_few_rows_at_a_time(monkeypatch):
    z = data_of(20, 40, 0)
    whole = inner_products(z)
    assert whole.dtype == np.float64
    np.testing.assert_array_equal(whole, (z @ z.T).astype(np.float64))
    monkeypatch.setattr(blocks_module, "PAIRED_AT_ONCE", 7)
    np.testing.assert_allclose(inner_products(z), whole, rtol=1e-5, atol=1e-4)


def test_the_dashboard_takes_a_large_step_in_blocks(tmp_path, monkeypatch):
    h = data_of(12, 48, 0).reshape(1, 12, 3, 4, 4)
    spec = RunSpec(model="m", samples=12, steps=1, store_dtype="float32")
    run = synthetic_run(tmp_path, spec, h, [(0, 5), (5, 12)])
    st.cache_data.clear()
    at_once = loaders.components_of(run, "h", 0)
    st.cache_data.clear()
    monkeypatch.setattr(loaders, "MEMORY", 12 * 48 * 4 - 1)
    monkeypatch.setattr(loaders, "matrix", None)
    in_blocks = loaders.components_of(run, "h", 0)
    np.testing.assert_allclose(in_blocks.scores, at_once.scores, atol=1e-4)
    np.testing.assert_allclose(in_blocks.baseline, at_once.baseline, rtol=1e-4)


@pytest.mark.parametrize("pairs", [inner_products, gram_matrix])
def test_all_pairs_of_too_many_samples_are_refused_before_memory_is_taken(pairs):
    with pytest.raises(AnalysisError, match="20001 samples are too many"):
        pairs(np.zeros((20_001, 2), np.float32))
