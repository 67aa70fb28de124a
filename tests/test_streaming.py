"""Components of samples that are only streamed are those of all samples at once."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.linalg import subspace_angles
from tiny import synthetic_run

from hcache.analysis import pca as pca_module
from hcache.analysis import projections as projections_module
from hcache.analysis import shuffled_part, streaming
from hcache.analysis.pca import principal_components
from hcache.analysis.projections import project_steps
from hcache.analysis.streaming import stream_components
from hcache.errors import AnalysisError
from hcache.progress import drive
from hcache.specs import RunSpec

N, D, STEPS, PLANTED = 400, 300, 2, 4


def planted(n=N, d=D, steps=STEPS, seed=0, away=5.0):
    """A few strong components, in noise of another spread at every feature, off the origin."""
    rng = np.random.default_rng(seed)
    strong = rng.gamma(2, size=(n, PLANTED)) * np.array([4, 3, 2.2, 1.6])
    base = rng.normal(size=(steps, PLANTED, d)) * np.linspace(0.5, 1, steps)[:, None, None]
    noise = rng.normal(size=(steps, n, d)) * rng.uniform(0.5, 1.5, d)
    return (strong @ base + noise + away).astype(np.float32)


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch):
    """So few samples at once that the first are not all."""
    monkeypatch.setattr(streaming, "TOGETHER", 30 * STEPS * D * 4)
    monkeypatch.setattr(streaming, "AT_START", 120 * STEPS * D * 4)


def in_blocks(data, size=17):
    def rows():
        for start in range(0, data.shape[1], size):
            yield data[:, start : start + size]

    return rows


def centred(data):
    return (data - data.mean(1, keepdims=True)).astype(np.float64)


@pytest.mark.parametrize("seed", range(3))
def test_planted_components_are_found_within_a_hundredth_of_a_radian(seed):
    data = planted(seed=seed)
    found = drive(stream_components(in_blocks(data), N, 10))
    x = centred(data)
    for step in range(STEPS):
        u, s, _ = np.linalg.svd(x[step], full_matrices=False)
        own = found.own[step]
        for j in range(PLANTED):
            assert subspace_angles(u[:, j : j + 1], own.scores[0][:, j : j + 1])[0] < 1e-2
        np.testing.assert_allclose(own.values[:PLANTED], s[:PLANTED] ** 2, rtol=1e-3)
        np.testing.assert_allclose(found.totals[step], (s**2).sum(), rtol=1e-4)
    u, s, vt = np.linalg.svd(np.concatenate(list(x), 1), full_matrices=False)
    np.testing.assert_allclose(found.joint.values[:PLANTED], s[:PLANTED] ** 2, rtol=1e-3)
    for step, w in enumerate(vt[:PLANTED].reshape(PLANTED, STEPS, D).swapaxes(0, 1)):
        scores = x[step] @ (w / np.linalg.norm(w, axis=1, keepdims=True)).T
        for j in range(PLANTED):
            ours = found.joint.scores[step][:, j : j + 1]
            assert subspace_angles(scores[:, j : j + 1], ours)[0] < 1e-2


@pytest.mark.parametrize("seed", range(3))
def test_no_variance_is_off_by_more_than_is_told(seed):
    """The residual bounds the distance to some true value, noise included."""
    data = planted(seed=seed)
    found = drive(stream_components(in_blocks(data), N, 10))
    for step, x in enumerate(centred(data)):
        true = np.linalg.svd(x, compute_uv=False) ** 2
        own = found.own[step]
        nearest = np.abs(own.values[:, None] - true).min(1)
        assert (nearest <= own.residuals * own.values + 1e-4 * true[0]).all()
        assert own.residuals[:PLANTED].max() < 1e-2 and own.residuals.max() > 0


def test_joint_components_alone_are_those_beside_the_ones_of_each_step():
    data = planted()
    both = drive(stream_components(in_blocks(data), N, 4))
    alone = drive(stream_components(in_blocks(data), N, 4, own=False))
    assert alone.own == () and len(both.own) == STEPS
    np.testing.assert_allclose(alone.totals, both.totals, rtol=1e-5)
    np.testing.assert_allclose(alone.joint.values, both.joint.values, rtol=1e-4)
    for a, b in zip(alone.joint.scores, both.joint.scores, strict=True):
        cosines = np.abs((a * b).sum(0)) / np.linalg.norm(a, axis=0) / np.linalg.norm(b, axis=0)
        assert cosines[:PLANTED].min() > 1 - 1e-4


def test_without_anything_planted_it_ends_and_says_how_far_off_it_is():
    data = np.random.default_rng(0).normal(size=(STEPS, N, D)).astype(np.float32)
    found = drive(stream_components(in_blocks(data), N, 10))
    true = np.linalg.svd(centred(data)[0], compute_uv=False) ** 2
    assert found.passes == streaming.LEAST_PASSES, "nothing stands out that more would settle"
    assert (found.own[0].values <= true[:10] * (1 + 1e-4)).all(), "never more than there is"
    assert found.own[0].values[0] > 0.8 * true[0] and found.own[0].residuals.min() > 1e-2


@pytest.mark.parametrize("seed", range(3))
def test_the_data_are_read_at_most_three_times(seed):
    """With own and joint components and the scores of all samples; the start is a part of one."""
    data, read = planted(seed=seed), []

    def rows():
        read.append(0)
        for start in range(0, N, 17):
            read[-1] += data[:, start : start + 17].shape[1]
            yield data[:, start : start + 17]

    found = drive(stream_components(rows, N, 10))
    start, *whole = read
    assert whole == [N] * found.passes and len(whole) <= 3 and start < N / 2


shapes = some.tuples(some.integers(3, 30), some.integers(1, streaming.FEW))


@settings(deadline=None, max_examples=40)
@given(shape=shapes, size=some.integers(1, 12), seed=some.integers(0, 3))
def test_of_few_features_all_is_exact(shape, size, seed):
    n, d = shape
    data = planted(n, d, 2, seed)
    found = drive(stream_components(in_blocks(data, size), n, 3, joint=False))
    for step, x in enumerate(centred(data)):
        true = np.linalg.svd(x, compute_uv=False)[: len(found.own[step].values)] ** 2
        np.testing.assert_allclose(found.own[step].values, true, rtol=1e-3, atol=1e-3 * true[0])


def test_cuts_and_an_origin_far_away_change_nothing():
    near, far = planted(away=0.0), planted(away=300.0)
    a = drive(stream_components(in_blocks(near, 400), N, PLANTED))
    b = drive(stream_components(in_blocks(far, 3), N, PLANTED))
    for one, other in zip([*a.own, a.joint], [*b.own, b.joint], strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=1e-3)


def test_memory_does_not_grow_with_the_data(monkeypatch):
    """64 times 100 samples of 3,000 numbers are 77 MB, made as they are asked for."""
    monkeypatch.setattr(streaming, "TOGETHER", 2**20)

    def rows():
        for seed in range(64):
            yield np.random.default_rng(seed).normal(size=(1, 100, 3000)).astype(np.float32)

    tracemalloc.start()
    try:
        found = drive(stream_components(rows, 6400, 5, joint=False))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.own[0].scores.shape == (1, 6400, 5) and peak < 20_000_000


@pytest.mark.parametrize(
    "bad, message",
    [
        (np.ones((2, 5, 4)), "no variance"),
        (np.ones((2, 2, 4)), "3 samples"),
        (np.full((2, 5, 4), np.nan), "step 0 .* not finite"),
        (np.full((2, 5, 4), np.inf), "not finite"),
    ],
)
def test_what_has_no_components_is_refused(bad, message):
    with pytest.raises(AnalysisError, match=message):
        drive(stream_components(in_blocks(bad.astype(np.float32)), bad.shape[1]))


def test_projections_of_many_samples_are_those_of_few(monkeypatch):
    data = planted()
    exact = drive(project_steps(lambda step: data[step], STEPS, PLANTED))
    monkeypatch.setattr(projections_module, "EXACT", 100)
    streamed = drive(
        project_steps(lambda step: None, STEPS, PLANTED, rows=in_blocks(data), samples=N)
    )
    for one, other in zip(exact, streamed, strict=True):
        scale = np.abs(one.scores).max()
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-2 * scale)
        np.testing.assert_allclose(other.explained, one.explained, rtol=5e-3)
        assert one.residuals is None and other.residuals.shape == other.explained.shape


def test_one_steps_components_and_their_baseline_are_those_at_once(monkeypatch):
    """The baseline of a third of samples and features is that of all, within 15 per cent."""
    data = planted(d=900, n=1200)[0]
    exact = principal_components(data, k=6)
    monkeypatch.setattr(pca_module, "EXACT", 100)
    monkeypatch.setattr(shuffled_part, "PART", 300)
    monkeypatch.setattr(streaming, "TOGETHER", 200 * 900 * 4)
    found = principal_components(data, k=6)
    np.testing.assert_allclose(found.explained[:PLANTED], exact.explained[:PLANTED], rtol=5e-3)
    assert subspace_angles(found.scores[:, :PLANTED], exact.scores[:, :PLANTED]).max() < 1e-2
    np.testing.assert_allclose(found.baseline, exact.baseline, rtol=0.15)
    assert exact.residuals is None and found.residuals.max() > 0
    above = exact.explained > exact.baseline
    assert above.tolist() == (found.explained > found.baseline).tolist() and not above.all()


def test_a_run_gives_all_steps_of_some_samples(tiny_run, tmp_path):
    for site in ("h", "skip.1", "skip.2", "x"):
        blocks = list(tiny_run.step_blocks(site))
        assert len(blocks) == len(tiny_run.shards)
        for step in range(tiny_run.spec.steps):
            whole = np.concatenate([block[step] for block in blocks])
            np.testing.assert_array_equal(whole, tiny_run.matrix(site, step))


def test_a_page_streams_what_is_many(tmp_path, monkeypatch):
    from hcache.ui import loaders

    h = planted(60, 48, 2).reshape(2, 60, 3, 4, 4)
    spec = RunSpec(model="m", samples=60, steps=2, store_dtype="float32")
    run = synthetic_run(tmp_path, spec, h, [(0, 25), (25, 60)])
    exact = drive(loaders.make_projections(run, "h"))
    monkeypatch.setattr(projections_module, "EXACT", 30)
    monkeypatch.setattr(type(run), "matrix", None)
    assert loaders.projections_of(run, "h")["own"].residuals is None
    streamed = drive(loaders.make_projections(run, "h"))
    for kind, one in exact.items():
        np.testing.assert_allclose(
            streamed[kind].explained[:, :PLANTED], one.explained[:, :PLANTED], rtol=2e-2
        )
    kept = loaders.projections_of(run, "h")
    for kind in exact:
        np.testing.assert_array_equal(kept[kind].residuals, streamed[kind].residuals)
