"""Batches of pictures as plain data, and where they are computed: in this process, or elsewhere."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..cache.provenance import library_versions
from ..progress import part
from .declared import Declared

if TYPE_CHECKING:
    from ..directions.direction import Move
    from ..models.model import Model
    from ..recipes.recipe import Recipe
    from .executor import Executor


class Batch(Protocol):
    """Pictures that are computed together."""

    def weight(self, steps: int) -> int:
        """Returns the size of the work, rows times steps.

        ``steps``: the number of steps of the run.
        """
        ...

    def pictures(self, executor: Executor) -> Generator[float, None, np.ndarray]:
        """Computes the pictures (n, height, width, 3) uint8.

        It yields the share that is done.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ChangedRows:
    """Samples under a declared change, from a step on.

    ``rows``: the part of the change's rows that these samples are.
    """

    samples: tuple[int, ...]
    change: Declared
    rows: slice
    first: int
    asymmetric: bool

    def weight(self, steps: int) -> int:
        """See :meth:`Batch.weight`."""
        return len(self.samples) * (steps - self.first)

    def pictures(self, executor: Executor) -> Generator[float, None, np.ndarray]:
        """See :meth:`Batch.pictures`."""
        change = self.change.bind(executor, self.rows)
        return executor.pictures(self.samples, change, self.first, asymmetric=self.asymmetric)


@dataclass(frozen=True, kw_only=True)
class RecipeRows:
    """Recipes that agree in the settings of the batch.

    There is one per row. They are rendered from step ``first`` on. ``moves``: directions by digest
    that need not be saved or fitted again.
    """

    recipes: tuple[Recipe, ...]
    first: int
    moves: Mapping[str, Move] = field(default_factory=dict)

    def weight(self, steps: int) -> int:
        """See :meth:`Batch.weight`."""
        return len(self.recipes) * (steps - self.first)

    def pictures(self, executor: Executor) -> Generator[float, None, np.ndarray]:
        """See :meth:`Batch.pictures`."""
        head = self.recipes[0]
        executor.moves.update(self.moves)
        return executor.pictures(
            [recipe.sample for recipe in self.recipes],
            executor.change([recipe.edits for recipe in self.recipes]),
            self.first,
            asymmetric=head.asymmetric,
            t_boost=head.t_boost,
            network=head.network_edits,
        )


@dataclass(frozen=True, kw_only=True)
class MovedPreviews:
    """Predictions of x_0 with h moved by Δh at one step.

    ``delta`` is Δh (c, h, w).
    """

    samples: tuple[int, ...]
    step: int
    delta: np.ndarray

    def weight(self, steps: int) -> int:
        """See :meth:`Batch.weight`. Only the decoder half runs, once for each sample."""
        return len(self.samples)

    def pictures(self, executor: Executor) -> Generator[float, None, np.ndarray]:
        """Returns the pictures under +Δh and those under -Δh.

        They are (2 n, height, width, 3) uint8, in this order.
        """
        start = executor.starts(self.samples, self.step)
        up = executor.moved_previews(start, self.delta)
        yield 0.5
        return np.concatenate([up, executor.moved_previews(start, -self.delta)])


@dataclass(frozen=True, kw_only=True)
class MadePictures:
    """The pictures of a batch, and what made them.

    ``versions`` names the versions, the device and the number of threads.
    """

    pictures: np.ndarray
    versions: Mapping[str, str]


class Renders(Protocol):
    """Computes batches of pictures of one run."""

    @property
    def at_once(self) -> bool:
        """Whether several batches are computed at the same time."""
        ...

    def pictures(self, batches: Sequence[Batch]) -> Generator[float, None, list[MadePictures]]:
        """Returns the pictures of batches in their order.

        It yields the share that is done.
        """
        ...


@dataclass(frozen=True)
class RendersHere:
    """Computes batches in this process, one after the other."""

    executor: Executor

    @property
    def at_once(self) -> bool:
        """See :attr:`Renders.at_once`."""
        return False

    def pictures(self, batches: Sequence[Batch]) -> Generator[float, None, list[MadePictures]]:
        """See :meth:`Renders.pictures`."""
        weights = [batch.weight(self.executor.run.spec.steps) for batch in batches]
        found, done, whole = [], 0, max(1, sum(weights))
        for batch, weight in zip(batches, weights, strict=True):
            made = yield from part(batch.pictures(self.executor), done / whole, weight / whole)
            done += weight
            found.append(MadePictures(pictures=made, versions=versions_of(self.executor.model)))
        return found


def versions_of(model: Model) -> dict[str, str]:
    """Returns the versions and the device on which a model computes."""
    import torch

    device = (
        torch.cuda.get_device_name(model.device)
        if model.device.type == "cuda"
        else str(model.device)
    )
    return {**library_versions(), "device": device, "threads": str(torch.get_num_threads())}
