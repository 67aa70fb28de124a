"""Samples that belong together: pictures of one prompt, inversions of one original, copies of one
another.

What such samples share a probe can learn from one and tell of the other, whatever the label: a
random label of prompts is then read off samples that were held out. So samples of one group are
never on both sides of a fold, labels are shuffled as groups, and intervals are over groups.

References:
    Cross-Validation Strategies for Data with Temporal, Spatial, Hierarchical, or Phylogenetic
    Structure (Roberts and others, 2017), https://doi.org/10.1111/ecog.02881
"""

from __future__ import annotations

import numpy as np

from ..errors import AnalysisError


def as_groups(values: np.ndarray | None, n: int) -> np.ndarray | None:
    """Numbers of groups (n,) from 0 up.

    ``values`` (n,) of any kind tell groups apart. None if every sample is its own group.

    Raises:
        AnalysisError: there are not as many values as samples.
    """
    if values is None:
        return None
    values = np.asarray(values)
    if values.shape != (n,):
        raise AnalysisError(f"groups are one value for each of {n} samples, got {values.shape}")
    found = np.unique(values, return_inverse=True)[1]
    return None if found.max(initial=0) + 1 == n else found


def duplicates(data: np.ndarray) -> np.ndarray | None:
    """Groups (n,) of rows that are the same to the bit.

    Of data (n, d); None if there are no such rows.
    """
    found = as_groups(
        np.array([hash(np.ascontiguousarray(row).tobytes()) for row in data]), len(data)
    )
    return (
        None if found is None or found.max() == 0 else found
    )  # all the same is another matter, told of the data


def group_folds(groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of every sample (n,), with whole groups.

    Groups are dealt out at random, the largest first.

    Raises:
        AnalysisError: there are fewer groups than folds.
    """
    sizes = np.bincount(groups)
    if len(sizes) < folds:
        raise AnalysisError(
            f"the samples are of {len(sizes)} groups that belong together (one prompt, original or"
            f" seed), and {folds} folds need {folds} or more; take fewer folds, more groups, or"
            " each sample for itself (groups none)"
        )
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled, fold = np.zeros(folds, int), np.empty(len(sizes), int)
    for group in order:
        fold[group] = filled.argmin()
        filled[fold[group]] += sizes[group]
    return fold[groups]


def shuffled_by_group(
    target: np.ndarray, groups: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Labels (n,) dealt out to groups anew.

    A label that is the same in all of a group goes to another group as a whole. One that varies
    within groups is exchanged between groups of one size, in any order within them; a group whose
    size no other has keeps its labels, in another order.
    """
    members = [np.flatnonzero(groups == number) for number in range(groups.max() + 1)]
    if all(np.ptp(target[rows]) == 0 for rows in members):
        return rng.permutation(target[[rows[0] for rows in members]])[groups]
    result = target.copy()
    for size in {len(rows) for rows in members}:
        alike = [rows for rows in members if len(rows) == size]
        for rows, given in zip(alike, rng.permutation(len(alike)), strict=True):
            result[rows] = rng.permutation(target[alike[given]])
    return result


def group_means(values: np.ndarray, groups: np.ndarray | None, axis: int = 0) -> np.ndarray:
    """Replaces samples along an axis with the means of their groups.

    What is computed from the means is over groups: an interval or a test takes each group once. A
    group counts the same whatever its size. Values without groups come back as they are.

    Raises:
        AnalysisError: all samples are of one group.
    """
    if groups is None:
        return values
    number = np.unique(groups, return_inverse=True)[1]
    if number.max() == 0:
        raise AnalysisError(
            f"the {len(groups)} samples belong together (one prompt, class or original), so there"
            " is no spread over groups; try more samples (--samples)"
        )
    member = np.eye(number.max() + 1)[number]
    return np.moveaxis(
        np.tensordot(member.T / member.sum(0)[:, None], np.moveaxis(values, axis, 0), 1), 0, axis
    )


def same_group(groups: np.ndarray | None, n: int) -> np.ndarray:
    """Says which pairs of samples belong to one group.

    The matrix is (n, n) bool. Every sample belongs together with itself at least.
    """
    return np.eye(n, dtype=bool) if groups is None else groups[:, None] == groups[None]
