"""The quality of a trained dictionary, and what its features do.

- Explained variance: the share of the squares of held-out samples' tokens that the dictionary
  reconstructs from its active features. It is compared with the same number of principal components
  of the training tokens, and with the null. The null is a dictionary of the same size that was both
  trained and tested on tokens whose channels were shuffled.
- Firing: how often each feature fires at each step, how strongly it fires at each place, and in
  which samples it fires most. A feature that fires nowhere is dead.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..analysis.bootstrap import bootstrap, ratio_of
from ..analysis.estimate import Estimate
from .network import Weights, before_top_k, reconstructed, top_k
from .tokens import Spread, Tokens, shuffled

TOP = 12
"""The number of samples that are kept for each feature."""

AT_ONCE = 8192
"""The number of tokens that are encoded at a time."""


@dataclass(frozen=True, kw_only=True)
class Firing:
    """How features fire in all samples of a run.

    Attributes:
        rate: At each step, the share of places and samples where a feature fires (steps, m).
        strength: Its mean activation at each step and place (steps, m, places).
        samples: Its mean activation in each sample (n, m).
        energy: The mean square of its activation (m,).
    """

    rate: np.ndarray
    strength: np.ndarray
    samples: np.ndarray
    energy: np.ndarray

    def sorted(self, order: np.ndarray) -> Firing:
        """Returns the same data with the features in another order."""
        return Firing(
            rate=self.rate[:, order],
            strength=self.strength[:, order],
            samples=self.samples[:, order],
            energy=self.energy[order],
        )

    def top(self) -> np.ndarray:
        """Finds the rows of the samples with the largest activations.

        The largest comes first. The shape is (m, TOP), or (m, n) if there are fewer samples.
        """
        count = min(TOP, len(self.samples))
        return np.argsort(-self.samples, axis=0, kind="stable")[:count].T.astype(np.int32)


def firing(tokens: Tokens, spread: Spread, weights: Weights) -> Generator[float, None, Firing]:
    """Measures how features fire in all samples, one shard at a time."""
    run, m, p = tokens.run, tokens.plan.features, tokens.places
    steps, n = run.spec.steps, len(run)
    rate, energy = torch.zeros(steps, m, dtype=torch.float64), torch.zeros(m, dtype=torch.float64)
    strength, samples = torch.zeros(steps, m * p), torch.zeros(n * m)
    done = 0
    for rows, block in tokens.blocks(range(len(run.shards))):
        z = torch.from_numpy(spread.scaled(block))  # (steps, n, c, p)
        count = z.shape[1]
        owners = torch.arange(rows.start, rows.start + count).repeat_interleave(p)
        places = torch.arange(p).repeat(count)
        for step in range(steps):
            x = z[step].transpose(1, 2).reshape(count * p, -1)
            for part in torch.arange(count * p).split(AT_ONCE):
                values, features = top_k(before_top_k(weights, x[part]), tokens.plan.active)
                flat, found = features.flatten(), values.flatten()
                rate[step].index_add_(0, flat, (found > 0).double())
                energy.index_add_(0, flat, found.double().square())
                strength[step].index_add_(0, (features * p + places[part, None]).flatten(), found)
                at = owners[part, None] * m + features
                samples.index_add_(0, at.flatten(), found)
            yield (done + count * (step + 1) / steps) / n
        done += count
    return Firing(
        rate=(rate / (n * p)).float().numpy(),
        strength=(strength / n).view(steps, m, p).numpy(),
        samples=(samples / (steps * p)).view(n, m).numpy(),
        energy=(energy / (n * p * steps)).float().numpy(),
    )


def explained(x: np.ndarray, found: np.ndarray, owners: np.ndarray) -> Estimate:
    """Computes the share of squares that a reconstruction explains.

    The squares are those of the tokens (n, c). The interval is over the samples that the tokens
    belong to; ``owners`` (n,) holds the sample of each token.
    """
    _, rows = np.unique(owners, return_inverse=True)
    left = np.bincount(rows, np.square(x - found, dtype=np.float64).sum(1))
    whole = np.bincount(rows, np.square(x, dtype=np.float64).sum(1))
    unexplained = ratio_of(left, whole)
    return bootstrap(lambda counts: 1 - unexplained(counts), len(whole))


def quality(
    tokens: Tokens, spread: Spread, weights: Weights, null: Weights
) -> Generator[float, None, dict[str, Any]]:
    """Compares what the dictionary explains with PCA and the null.

    All three are measured on held-out samples.
    """
    x, owners = yield from tokens.held_out_tokens(spread)
    k, seed = tokens.plan.active, tokens.plan.seed
    own = explained(x, reconstructed(weights, x, k), owners)
    apart = shuffled(x, seed)
    chance = explained(apart, reconstructed(null, apart, k), owners)
    train = tokens.chunk(tokens.chunks()[0], 0, spread)
    mean = train.mean(0, dtype=np.float64).astype(np.float32)
    _, vectors = np.linalg.eigh(np.cov(train.T.astype(np.float64)))
    axes = vectors[:, ::-1][:, :k].astype(np.float32)
    return {
        "explained": own,
        "null": chance,
        "pca": explained(x, (x - mean) @ axes @ axes.T + mean, owners),
        "held_out": tokens.run.sample_ids[tokens.held_out].tolist(),
    }
