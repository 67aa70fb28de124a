"""Activations of one place each, in units of σ, read a shard at a time.

A token is the vector of all channels of a site at one step and place of one sample, less the mean
of the training samples there and divided by their standard deviation: what all samples have in
common at a place is no feature of any of them. Some samples are held out. Samples that belong
together are held out together.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..cache.reading import Run
from ..errors import AnalysisError
from ..measures.groups import groups_of
from .plan import HELD_OUT, DictionaryPlan, token_shape

FEWEST_TRIED = 5
"""The least number of held-out samples for edits and correlations."""

CHUNK = 2**24
"""How many numbers are shuffled together: 64 MiB."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The mean and standard deviation over the training samples.

    Both are (steps, channels, places) float32. A deviation of 0 is kept as 0.
    """

    mean: np.ndarray
    sigma: np.ndarray

    def scaled(self, block: np.ndarray) -> np.ndarray:
        """Scales a shard's block (steps, n, d).

        The result is (steps, n, channels, places) in units of σ. Values that do not vary become 0.
        """
        steps, n, _ = block.shape
        z = block.reshape(steps, n, *self.mean.shape[1:]) - self.mean[:, None]
        sigma = np.where(self.sigma > 0, self.sigma, np.inf)
        return z / sigma[:, None]


class Tokens:
    """The tokens of a run's site, divided by a plan.

    Args:
        run: The run.
        plan: A plan made for the run by :func:`~hcache.sparse.plan.plan_of`.
    """

    def __init__(self, run: Run, plan: DictionaryPlan) -> None:
        self.run, self.plan = run, plan
        self.channels, self.places = token_shape(run, plan.site)
        self.held_out = held_out_rows(run, plan.seed)
        self.per_sample = run.spec.steps * self.places
        trained = int((~self.held_out).sum()) * self.per_sample
        self.share = min(1.0, plan.tokens / trained)
        """The share of the training tokens that one epoch sees."""
        self.epochs = max(1, round(plan.tokens / (trained * self.share)))

    def blocks(self, numbers: Sequence[int]) -> Iterator[tuple[slice, np.ndarray]]:
        """Reads some shards, one after the other.

        Yields:
            The shard's rows in the run, and its block (steps, n, d).

        Raises:
            AnalysisError: a value is not finite.
        """
        starts = np.cumsum([0, *(shard.stop - shard.start for shard in self.run.shards)])
        for number in numbers:
            alone = replace(self.run, shards=(self.run.shards[number],))
            (block,) = alone.step_blocks(self.plan.site)
            if not np.isfinite(block).all():
                step = int(np.argwhere(~np.isfinite(block))[0][0])
                raise AnalysisError(
                    f"{self.plan.site} of {self.run.name} is not finite at step {step} of the"
                    f" samples from {self.run.shards[number].start}: extract it again"
                )
            yield slice(int(starts[number]), int(starts[number + 1])), block

    def spread(self) -> Generator[float, None, Spread]:
        """Computes the mean and σ of the training samples.

        This takes one pass over the shards.
        """
        shape = (self.run.spec.steps, self.channels * self.places)
        count, mean, squares = 0, np.zeros(shape), np.zeros(shape)
        for done, (rows, block) in enumerate(self.blocks(range(len(self.run.shards)))):
            block = block[:, ~self.held_out[rows]].astype(np.float64)
            new = block.shape[1]
            if new:
                own = block.mean(1)
                apart = own - mean
                squares += np.square(block - own[:, None]).sum(1)
                squares += np.square(apart) * (count * new / (count + new))
                mean += apart * (new / (count + new))
                count += new
            yield (done + 1) / len(self.run.shards)
        sigma = np.sqrt(squares / count)
        whole = (self.run.spec.steps, self.channels, self.places)
        if not sigma.any():
            raise AnalysisError(f"{self.plan.site} of {self.run.name} is the same in all samples")
        return Spread(
            mean=mean.reshape(whole).astype(np.float32),
            sigma=sigma.reshape(whole).astype(np.float32),
        )

    def chunks(self) -> list[tuple[int, ...]]:
        """Lists the shards of every chunk of the training, in order.

        Every epoch goes through all shards once, in a new order.
        """
        sizes = [self._taken(int((~self.held_out[rows]).sum())) for rows in self._rows()]
        found: list[tuple[int, ...]] = []
        for epoch in range(self.epochs):
            order = np.random.default_rng([self.plan.seed, 1, epoch])
            chunk, size = [], 0
            for number in order.permutation(len(sizes)).tolist():
                if chunk and size + sizes[number] > CHUNK // self.channels:
                    found.append(tuple(chunk))
                    chunk, size = [], 0
                chunk.append(number)
                size += sizes[number]
            found.append(tuple(chunk))
        return found

    def chunk(self, numbers: Sequence[int], index: int, spread: Spread) -> np.ndarray:
        """Reads the training tokens of one chunk, shuffled: (n, channels) float32.

        ``index``: the chunk's place in the training, which seeds the order.
        """
        rng = np.random.default_rng([self.plan.seed, 2, index])
        found = []
        for rows, block in self.blocks(numbers):
            tokens = _as_tokens(spread.scaled(block[:, ~self.held_out[rows]]))
            if self.share < 1:
                count = self._taken(int((~self.held_out[rows]).sum()))
                tokens = tokens[np.sort(rng.choice(len(tokens), count, replace=False))]
            found.append(tokens)
        return rng.permutation(np.concatenate(found))

    def held_out_tokens(
        self, spread: Spread
    ) -> Generator[float, None, tuple[np.ndarray, np.ndarray]]:
        """Reads tokens of the held-out samples.

        If all of these tokens are too many for one chunk, each sample contributes the same number.

        Returns:
            The tokens (n, channels), and the row in the run of each one's sample (n,).
        """
        rng = np.random.default_rng([self.plan.seed, 3])
        most = max(1, CHUNK // self.channels // max(1, int(self.held_out.sum())))
        tokens, owners = [], []
        for done, (rows, block) in enumerate(self.blocks(range(len(self.run.shards)))):
            for row in np.flatnonzero(self.held_out[rows]):
                own = _as_tokens(spread.scaled(block[:, [row]]))
                if len(own) > most:
                    own = own[np.sort(rng.choice(len(own), most, replace=False))]
                tokens.append(own)
                owners.append(np.full(len(own), rows.start + row))
            yield (done + 1) / len(self.run.shards)
        return np.concatenate(tokens), np.concatenate(owners)

    def _rows(self) -> list[slice]:
        ends = np.cumsum([0, *(shard.stop - shard.start for shard in self.run.shards)]).tolist()
        return [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]

    def _taken(self, samples: int) -> int:
        """Returns how many tokens one epoch sees of a shard with this number of samples."""
        return round(samples * self.per_sample * self.share)


def shuffled(tokens: np.ndarray, seed: int) -> np.ndarray:
    """Shuffles every channel over tokens (n, channels) by itself.

    Each channel keeps its values, but the channels become independent of each other. A dictionary
    has nothing to find in such tokens.
    """
    return np.random.default_rng([seed, 4]).permuted(tokens, axis=0)


def too_few(run: Run, plan: DictionaryPlan, samples: int) -> str:
    """Says why edits cannot be tried on this number of held-out samples.

    The text is empty if they can be tried.
    """
    held_out = int(held_out_rows(run, plan.seed).sum())
    if min(held_out, samples) >= FEWEST_TRIED:
        return ""
    what = f"extract {round(FEWEST_TRIED / HELD_OUT)} samples or more"
    what = "use --samples" if held_out >= FEWEST_TRIED else what
    return (
        f"edits along sparse features are tried on {FEWEST_TRIED} held-out samples or more, got"
        f" {min(held_out, samples)}; {what}"
    )


def _as_tokens(z: np.ndarray) -> np.ndarray:
    """Reshapes (steps, n, channels, places) to (steps · n · places, channels)."""
    return np.moveaxis(z, 2, 3).reshape(-1, z.shape[2])


def held_out_rows(run: Run, seed: int) -> np.ndarray:
    """Chooses the rows of a run that are held out (n,) bool.

    A fifth of the samples is held out, or of the groups of samples that belong together.
    """
    groups = groups_of(run)
    groups = np.arange(len(run)) if groups is None else groups
    units = int(groups.max()) + 1
    chosen = np.random.default_rng([seed, 0]).permutation(units)[: max(2, round(HELD_OUT * units))]
    return np.isin(groups, chosen)
