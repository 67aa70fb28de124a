"""What components of unrelated features explain, from a part of the data, where all is too much.

Of samples and features the same share is drawn, so that their ratio stays, and every feature is
shuffled over the samples. The variances of unrelated features' components follow from this ratio
and from the features' own variances alone, as both grow. So the features are drawn evenly by their
variance, and the few that vary most are all kept: each of those may be a component of its own. The
part then has the baseline of the whole, within some per cent (the tests compare them).

References:
    A rationale and test for the number of factors in factor analysis (Horn, 1965),
    https://doi.org/10.1007/BF02289447
    Deterministic parallel analysis: an improved method for selecting factors and principal
    components (Dobriban, Owen, 2019), https://arxiv.org/abs/1711.04155, for the limit
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .streaming import grouped

PART = 1024
"""The approximate number of samples or features in the part, whichever are fewer."""


def part_baseline(
    rows: Callable[[], Iterator[np.ndarray]],
    shape: tuple[int, int],
    total: float,
    k: int,
    repeats: int = 3,
    seed: int = 0,
) -> np.ndarray:
    """Computes variance shares (k,) of the first components of shuffled features.

    Args:
        rows: Blocks (some samples, d). They are read once.
        shape: The numbers of samples and features.
        total: The sum of squares of the centred data.
        k: The number of components.
        repeats: The number of shuffles. The result is their mean.
        seed: The seed of the shuffles.
    """
    part = drawn_part(rows, shape, max(1, round(min(shape) / PART)), k)
    part = part - part.mean(0)
    scale = shape[0] / len(part) / total
    found = np.zeros((repeats, k))
    for repeat in range(repeats):
        shuffled = np.random.default_rng([seed, 1 + repeat]).permuted(part, axis=0)
        small = shuffled @ shuffled.T if len(part) <= part.shape[1] else shuffled.T @ shuffled
        values = np.linalg.eigvalsh(small.astype(np.float64))[::-1][:k]
        found[repeat, : len(values)] = scale * values
    return found.mean(0)


def drawn_part(
    rows: Callable[[], Iterator[np.ndarray]], shape: tuple[int, int], every: int, most: int
) -> np.ndarray:
    """Draws a part of the samples and features of data.

    It takes one of each ``every`` samples and features, and the ``most`` features that vary most.
    The part is float32 of shape (about n / every, about d / every).
    """
    columns, kept, at = np.arange(shape[1]), [], 0
    for block in grouped(lambda: (each[None] for each in rows())):
        if not kept:
            by_variance = np.argsort(block[0].var(0))[::-1]
            columns = np.r_[by_variance[:most], by_variance[most + every // 2 :: every]]
        wanted = np.arange(at, at + block.shape[1]) % every == 0
        kept.append(block[0][wanted][:, columns])
        at += block.shape[1]
    return np.concatenate(kept).astype(np.float32)
