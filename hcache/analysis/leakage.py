"""Leakage: what else changes when one attribute is edited.

M_ij is the mean change of attribute j under the edit that is meant for attribute i, each attribute in its own spread
over unedited samples, so that all are on one scale. A cell leaks if its mean change is not 0; all off-diagonal cells
are tested together, by flipping the signs of samples, so that where nothing leaks some cell is called leaking in no
more than 5 % of cases.

**Diagonal share**: Σ_i M_ii² / Σ_ij M_ij², the share of all movement that is where it was meant to be; of one edit, its
row's. Squares of means are too large by their variance, the more so the fewer samples; here each is the mean product of
two different samples, which is right on average. Where edits have nothing to do with their attributes the share is
1 / attributes on average. The null deals the edits out to different attributes anew, each dealing as likely as the one
that was meant: p is the share of dealings that put as much of the movement on their diagonal.

References:
    Interpreting the Latent Space of GANs for Semantic Face Editing (Shen, Gu, Tang, Zhou, 2019),
    https://arxiv.org/abs/1907.10786, for re-scoring: edit one attribute, read all
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from ..errors import AnalysisError
from .bootstrap import REPEATS, Statistic, bootstrap_many
from .estimate import LEVEL, Estimate
from .permutation import sign_flip_test

DEALINGS = 5000
"""Beyond so many ways to deal edits out to attributes, as many are drawn at random."""


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """``matrix[i][j]``: mean change of ``attributes[j]`` under ``edits[i]``, in spreads, with its interval.

    ``meant[i]``: the column that edit i is meant for. ``p`` (edits, attributes): that a cell is 0, among all
    off-diagonal ones; NaN on the diagonal. ``share``: the diagonal share of all, ``shares`` of each edit.
    ``p_of_share``: that edits dealt to attributes at random have as large a share.
    """

    edits: tuple[str, ...]
    attributes: tuple[str, ...]
    meant: tuple[int, ...]
    matrix: tuple[tuple[Estimate, ...], ...]
    p: np.ndarray
    share: Estimate
    shares: tuple[Estimate, ...]
    p_of_share: float

    @property
    def chance(self) -> float:
        """The diagonal share of edits that have nothing to do with their attributes."""
        return 1 / len(self.attributes)

    @property
    def leaks(self) -> tuple[tuple[str, str], ...]:
        """(edit, attribute) of the cells that leak, the largest change first."""
        cells = [
            (abs(self.matrix[i][j].value), edit, attribute)
            for i, edit in enumerate(self.edits)
            for j, attribute in enumerate(self.attributes)
            if self.p[i, j] <= 1 - LEVEL
        ]
        return tuple((edit, attribute) for _, edit, attribute in sorted(cells, reverse=True))


def leakage(
    changes: np.ndarray,
    spreads: Sequence[float],
    edits: Sequence[str],
    attributes: Sequence[str],
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Leakage:
    """The leakage matrix of some edits.

    Args:
        changes: (edits, n, attributes): what every edit changed in every reading of the same n samples.
        spreads: Each attribute's standard deviation over unedited samples.
        edits: Their names: each that of the attribute it is meant for.
        attributes: The names of the readings.
        repeats: Draws of the bootstrap over samples.
        seed: Of these.

    Raises:
        AnalysisError: shapes that do not fit, an edit without its attribute, an attribute without spread.
    """
    changes, spread = np.asarray(changes, np.float64), np.asarray(spreads, np.float64)
    expected = (len(edits), len(attributes))
    if changes.ndim != 3 or (changes.shape[0], changes.shape[2]) != expected or changes.shape[1] < 2:
        raise AnalysisError(
            f"changes of {expected[0]} edits and {expected[1]} attributes are ({expected[0]}, samples, {expected[1]}) "
            f"of 2 samples or more, got {changes.shape}"
        )
    if unknown := [edit for edit in edits if edit not in attributes]:
        raise AnalysisError(f"the edit {unknown[0]!r} is meant for no attribute that was read: {', '.join(attributes)}")
    if not np.isfinite(changes).all():
        raise AnalysisError("changes hold values that are not finite; leave those samples out")
    if spread.shape != (len(attributes),) or not (np.isfinite(spread) & (spread > 0)).all():
        dead = [name for name, value in zip(attributes, spread, strict=False) if not value > 0]
        raise AnalysisError(f"every attribute needs a spread above 0; {', '.join(dead) or 'they'} came with none")
    scaled = (changes / spread).transpose(1, 0, 2)
    meant = tuple(list(attributes).index(edit) for edit in edits)
    if not scaled[:, np.arange(len(edits)), meant].any() and not scaled.any():
        raise AnalysisError("no edit changes any reading: there is no movement to have a share in")
    flat = scaled.reshape(len(scaled), -1)
    cells = bootstrap_many(lambda counts: counts @ flat / counts.sum(1)[:, None], len(flat), repeats=repeats, seed=seed)
    shares = bootstrap_many(_shares(scaled, meant), len(flat), repeats=repeats, seed=seed)
    width = len(attributes)
    return Leakage(
        edits=tuple(edits),
        attributes=tuple(attributes),
        meant=meant,
        matrix=tuple(tuple(cells[i * width : (i + 1) * width]) for i in range(len(edits))),
        p=_p_off_diagonal(scaled, meant, seed),
        share=shares[0],
        shares=shares[1:],
        p_of_share=_p_of_share(_products(scaled, np.ones((1, len(scaled))))[0], meant, seed),
    )


def _products(scaled: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The square of every mean change: counts (r, n) -> (r, edits, attributes), of products of different samples only,
    so that it is right on average."""
    flat = scaled.reshape(len(scaled), -1)
    total, again = counts.sum(1)[:, None], np.square(counts)
    found = np.square(counts @ flat) - again @ np.square(flat)
    pairs = total**2 - again.sum(1)[:, None]  # none in a draw of one sample only
    found = np.divide(found, pairs, out=np.zeros_like(found), where=pairs > 0)
    return found.reshape(-1, *scaled.shape[1:])


def _shares(scaled: np.ndarray, meant: tuple[int, ...]) -> Statistic:
    """The diagonal share of all and of each edit: counts (r, n) -> (r, 1 + edits), within 0 to 1."""
    edits = np.arange(scaled.shape[1])

    def statistic(counts: np.ndarray) -> np.ndarray:
        products = _products(scaled, counts)
        diagonal, row = products[:, edits, meant], products.sum(2)
        above = np.concatenate([diagonal.sum(1)[:, None], diagonal], 1)
        below = np.concatenate([row.sum(1)[:, None], row], 1)
        return np.clip(np.divide(above, below, out=np.zeros_like(above), where=below > 0), 0, 1)

    return statistic


def _p_of_share(products: np.ndarray, meant: tuple[int, ...], seed: int) -> float:
    """The share of dealings of edits to different attributes whose diagonal of ``products`` is as large as meant."""
    edits, width = products.shape
    if math.perm(width, edits) <= DEALINGS:
        dealings = np.array(list(permutations(range(width), edits)))
    else:
        rng = np.random.default_rng(seed)
        drawn = [rng.permutation(width)[:edits] for _ in range(DEALINGS - 1)]
        dealings = np.array([meant, *drawn])  # the one that was meant is one of them
    diagonal = products[np.arange(edits), dealings].sum(1)
    observed = float(products[np.arange(edits), list(meant)].sum())
    return float((diagonal >= observed - 1e-12 * abs(observed)).mean())


def _p_off_diagonal(scaled: np.ndarray, meant: tuple[int, ...], seed: int) -> np.ndarray:
    n, edits, width = scaled.shape
    off = np.ones((edits, width), bool)
    off[np.arange(edits), meant] = False
    p = np.full((edits, width), np.nan)
    if off.any():
        p[off] = sign_flip_test(scaled[:, off], seed=seed)
    return p
