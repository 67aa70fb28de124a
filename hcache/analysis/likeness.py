"""How far an edit moves a picture from the unedited one, against random edits of the same length.

For each distance d (:mod:`.similarity`, or an image encoder's), with e_i the edited picture and u_i
the unedited one of sample i, the measure is the mean of d(e_i, u_i) over samples. The null is the
mean of the same over m random directions. p is the rank of the direction's distance from the mean
of all m + 1, so that it is small for an edit that changes a picture less than random directions do
as well as for one that changes it more.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import AnalysisError
from .bootstrap import REPEATS, bootstrap_many
from .estimate import Contrast, Estimate
from .permutation import p_value


def likeness(
    changed: Mapping[str, np.ndarray],
    nulls: Mapping[str, np.ndarray],
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> dict[str, Contrast]:
    """Measures how far an edit moves pictures, against random edits.

    The result is by distance.

    Args:
        changed: Distance -> (n,) values between edited and unedited pictures.
        nulls: Distance -> (m, n) the same for m random directions; m may be 0.
        repeats: The number of bootstrap draws over samples.
        seed: The seed of the draws.

    Raises:
        AnalysisError: shapes do not match, there are fewer than 2 samples, or values are not
            finite.
    """
    found = {}
    for name, values in changed.items():
        values, random = np.asarray(values, np.float64), np.asarray(nulls[name], np.float64)
        if values.ndim != 1 or random.ndim != 2 or random.shape[1:] != values.shape:
            raise AnalysisError(
                "distances must be (samples,), and those of random directions (directions,"
                f" samples); got {values.shape}, {random.shape} for {name}"
            )
        if not (np.isfinite(values).all() and np.isfinite(random).all()):
            raise AnalysisError(f"distances in {name} are not finite; leave those samples out")
        found[name] = _contrast(values, random, repeats, seed)
    return found


def _contrast(values: np.ndarray, random: np.ndarray, repeats: int, seed: int) -> Contrast:
    """Compares the mean of values (n,) with that of random ones (m, n)."""

    def statistic(counts: np.ndarray) -> np.ndarray:
        own = counts @ values / counts.sum(1)
        if not len(random):
            return own[:, None]
        theirs = counts @ random.mean(0) / counts.sum(1)
        return np.stack([own, theirs, own - theirs], 1)

    estimates = bootstrap_many(statistic, len(values), repeats=repeats, seed=seed)
    if not len(random):
        none = Estimate.undefined("no random directions were tried", len(values))
        return Contrast(measured=estimates[0], null=none, excess=none)
    means = np.append(random.mean(1), values.mean())
    far = np.abs(means - means.mean())
    measured, null, excess = estimates
    return Contrast(measured=measured, null=null, excess=excess, p=p_value(far[-1], far[:-1]))
