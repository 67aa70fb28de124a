"""Groups of samples that belong together: pictures of one prompt, inversions of one original, or
copies.

A probe can learn the common properties of such samples from one and predict another by them,
whatever the label: even a random label of prompts could then be read from held-out samples.
Therefore samples of one group are never on both sides of a fold, labels are shuffled as groups, and
intervals are over groups.

References:
    Cross-Validation Strategies for Data with Temporal, Spatial, Hierarchical, or Phylogenetic
    Structure (Roberts and others, 2017), https://doi.org/10.1111/ecog.02881
"""

from __future__ import annotations

import numpy as np

from ..errors import AnalysisError


def as_groups(values: np.ndarray | None, n: int) -> np.ndarray | None:
    """Returns numbers of groups (n,) from 0 up.

    ``values`` (n,) of any kind distinguish the groups. The result is None if every sample is its
    own group.

    Raises:
        AnalysisError: there are not as many values as samples.
    """
    if values is None:
        return None
    values = np.asarray(values)
    if values.shape != (n,):
        raise AnalysisError(f"groups need one value for each of {n} samples, got {values.shape}")
    found = np.unique(values, return_inverse=True)[1]
    return None if found.max(initial=0) + 1 == n else found


def duplicates(data: np.ndarray) -> np.ndarray | None:
    """Returns groups (n,) of bit-identical rows.

    The rows are those of data (n, d). The result is None if there are no such rows.
    """
    found = as_groups(
        np.array([hash(np.ascontiguousarray(row).tobytes()) for row in data]), len(data)
    )
    return (
        None if found is None or found.max() == 0 else found
    )  # that all rows are equal is reported elsewhere


def group_folds(groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Returns the fold of every sample (n,), keeping groups whole.

    Groups are assigned at random, the largest first.

    Raises:
        AnalysisError: there are fewer groups than folds.
    """
    sizes = np.bincount(groups)
    if len(sizes) < folds:
        raise AnalysisError(
            f"the samples form {len(sizes)} groups that belong together (one prompt, original or"
            f" seed), and {folds} folds need {folds} or more; use fewer folds, more groups, or"
            " each sample on its own (groups none)"
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
    """Returns labels (n,) shuffled over groups.

    If a label is the same in a whole group, it moves to another group as a whole. If it varies
    within groups, it is exchanged between groups of equal size, in any order within them. A group
    without another of its size keeps its labels, in another order.
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

    An interval or a test of the means then counts each group once, whatever its size. Without
    groups, values are returned unchanged.

    Raises:
        AnalysisError: all samples belong to one group.
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
    """Returns which pairs of samples belong to one group.

    The matrix is (n, n) bool. Every sample belongs at least with itself.
    """
    return np.eye(n, dtype=bool) if groups is None else groups[:, None] == groups[None]
