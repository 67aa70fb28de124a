"""The samples of a run that belong together: those of one prompt, one class or one picture.

Samples of one real picture, of one prompt if there are several, or of one class have something in
common. A probe can learn it from one sample and predict it for another
(:mod:`~hcache.analysis.groups`). Seeds differ in every run. A label can define groups better: any
label whose values name the groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence

import numpy as np

from ..analysis.groups import as_groups
from ..cache.labels import find_label
from ..cache.reading import Run

BY_RUN, APART = "run", "none"
"""Groups as the run defines them, or every sample by itself. Any other value is the name of a label
that distinguishes them.
"""


GROUPS = "groups"
"""The parameter of a result that names its groups."""


def groups_of(run: Run, by: str = BY_RUN) -> np.ndarray | None:
    """Returns the number of the group of every sample (n,).

    It is None if every sample is its own group.

    Args:
        run: The run.
        by: ``run``, ``none``, or the name of a label. Every value of the label is a group.
    """
    if by == APART:
        return None
    if by != BY_RUN:
        return as_groups(find_label(run, by), len(run))
    found = np.arange(len(run))
    for values in _shared(run):
        if len(set(values)) > 1:  # a property that all share does not distinguish samples
            found = _joined(found, values)
    return as_groups(found, len(run))


def in_words(run: Run, groups: np.ndarray | None) -> str:
    """Returns ``64 samples of 8 groups``, for pages and tables.

    It is empty if every sample is its own group.
    """
    return (
        ""
        if groups is None
        else f"{len(run)} samples of {groups.max() + 1} groups that belong together"
    )


def groups_digest(groups: np.ndarray | None) -> str | None:
    """Returns hex digits that identify groups, for a result's parameters."""
    return (
        None
        if groups is None
        else hashlib.sha256(groups.astype(np.int64).tobytes()).hexdigest()[:12]
    )


def of_groups(groups: np.ndarray | None) -> dict[str, str]:
    """Describes groups for the parameters of a result.

    It is empty if every sample is its own group.
    """
    digest = groups_digest(groups)
    return {} if digest is None else {GROUPS: digest}


def groups_among(run: Run, groups: np.ndarray | None, samples: Sequence[int]) -> np.ndarray | None:
    """Returns the groups of some samples of a run.

    It is None if no two of them belong to one group.
    """
    if groups is None:
        return None
    return as_groups(groups[[run.position(int(sample)) for sample in samples]], len(samples))


def _shared(run: Run) -> list[Sequence[Hashable]]:
    """Returns the properties that samples may share, one value per sample."""
    ids = run.sample_ids.tolist()
    given = run.spec.conditioning
    told = (run.spec.images, given.prompts, given.classes)
    return [[values[sample] for sample in ids] for values in told if len(values) > 1]


def _joined(groups: np.ndarray, values: Sequence[Hashable]) -> np.ndarray:
    """Returns groups (n,), with groups of equal values joined."""
    joined, first = groups.copy(), {}
    for row, value in enumerate(values):
        known = first.setdefault(value, row)
        if joined[known] != joined[row]:
            joined[joined == joined[row]] = joined[known]
    return joined
