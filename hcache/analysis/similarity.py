"""How alike two pictures are: in pixels, in structure, in colour. Batches in, one number a pair
out.

**Structure** is SSIM: with local means μ, variances σ² and covariance σ_ab under a Gaussian window
(11 x 11, σ = 1.5),

    SSIM = mean over places of (2 μ_a μ_b + C1) (2 σ_ab + C2) / ((μ_a² + μ_b² + C1) (σ_a² + σ_b² +
    C2)),

C1 = (0.01 L)², C2 = (0.03 L)², L = 255, on luma, where the whole window lies in the picture. 1 is
the same picture.

**Colour** is the distance of two pictures' colours taken as normal distributions, wherever they
stand (the 2-Wasserstein distance): √(‖μ_a - μ_b‖² + tr(Σ_a + Σ_b - 2 (Σ_a^½ Σ_b Σ_a^½)^½)), in
units of the full range.

References:
    Image Quality Assessment: From Error Visibility to Structural Similarity (Wang, Bovik, Sheikh,
        Simoncelli, 2004), https://doi.org/10.1109/TIP.2003.819861
    The Fréchet distance between multivariate normal distributions (Dowson, Landau, 1982),
        https://doi.org/10.1016/0047-259X(82)90077-X
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..errors import AnalysisError

RANGE = 255.0
WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03
LUMA = np.array([0.299, 0.587, 0.114])


def pixel_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the root mean square difference of pictures.

    It is a share of the full range. Pictures are (n, h, w, 3) in 0 to 255, and the result is (n,).
    """
    a, b = _pair(a, b)
    return np.sqrt(np.square(a - b).mean((1, 2, 3))) / RANGE


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the structural similarity (n,) of pictures.

    They are (n, h, w, 3) in 0 to 255, with 11 pixels or more per side.
    """
    a, b = (part @ LUMA for part in _pair(a, b))
    if min(a.shape[1:]) < WINDOW:
        raise AnalysisError(
            f"SSIM uses a window of {WINDOW} pixels; these pictures have {a.shape[1:]}"
        )
    c1, c2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a, var_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    below = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return (above / below).mean((1, 2))


def structure_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns 1 - SSIM (n,). It is 0 for the same structure."""
    return np.maximum(0.0, 1 - ssim(a, b))  # rounding can make SSIM larger than 1


def colour_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the Wasserstein distance of the colours of pictures.

    It is the 2-Wasserstein distance (n,), for pictures (n, h, w, 3) in 0 to 255, in units of the
    full range.
    """
    a, b = (part.reshape(len(part), -1, 3) / RANGE for part in _pair(a, b))
    (mean_a, cov_a), (mean_b, cov_b) = _moments(a), _moments(b)
    root = _root(cov_a)
    crossed = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_b @ root), 0)).sum(1)
    traces = np.trace(cov_a, axis1=1, axis2=2) + np.trace(cov_b, axis1=1, axis2=2)
    return np.sqrt(np.maximum(np.square(mean_a - mean_b).sum(1) + traces - 2 * crossed, 0))


def _pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 4 or a.shape[3] != 3:
        raise AnalysisError(
            f"pictures must be (n, h, w, 3), both of the same shape; got {a.shape} and {b.shape}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise AnalysisError("pictures hold values that are not finite")
    return a, b


def _blurred(values: np.ndarray) -> np.ndarray:
    """Returns means under the window, at positions where it is completely inside."""
    edge = WINDOW // 2
    for axis in (1, 2):
        values = gaussian_filter1d(values, SIGMA, axis=axis, radius=edge)
    return values[:, edge:-edge, edge:-edge]


def _moments(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = pixels.mean(1)
    centred = pixels - mean[:, None]
    return mean, centred.transpose(0, 2, 1) @ centred / pixels.shape[1]


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))[:, None]) @ vectors.transpose(0, 2, 1)
