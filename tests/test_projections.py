"""Projections are scikit-learn's components, step by step and joint; kept beside the run, and
stale when it changes.
"""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from tiny import drain, synthetic_run

from hcache.analysis.projections import DENSE, leading, project_steps
from hcache.cache.projections import load_projections, projections_path, save_projections
from hcache.cache.reading import open_run
from hcache.errors import AnalysisError
from hcache.measures.codes import COMPONENTS, codes_of
from hcache.specs import RunSpec

N, D, STEPS, K = 40, 60, 3, 4


@pytest.fixture(scope="module")
def data():
    """Strong components that turn slowly over the steps, in noise, away from the origin."""
    rng = np.random.default_rng(0)
    strong = rng.gamma(2, size=(N, K)) * np.arange(K, 0, -1)
    base, turn = rng.normal(size=(2, K, D))
    noise = rng.normal(size=(STEPS, N, D))
    return np.stack(
        [strong @ (base + 0.2 * t * turn) + 0.1 * noise[t] + 3 * t for t in range(STEPS)]
    ).astype(np.float32)


@pytest.fixture(scope="module")
def found(data):
    shares, (own, joint) = drain(project_steps(lambda step: data[step], STEPS, K))
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    return own, joint


def test_each_steps_own_components_are_scikit_learns(data, found):
    own, _ = found
    for step in range(STEPS):
        reference = PCA(K, svd_solver="full").fit(data[step].astype(np.float64))
        scores = reference.transform(data[step].astype(np.float64))
        signs = np.sign((own.scores[step] * scores).sum(0))
        np.testing.assert_allclose(
            own.scores[step], signs * scores, atol=1e-3 * np.abs(scores).max()
        )
        np.testing.assert_allclose(
            own.explained[step], reference.explained_variance_ratio_, rtol=1e-4
        )


def test_signs_follow_the_step_before(found):
    own, _ = found
    assert ((own.scores[0] ** 3).sum(0) >= 0).all()
    assert ((own.scores[1:] * own.scores[:-1]).sum(1) >= 0).all()


def test_joint_components_are_those_of_the_steps_side_by_side(data, found):
    _, joint = found
    x = (data - data.mean(1, keepdims=True)).astype(np.float64)
    whole = (
        PCA(K, svd_solver="full").fit(np.concatenate(list(x), 1)).components_.reshape(K, STEPS, D)
    )
    for step in range(STEPS):
        w = whole[:, step] / np.linalg.norm(whole[:, step], axis=1, keepdims=True)
        scores = x[step] @ w.T
        signs = np.sign((joint.scores[step] * scores).sum(0))
        np.testing.assert_allclose(
            joint.scores[step], signs * scores, atol=1e-3 * np.abs(scores).max()
        )
        np.testing.assert_allclose(
            joint.explained[step], np.square(scores).sum(0) / np.square(x[step]).sum(), rtol=1e-3
        )
    same = [np.sign((joint.scores[s] * (x[s] @ whole[:, s].T)).sum(0)) for s in range(STEPS)]
    assert all((signs == same[0]).all() for signs in same), "one sign a component, over all steps"


def test_many_samples_take_the_other_solver_to_the_same_end():
    x = np.random.default_rng(0).normal(size=(DENSE + 20, 8)) * np.arange(8, 0, -1)
    gram = x @ x.T
    values, vectors = leading(gram, 5)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(gram)[::-1][:5], rtol=1e-6)
    np.testing.assert_allclose(gram @ vectors, vectors * values, atol=1e-6 * values[0])


@pytest.mark.parametrize(
    "bad, message",
    [
        (np.ones((5, 4)), "no variance"),
        (np.ones((2, 4)), "3 samples"),
        (np.full((5, 4), np.nan), "not finite"),
    ],
)
def test_what_has_no_components_is_refused(bad, message):
    with pytest.raises(AnalysisError, match=message):
        drain(project_steps(lambda _: bad.astype(np.float32), 1))


def test_they_are_kept_until_the_run_changes(copied_run):
    scores = np.arange(4 * 12 * 3, dtype=np.float32).reshape(4, 12, 3)
    arrays = {"own_scores": scores, "own_explained": scores[:, 0]}
    assert load_projections(copied_run, "h") is None
    save_projections(copied_run, "h", arrays)
    kept = load_projections(copied_run, "h")
    assert kept.keys() == arrays.keys()
    np.testing.assert_array_equal(kept["own_scores"], arrays["own_scores"])
    manifest = copied_run.folder / "manifest.jsonl"
    manifest.write_text("\n".join(manifest.read_text().splitlines()[:-1]) + "\n")
    assert load_projections(open_run(copied_run.folder), "h") is None, "of other samples"
    projections_path(copied_run, "h").write_bytes(b"PK\x03\x04 damaged")
    assert load_projections(copied_run, "h") is None


def test_codes_are_the_leading_scores_of_standardised_activations(tmp_path):
    h = (
        np.random.default_rng(0).normal(size=(1, 20, 3, 4, 4))
        * np.linspace(0.1, 9, 48).reshape(3, 4, 4)
        + 5
    )
    spec = RunSpec(model="m", samples=20, steps=1, store_dtype="float32")
    run = synthetic_run(tmp_path, spec, h.astype(np.float32))
    data = run.matrix("h", 0)
    z = (data - data.mean(0)) / data.std(0) / np.sqrt(data.shape[1])
    theirs = PCA(5, svd_solver="full").fit_transform(z)
    np.testing.assert_allclose(
        np.abs(codes_of(run, COMPONENTS, "h", 0, 5)), np.abs(theirs), atol=1e-5
    )
    assert codes_of(run, COMPONENTS, "h", 0).shape == (20, 19)
