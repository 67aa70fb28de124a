"""Leakage: what else changes when one attribute is edited.

M_ij is the mean change of attribute j under the edit for attribute i. Each attribute is in units of
its own spread over unedited samples, so that all are on one scale. A cell leaks if the edit changes
the attribute more than unrelated directions do. All off-diagonal cells are one family: if nothing
leaks, the probability that any cell is called leaking is the level.

**Null.** The changes of the same attribute of the same samples under other directions: random ones
(``nulls``), and the edits for other attributes. Changes are not assumed to be symmetric: readings
are probabilities, and glasses are on or off. Two tests are made, and p is the larger of the two:

- over samples: within every sample, the changes of an attribute are permuted among the edit and the
  random directions, or among the edits if there are no random directions (max-T over the family).
  The test is exact if directions differ only by chance, however skewed the changes are.
- over directions, if there are random ones: M_ij over the root mean square of the random
  directions'
  means, as Student's t with as many degrees of freedom as there are random directions (Holm over
  the family). It assumes that the means of random directions are normal. Random directions may have
  a real effect, which all samples share. The first test alone would call this effect a leak.

Limits: without random directions, an attribute that all edits change equally does not count as
leaking. With fewer than three directions to compare on an attribute, changes are permuted over all
off-diagonal cells. This assumes that readings are equally noisy. If a few of the random directions
make nearly all of their changes, the test by t calls leaks too often (about 7 to 9 % of single
cells rather than 5 %, if means are distributed as Student's t with 3 degrees of freedom).

**Diagonal share**: Σ_i M_ii² / Σ_ij M_ij², the share of all changes that was intended. For one edit
it is the share of its row. Squares of means are too large by their variance, especially with few
samples. Here each square is the mean product of two different samples, which is right on average.
If edits are unrelated to their attributes, the share is 1 / attributes on average. The null assigns
edits to different attributes at random. All assignments are equally likely, including the intended
one. p is the share of assignments that put as much of the change on their diagonal.

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
from scipy import stats

from ..errors import AnalysisError
from .bootstrap import REPEATS, Statistic, bootstrap_many
from .estimate import LEVEL, Estimate
from .permutation import holm

DEALINGS = 5000
"""The largest number of assignments of edits to attributes that are all tried. Beyond it, this many
are drawn at random.
"""

PERMUTATIONS = 999
"""The number of permutations of the null over samples."""

_AT_ONCE = 2**22

FEWEST_COMPARED = 3
"""The smallest number of directions for permuting the changes of one attribute."""


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """The leakage matrix of some edits.

    ``matrix[i][j]``: the mean change of ``attributes[j]`` under ``edits[i]``, in spreads, with its
    interval. ``meant[i]``: the column that edit i is intended for. ``p`` (edits, attributes): the
    probability that an unrelated direction changes the attribute as much, among all off-diagonal
    cells; NaN on the diagonal. ``nulls``: the number of random directions. ``share``: the diagonal
    share of all edits. ``shares``: that of each edit. ``p_of_share``: the probability that randomly
    assigned edits have as large a share.
    """

    edits: tuple[str, ...]
    attributes: tuple[str, ...]
    meant: tuple[int, ...]
    matrix: tuple[tuple[Estimate, ...], ...]
    p: np.ndarray
    share: Estimate
    shares: tuple[Estimate, ...]
    p_of_share: float
    nulls: int = 0

    @property
    def chance(self) -> float:
        """The diagonal share by chance.

        It is the share of edits that have nothing to do with their attributes.
        """
        return 1 / len(self.attributes)

    @property
    def leaks(self) -> tuple[tuple[str, str], ...]:
        """Returns (edit, attribute) of the leaking cells, the largest change first."""
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
    nulls: np.ndarray | None = None,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Leakage:
    """Computes the leakage matrix of some edits.

    Args:
        changes: (edits, n, attributes): the change of every reading under every edit, for the same
            n samples.
        spreads: Each attribute's standard deviation over unedited samples.
        edits: The names of the edits. Each is that of its intended attribute.
        attributes: The names of the readings.
        nulls: (m, n, attributes): the changes under random directions of the same length, for the
            same samples; None if there are none.
        repeats: The number of bootstrap draws over samples.
        seed: The seed of the draws.

    Raises:
        AnalysisError: shapes do not match, an edit has no attribute, or an attribute has no spread.
    """
    scaled, random = _scaled(changes, spreads, edits, attributes, nulls)
    meant = tuple(list(attributes).index(edit) for edit in edits)
    if not scaled.any():
        raise AnalysisError("no edit changes any reading, so the share is undefined")
    flat = scaled.reshape(len(scaled), -1)
    cells = bootstrap_many(
        lambda counts: counts @ flat / counts.sum(1)[:, None], len(flat), repeats=repeats, seed=seed
    )
    shares = bootstrap_many(_shares(scaled, meant), len(flat), repeats=repeats, seed=seed)
    width = len(attributes)
    return Leakage(
        edits=tuple(edits),
        attributes=tuple(attributes),
        meant=meant,
        matrix=tuple(tuple(cells[i * width : (i + 1) * width]) for i in range(len(edits))),
        p=_p_off_diagonal(scaled.transpose(1, 0, 2), random, meant, seed),
        share=shares[0],
        shares=shares[1:],
        p_of_share=_p_of_share(_products(scaled, np.ones((1, len(scaled))))[0], meant, seed),
        nulls=0 if random is None else len(random),
    )


def _scaled(
    changes: np.ndarray,
    spreads: Sequence[float],
    edits: Sequence[str],
    attributes: Sequence[str],
    nulls: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns checked changes (n, edits, attributes) and nulls (m, n, attributes) in spreads."""
    changes, spread = np.asarray(changes, np.float64), np.asarray(spreads, np.float64)
    expected = (len(edits), len(attributes))
    if (
        changes.ndim != 3
        or (changes.shape[0], changes.shape[2]) != expected
        or changes.shape[1] < 2
    ):
        raise AnalysisError(
            f"changes of {expected[0]} edits and {expected[1]} attributes must be ({expected[0]},"
            f" samples, {expected[1]}) with 2 or more samples, got {changes.shape}"
        )
    if unknown := [edit for edit in edits if edit not in attributes]:
        raise AnalysisError(
            f"the edit {unknown[0]!r} has no attribute of its name among those that were read:"
            f" {', '.join(attributes)}"
        )
    if not np.isfinite(changes).all():
        raise AnalysisError("changes hold values that are not finite; leave those samples out")
    if spread.shape != (len(attributes),) or not (np.isfinite(spread) & (spread > 0)).all():
        dead = [name for name, value in zip(attributes, spread, strict=False) if not value > 0]
        raise AnalysisError(
            f"every attribute needs a spread above 0; {', '.join(dead) or 'they'} came with none"
        )
    scaled = (changes / spread).transpose(1, 0, 2)
    random = None if nulls is None or not len(nulls) else np.asarray(nulls, np.float64) / spread
    if random is not None and (
        random.shape[1:] != changes.shape[1:] or not np.isfinite(random).all()
    ):
        raise AnalysisError(
            f"nulls must be (directions, {changes.shape[1]}, {changes.shape[2]}) and finite, got"
            f" {random.shape}"
        )
    return scaled, random


def _products(scaled: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns the square of every mean change: counts (r, n) -> (r, edits, attributes). It uses
    products of different samples only, so that it has no bias.
    """
    flat = scaled.reshape(len(scaled), -1)
    total, again = counts.sum(1)[:, None], np.square(counts)
    found = np.square(counts @ flat) - again @ np.square(flat)
    pairs = total**2 - again.sum(1)[:, None]  # there are none in a draw of one sample only
    found = np.divide(found, pairs, out=np.zeros_like(found), where=pairs > 0)
    return found.reshape(-1, *scaled.shape[1:])


def _shares(scaled: np.ndarray, meant: tuple[int, ...]) -> Statistic:
    """Returns the diagonal share of all and of each edit: counts (r, n) -> (r, 1 + edits), within 0
    to 1.
    """
    edits = np.arange(scaled.shape[1])

    def statistic(counts: np.ndarray) -> np.ndarray:
        products = _products(scaled, counts)
        diagonal, row = products[:, edits, meant], products.sum(2)
        above = np.concatenate([diagonal.sum(1)[:, None], diagonal], 1)
        below = np.concatenate([row.sum(1)[:, None], row], 1)
        return np.clip(np.divide(above, below, out=np.zeros_like(above), where=below > 0), 0, 1)

    return statistic


def _p_of_share(products: np.ndarray, meant: tuple[int, ...], seed: int) -> float:
    """Returns the share of assignments of edits to attributes whose diagonal of ``products`` is at
    least as large as the intended one.
    """
    edits, width = products.shape
    if math.perm(width, edits) <= DEALINGS:
        dealings = np.array(list(permutations(range(width), edits)))
    else:
        rng = np.random.default_rng(seed)
        drawn = [rng.permutation(width)[:edits] for _ in range(DEALINGS - 1)]
        dealings = np.array([meant, *drawn])  # the intended assignment is one of them
    diagonal = products[np.arange(edits), dealings].sum(1)
    observed = float(products[np.arange(edits), list(meant)].sum())
    return float((diagonal >= observed - 1e-12 * abs(observed)).mean())


def _p_off_diagonal(
    changes: np.ndarray, random: np.ndarray | None, meant: tuple[int, ...], seed: int
) -> np.ndarray:
    """Returns p of every off-diagonal cell, for changes (edits, n, attributes) and those of random
    directions (m, n, attributes).
    """
    edits, _, width = changes.shape
    off = np.ones((edits, width), bool)
    off[np.arange(edits), meant] = False
    p = np.full((edits, width), np.nan)
    if not off.any():
        return p
    rng = np.random.default_rng(seed)
    if random is not None and len(random) >= FEWEST_COMPARED - 1:
        p[off] = _p_among_random(changes, random, off, rng)
    elif off.sum(0)[off.any(0)].min() >= FEWEST_COMPARED:
        p[off] = _p_by_attribute(changes, off, rng)
    elif off.sum() >= FEWEST_COMPARED:
        pool = changes.transpose(1, 0, 2)[:, off]
        p[off] = _largest_of_all(*_dealt(pool, off.sum(), rng))
    if random is not None and len(random) > 1:
        p[off] = np.fmax(p[off], _p_over_directions(changes, random)[off])
    return p


def _p_over_directions(changes: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Returns Holm's p (edits, attributes) of means against those of random directions, by
    Student's t, over all cells.
    """
    size, scale = np.abs(changes.mean(1)), np.sqrt(np.square(random.mean(1)).mean(0))
    t = np.divide(size, scale, out=np.where(size > 0, np.inf, 0.0), where=scale > 0)
    return holm((2 * stats.t.sf(t, len(random))).ravel()).reshape(t.shape)


def _p_among_random(
    changes: np.ndarray, random: np.ndarray, off: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Returns p of the off-diagonal cells. In every sample, the changes by an edit and by the
    random directions are permuted. The same permutations serve all cells, which keeps their
    dependence.
    """
    m, n, _ = random.shape
    total = random.sum(0)
    deviation = np.sqrt(
        np.square(random).mean((0, 1)) + np.square(changes).mean(1)
    )  # (edits, attributes)
    unit = np.where(deviation > 0, deviation, 1)

    def further(of: np.ndarray, rest: np.ndarray) -> np.ndarray:
        return (np.abs(of.mean(-2)) - np.abs(rest.mean(-2) / m)) / unit

    observed = further(changes, np.broadcast_to(total, changes.shape))
    nulls = np.empty((PERMUTATIONS, *off.shape))
    for draw in range(PERMUTATIONS):
        picked = rng.integers(0, m + 1, n)
        dealt = np.where((picked == 0)[:, None], changes, random[picked - 1, np.arange(n)])
        nulls[draw] = further(dealt, total + changes - dealt)
    return _largest_of_all(observed[off], nulls[:, off])


def _p_by_attribute(changes: np.ndarray, off: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns p of the off-diagonal cells, row by row, by permuting each attribute's changes among
    its edits.
    """
    observed, nulls = np.zeros(off.shape), np.zeros((PERMUTATIONS, *off.shape))
    for j in np.flatnonzero(off.any(0)):
        rows = np.flatnonzero(off[:, j])
        observed[rows, j], nulls[:, rows, j] = _dealt(changes[rows, :, j].T, len(rows), rng)
    return _largest_of_all(observed[off], nulls[:, off])


def _dealt(pool: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns how much further the first ``count`` directions of a pool (n, directions) move than
    the others: (count,), and the same with each sample's changes permuted (PERMUTATIONS, count).
    Values are in deviations of the pool.
    """
    n, directions = pool.shape
    deviation = float(pool.std()) or 1.0

    def further(means: np.ndarray) -> np.ndarray:
        others = (pool.mean(0).sum() - means) / (directions - 1)
        return (np.abs(means) - np.abs(others)) / deviation

    means = np.empty((PERMUTATIONS, count))
    some = max(1, _AT_ONCE // pool.size)
    for start in range(0, PERMUTATIONS, some):
        rows = slice(start, min(start + some, PERMUTATIONS))
        order = rng.random((rows.stop - start, n, directions), np.float32).argsort(2)[:, :, :count]
        means[rows] = np.take_along_axis(pool[None], order, 2).mean(1)
    return further(pool[:, :count].mean(0)), further(means)


def _largest_of_all(observed: np.ndarray, nulls: np.ndarray) -> np.ndarray:
    """Returns p of statistics (k,) against the largest of all in each draw (m, k)."""
    largest = nulls.max(1)
    return np.array(
        [(1 + (largest >= each - 1e-9).sum()) / (1 + len(largest)) for each in observed]
    )
