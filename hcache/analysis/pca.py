"""Principal components of samples, with the variance that structureless data of the same shape would show.

Computed from the n x n Gram matrix when there are fewer samples than features, as there are here nearly always.

References:
    Discovering Interpretable Directions in the Semantic Latent Space of Diffusion Models (Haas, Huberman-Spiegelglas,
    Mulayoff, Graßhof, Brandt, Michaeli, 2023), https://arxiv.org/abs/2303.11073
    A rationale and test for the number of factors in factor analysis (Horn, 1965),
    https://doi.org/10.1007/BF02289447, for the baseline (parallel analysis)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import AnalysisError


@dataclass(frozen=True, kw_only=True)
class PCA:
    """``scores`` (n, k) in the units of the data; ``explained`` (k,) share of the variance of each component.

    ``baseline`` (k,): the same share after every feature's values were shuffled over samples on their own, the
    mean of a few repetitions: what components explain when no two features have to do with each other.
    """

    scores: np.ndarray
    explained: np.ndarray
    baseline: np.ndarray


def principal_components(data: np.ndarray, k: int = 10, repeats: int = 3, seed: int = 0) -> PCA:
    """PCA of ``data`` (n, d) float32. The sign of each component makes the skewness of its scores positive.

    Raises:
        AnalysisError: fewer than 3 samples, no variance, or values that are not finite.
    """
    n = len(data)
    if n < 3:
        raise AnalysisError(f"PCA needs 3 samples or more, got {n}")
    if not np.isfinite(data).all():
        raise AnalysisError("the data hold values that are not finite (overflow?); PCA is not defined on them")
    centred = data - data.mean(0)
    variances, vectors = _spectrum(centred)
    total = float(variances.sum())
    if total <= (1e-6 * float(np.abs(data).max())) ** 2 * data.size:  # less than rounding leaves of equal numbers
        raise AnalysisError("all samples are the same here: there is no variance to explain")
    k = min(k, n - 1, data.shape[1])
    scores = vectors[:, :k] * np.sqrt(np.maximum(variances[:k], 0))
    scores *= np.where((scores**3).sum(0) < 0, -1, 1)
    rng = np.random.default_rng(seed)
    nulls = [_spectrum(rng.permuted(centred, axis=0))[0][:k] / total for _ in range(repeats)]
    return PCA(scores=scores, explained=variances[:k] / total, baseline=np.mean(nulls, 0))


def _spectrum(centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared singular values, descending, and left singular vectors, of centred data (n, d)."""
    n, d = centred.shape
    if d <= n:
        left, singular, _ = np.linalg.svd(centred, full_matrices=False)
        return singular**2, left
    values, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    return values[::-1], vectors[:, ::-1]
