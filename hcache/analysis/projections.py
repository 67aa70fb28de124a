r"""Every sample at every step on a few axes: principal components of each step, and of all steps
together.

With X_t (n, d) the centred activations at step t, and U (n, k) orthonormal coordinates of the
samples,

    per step   U_t holds the leading eigenvectors of X_t X_tᵀ; scores are U_t √λ_t,
               with the signs of the step before
    joint      U holds those of Σ_t X_t X_tᵀ, which is PCA of the steps side by side;
               scores at step t are X_t ŵ_t,
               ŵ_t = X_tᵀ u / ‖X_tᵀ u‖ is the component's part at that step, of unit length

Joint axes belong together over the steps, so that a sample's scores are a trajectory; they are
orthogonal over all steps, not at each of them. Up to :data:`~hcache.analysis.streaming.EXACT`
samples n x n matrices are decomposed, one at a time; of more, the components come from a few passes
over the samples (:mod:`.streaming`), which take time and memory in proportion to these.

References:
    Discovering Interpretable Directions in the Semantic Latent Space of Diffusion Models (Haas,
    Huberman-Spiegelglas, Mulayoff, Graßhof, Brandt, Michaeli, 2023),
    https://arxiv.org/abs/2303.11073
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import eigsh

from ..errors import AnalysisError
from .blocks import inner_products
from .streaming import EXACT, StepRows, Streamed, stream_components

DENSE = 512
"""The number of samples up to which all eigenvectors are computed, because this is then faster than
only the leading ones.
"""


@dataclass(frozen=True, kw_only=True)
class Projections:
    """Samples on principal components, step by step.

    ``scores`` (steps, n, k) float32 are in units of the data. ``explained`` (steps, k) are shares
    of the variance. ``residuals`` (steps, k) are the possible relative errors of the components'
    variances; None if they are exact.
    """

    scores: np.ndarray
    explained: np.ndarray
    residuals: np.ndarray | None = None


Projecting = Generator[float, None, tuple[Projections, Projections]]


def project_steps(
    matrix: Callable[[int], np.ndarray],
    steps: int,
    k: int = 10,
    rows: StepRows | None = None,
    samples: int = 0,
) -> Projecting:
    """Projects samples on each step's components, and on joint ones.

    Args:
        matrix: step -> (n, d) float32. It is called twice for every step.
        steps: The number of steps.
        k: The largest number of components.
        rows: All steps of some samples at a time, (steps, some, d) float32. This is read instead if
            there are more than EXACT ``samples``.
        samples: The total number of samples.

    Raises:
        AnalysisError: there are fewer than 3 samples, a step has no variance, or values are not
            finite.
    """
    if rows is not None and samples > EXACT:
        found = yield from stream_components(rows, samples, k)
        return _of_streamed(found)
    grams: np.ndarray | None = None
    own, own_explained, totals = [], [], []
    for step in range(steps):
        x = _checked(matrix(step), step)
        gram = inner_products(x)
        values, vectors = leading(gram, min(k, len(x) - 1))
        scores = vectors * np.sqrt(values)
        own.append(_like(scores, own[-1]) if own else _skewed(scores))
        totals.append(float(np.trace(gram)))
        own_explained.append(values / totals[-1])
        grams = gram if grams is None else np.add(grams, gram, out=grams)
        yield 0.7 * (step + 1) / steps
    if grams is None:
        raise AnalysisError("a projection takes one step or more, got none")
    _, u = leading(grams, min(k, len(grams) - 1))
    u = _skewed(u).astype(np.float32)
    joint, joint_explained = [], []
    for step in range(steps):
        x = matrix(step)
        x = x - x.mean(0)
        w = x.T @ u
        length = np.linalg.norm(w, axis=0)
        scores = (x @ w) / np.where(length > 0, length, 1)
        joint.append(scores)
        joint_explained.append(np.square(scores.astype(np.float64)).sum(0) / totals[step])
        yield 0.7 + 0.3 * (step + 1) / steps
    return _projections(own, own_explained), _projections(joint, joint_explained)


def _of_streamed(found: Streamed) -> tuple[Projections, Projections]:
    """Returns projections with the same choice of signs as for few samples."""
    own: list[np.ndarray] = []
    for each in found.own:
        own.append(_like(each.scores[0], own[-1]) if own else _skewed(each.scores[0]))
    per_step = Projections(
        scores=np.stack(own),
        explained=np.stack([e.values for e in found.own]) / found.totals[:, None],
        residuals=np.stack([each.residuals for each in found.own]),
    )
    if found.joint is None:
        raise ValueError("joint components were not asked for")
    scores = found.joint.scores
    # one sign per component for all steps, from its coordinates, to which all steps contribute
    together = (scores * found.joint.lengths[:, None]).sum(0, dtype=np.float64)
    squares = np.square(scores, dtype=np.float64).sum(1)
    joint = Projections(
        scores=scores * np.where((together**3).sum(0) < 0, -1, 1).astype(np.float32),
        explained=squares / found.totals[:, None],
        residuals=np.broadcast_to(found.joint.residuals, squares.shape),
    )
    return per_step, joint


def leading(gram: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the k largest eigenvalues of a symmetric matrix, and vectors.

    The matrix is (n, n). The values are descending and not below 0, and the vectors are (n, k).
    """
    n = len(gram)
    if n <= DENSE or 3 * k > n:
        values, vectors = scipy.linalg.eigh(gram, subset_by_index=[n - k, n - 1])
    else:
        values, vectors = eigsh(gram, k=k, v0=np.random.default_rng(0).normal(size=n))
    order = np.argsort(values)[::-1]
    return np.maximum(values[order], 0), vectors[:, order]


def _projections(scores: list[np.ndarray], explained: list[np.ndarray]) -> Projections:
    return Projections(scores=np.stack(scores).astype(np.float32), explained=np.stack(explained))


def _checked(x: np.ndarray, step: int) -> np.ndarray:
    """Returns the centred matrix after checking that it varies. It allocates only one array of its
    size.
    """
    if len(x) < 3:
        raise AnalysisError(f"PCA needs 3 samples or more, got {len(x)}")
    low, high = float(x.min(initial=0)), float(x.max(initial=0))
    if not np.isfinite([low, high]).all():
        raise AnalysisError(
            f"at step {step} the data hold values that are not finite (overflow?); PCA is not"
            " defined"
        )
    x = x - x.mean(0)
    if (
        np.vdot(x, x) <= (1e-6 * max(-low, high)) ** 2 * x.size
    ):  # less than the rounding error of equal numbers
        raise AnalysisError(
            f"all samples are the same at step {step}: there is no variance to explain"
        )
    return x


def _skewed(columns: np.ndarray) -> np.ndarray:
    """Returns columns with signs that make their skewness positive."""
    return columns * np.where((columns**3).sum(0) < 0, -1, 1)


def _like(columns: np.ndarray, others: np.ndarray) -> np.ndarray:
    """With the signs that make every column point as the other of its number."""
    return columns * np.where((columns * others).sum(0) < 0, -1, 1)
