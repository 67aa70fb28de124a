"""Which samples of a run belong together, as the run itself says: one prompt, one class, one
picture.

Samples of one real picture, of one prompt where there are several, or of one class, share what a
probe can learn from one and tell of the other (:mod:`~hcache.analysis.groups`). Seeds are different
in every run. A label set may say it better: any label whose values name the groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence

import numpy as np

from ..analysis.groups import as_groups
from ..cache.labels import find_label
from ..cache.reading import Run

BY_RUN, APART = "run", "none"
"""Groups as the run says, or every sample by itself; anything else is the name of a label that
tells them apart.
"""


GROUPS = "groups"
"""The parameter of a result that names its groups."""


def groups_of(run: Run, by: str = BY_RUN) -> np.ndarray | None:
    """The number of the group of every sample (n,).

    None if every sample is its own.

    Args:
        run: The run.
        by: ``run``, ``none``, or the name of a label, every value of which is a group.
    """
    if by == APART:
        return None
    if by != BY_RUN:
        return as_groups(find_label(run, by), len(run))
    found = np.arange(len(run))
    for values in _shared(run):
        if len(set(values)) > 1:  # what all have in common tells nobody apart
            found = _joined(found, values)
    return as_groups(found, len(run))


def in_words(run: Run, groups: np.ndarray | None) -> str:
    """``64 samples of 8 groups``, for pages and tables.

    Empty if every sample is its own.
    """
    return (
        ""
        if groups is None
        else f"{len(run)} samples of {groups.max() + 1} groups that belong together"
    )


def groups_digest(groups: np.ndarray | None) -> str | None:
    """Hex digits that name groups, as part of a result's parameters."""
    return (
        None
        if groups is None
        else hashlib.sha256(groups.astype(np.int64).tobytes()).hexdigest()[:12]
    )


def of_groups(groups: np.ndarray | None) -> dict[str, str]:
    """Describes groups for the parameters of a result.

    It is empty where every sample is its own group.
    """
    digest = groups_digest(groups)
    return {} if digest is None else {GROUPS: digest}


def groups_among(run: Run, groups: np.ndarray | None, samples: Sequence[int]) -> np.ndarray | None:
    """Returns the groups of some samples of a run.

    It is None if no two of them are of one group.
    """
    if groups is None:
        return None
    return as_groups(groups[[run.position(int(sample)) for sample in samples]], len(samples))


def _shared(run: Run) -> list[Sequence[Hashable]]:
    """What samples may have in common, a value a sample."""
    ids = run.sample_ids.tolist()
    given = run.spec.conditioning
    told = (run.spec.images, given.prompts, given.classes)
    return [[values[sample] for sample in ids] for values in told if len(values) > 1]


def _joined(groups: np.ndarray, values: Sequence[Hashable]) -> np.ndarray:
    """Groups (n,) with those put together that have a value in common."""
    joined, first = groups.copy(), {}
    for row, value in enumerate(values):
        known = first.setdefault(value, row)
        if joined[known] != joined[row]:
            joined[joined == joined[row]] = joined[known]
    return joined
