"""Comparing models at equal noise: measures over steps, brought to common values of log SNR.

x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε holds signal and noise in the ratio SNR = ᾱ / (1 - ᾱ). Step 10 of one
schedule may be as noisy as step 14 of another; log SNR is comparable between schedules. It is that
of the space in which the model denoises. For a latent model this is the space of latents.

References:
    Variational Diffusion Models (Kingma, Salimans, Poole, Ho, 2021),
    https://arxiv.org/abs/2107.00630
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import AnalysisError
from .estimate import Estimate


def log_snr(alpha_bar: np.ndarray) -> np.ndarray:
    """Returns the log SNR, ln(ᾱ / (1 - ᾱ)), of ᾱ.

    ᾱ (steps,) lies strictly between 0 and 1.

    Raises:
        AnalysisError: there is no noise, or no signal, at an ᾱ.
    """
    alpha_bar = np.asarray(alpha_bar, np.float64)
    if not ((alpha_bar > 0) & (alpha_bar < 1)).all():
        raise AnalysisError(
            f"the share of signal must lie strictly between 0 and 1, got {alpha_bar.min()} to"
            f" {alpha_bar.max()}"
        )
    return np.log(alpha_bar) - np.log1p(-alpha_bar)


def common_levels(levels: Sequence[np.ndarray], count: int = 20) -> np.ndarray:
    """Returns evenly spaced log SNRs (count,) that all models have.

    They lie within the steps of every model, from most noise to least.

    Raises:
        AnalysisError: the models' steps have no noise level in common.
    """
    low, high = (
        max(float(np.min(each)) for each in levels),
        min(float(np.max(each)) for each in levels),
    )
    if low > high or count < 1:
        raise AnalysisError(
            "these models' steps have no noise level in common; compare runs with more steps"
        )
    return np.linspace(low, high, count)


def at_levels(values: np.ndarray, own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Interpolates values (steps, ...) to other noise levels.

    The interpolation is linear in log SNR between the log SNRs ``own`` (steps,). The values are
    returned at ``wanted`` (k,): (k, ...). Levels outside a model's own range give NaN, because
    nothing is extrapolated.
    """
    values, own, wanted = (
        np.asarray(values, np.float64),
        np.asarray(own, np.float64),
        np.asarray(wanted, np.float64),
    )
    if own.ndim != 1 or len(values) != len(own) or len(np.unique(own)) != len(own):
        raise AnalysisError(
            f"expected one value for each of {own.size} different noise levels, got {values.shape}"
        )
    order = np.argsort(own)
    own, flat = own[order], values[order].reshape(len(own), -1)
    found = np.stack(
        [np.interp(wanted, own, column, left=np.nan, right=np.nan) for column in flat.T], -1
    )
    return found.reshape(len(wanted), *values.shape[1:])


def estimates_at(
    estimates: Sequence[Estimate], own: np.ndarray, wanted: np.ndarray
) -> tuple[Estimate | None, ...]:
    """Interpolates estimates of steps to other noise levels.

    The value and both ends of the interval are interpolated linearly. An interpolation of two
    neighbouring intervals is at least as wide as the interval of the interpolated value. The result
    is None outside the model's own range.
    """
    table = np.array([[found.value, found.low, found.high] for found in estimates])
    fewest, level = min(found.n for found in estimates), min(found.level for found in estimates)
    return tuple(
        (
            None
            if np.isnan(row).any()
            else Estimate(
                value=float(row[0]), low=float(row[1]), high=float(row[2]), n=fewest, level=level
            )
        )
        for row in at_levels(table, own, wanted)
    )
