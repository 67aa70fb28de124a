"""The driver of all measures of edits: a model, a run and the reader of its pictures. It also makes
the random moves of the null.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from ..analysis.swaps import DISTANCES, Distance
from ..cache.layout import H
from ..cache.reading import Run
from ..directions.direction import Move, named_samples, random_direction, site_of, spread
from ..directions.pullback import PixelMove
from ..directions.supervised import difference_direction
from ..edits.batches import ChangedRows, MovedPreviews, Renders, RendersHere
from ..edits.declared import Declared
from ..edits.executor import Executor
from ..errors import AnalysisError, UsageError
from ..models.model import Model
from ..progress import in_turns, one_by_one
from ..recipes.window import Window

T = TypeVar("T")

NULLS = NOISE, SAMPLES = "noise", "samples"
BATCH = 32
Sets = tuple[int, int, tuple[int, ...]]
"""The sizes of two sets of samples, and the samples that are in neither."""

NULL_SEED = 1_000_000
"""The first seed of the random directions of the null, far from the seeds that users choose."""


@dataclass(frozen=True, kw_only=True)
class TrialGrid:
    """The grid that a direction is tried on.

    It has samples of the run, strengths that include 0, and a window of steps.
    """

    samples: tuple[int, ...]
    window: Window
    strengths: tuple[float, ...] = (-2.0, -1.0, 0.0, 1.0, 2.0)
    asymmetric: bool = True

    def __post_init__(self) -> None:
        if len(self.samples) < 2 or len(set(self.samples)) != len(self.samples):
            raise UsageError(
                f"a direction is tried on 2 different samples or more, got {self.samples}"
            )
        if (
            0 not in self.strengths
            or len(set(self.strengths)) != len(self.strengths)
            or len(self.strengths) < 2
        ):
            raise UsageError(
                f"strengths are all different, with 0 among them, got {self.strengths}"
            )

    def to_json(self) -> dict[str, Any]:
        """Returns plain data, as JSON has it."""
        return asdict(self)


def no_readings(pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Replaces a reader if there is none.

    Measures that need no attribute then still work.
    """
    return {}


class Driver:
    """Renders samples of a run under an edit and reads the pictures.

    Args:
        model: The run's model.
        run: The run.
        reader: A function from pictures to readings; :func:`no_readings` if there is none.
        reader_name: Its key, which is part of every result's parameters. Empty if there is none.
        batch: The batch size.
        encoder: Distances between pictures beside those of pixels, structure and colour, by name:
            those of an image encoder (:mod:`hcache.readers.likeness`) and of
            :mod:`hcache.similarities`.
        directed: Similarities that take the edited picture first and the unedited one second, by
            name. Edits are measured by them, swaps are not.
        renders: Computes the pictures. Default: this process.
    """

    def __init__(
        self,
        model: Model,
        run: Run,
        reader: Callable[[np.ndarray], dict[str, np.ndarray]],
        reader_name: str,
        batch: int = BATCH,
        encoder: Mapping[str, Distance] | None = None,
        directed: Mapping[str, Distance] | None = None,
        renders: Renders | None = None,
    ) -> None:
        self.model, self.run, self.reader, self.reader_name, self.batch = (
            model,
            run,
            reader,
            reader_name,
            batch,
        )
        self.distances = DISTANCES | dict(encoder or {})
        self.directed = dict(directed or {})
        self.renders = RendersHere(Executor(model, run)) if renders is None else renders
        self._randoms: dict[tuple[Any, ...], Move] = {}
        self.kept: dict[tuple[Any, ...], Any] = {}
        """Creates the driver. Values that several labels share are kept by their origin."""

    @property
    def beyond_pictures(self) -> dict[str, Any]:
        """Returns the parameters that name further distances.

        They go into results that use these distances. They are empty if none do.
        """
        more = sorted(self.distances.keys() - DISTANCES.keys())
        return {"distances": more} if more else {}

    @property
    def of_edits(self) -> dict[str, Any]:
        """Returns the parameters that name further distances and directed similarities.

        They go into results of edits.
        """
        found = self.beyond_pictures
        return {**found, "directed": sorted(self.directed)} if self.directed else found

    def images(
        self, samples: Sequence[int], change: Declared, first: int, asymmetric: bool
    ) -> Generator[float, None, np.ndarray]:
        """Returns pictures of samples under a change, from a step on.

        They are (n, height, width, 3) uint8. Row i of the change is that of ``samples[i]``. Samples
        may repeat.
        """
        batches = []
        for start in range(0, len(samples), self.batch):
            rows = slice(start, min(start + self.batch, len(samples)))
            batches.append(
                ChangedRows(
                    samples=tuple(samples[rows]),
                    change=change,
                    rows=rows,
                    first=first,
                    asymmetric=asymmetric,
                )
            )
        made = yield from self.renders.pictures(batches)
        return np.concatenate([each.pictures for each in made])

    def all_of(self, works: Sequence[Generator[float, None, T]]) -> Generator[float, None, list[T]]:
        """Runs several computations and returns their results in order.

        They take turns if the pictures of several can be computed at once. Otherwise they run one
        after the other.
        """
        return (yield from (in_turns if self.renders.at_once else one_by_one)(works))

    def unedited(self, samples: Sequence[int]) -> np.ndarray:
        """Returns the run's own pictures of some samples.

        They are (n, height, width, 3) uint8, the result of strength 0.
        """
        return self.run.images[[self.run.position(sample) for sample in samples]]

    @cached_property
    def spreads(self) -> dict[str, float]:
        """Returns the standard deviation of readings over the run's pictures.

        A reading that is the same for all pictures has none and is left out.
        """
        read = self.reader(self.run.images)
        return {name: float(np.std(each)) for name, each in read.items() if np.ptp(each) > 0}

    def randoms(
        self, count: int, kind: str = NOISE, like: Move | None = None, tried: Sequence[int] = ()
    ) -> list[Move]:
        """Returns random directions of unit length as the null.

        If ``like`` moves x_t, they have its norm.

        Args:
            count: The number of directions.
            kind: ``noise``, independent at every coordinate; or ``samples``, the difference between
                the means of two random sets of samples. The latter is the result of the same
                procedure for a shuffled label. The sets are as large as those that ``like`` was
                fitted on, or a quarter of the unseen samples each if it does not say. They contain
                no sample that directions are tried on. Such directions lie where h varies, like any
                fitted direction, and are harder to beat.
            like: The direction that they are a null for, at the same site. None means a direction
                in h.
            tried: Samples that directions are tried on.
        """
        if kind not in NULLS:
            raise UsageError(f"random directions are of {' or '.join(NULLS)}, got {kind!r}")
        seeds = range(NULL_SEED, NULL_SEED + count)
        sets = self._sizes(like, tried)
        if isinstance(like, PixelMove):
            return [self._random_in_x(seed, kind, like, sets) for seed in seeds]
        site = H if like is None else site_of(like)
        key = (kind, site, sets) if kind == SAMPLES else (kind, site)
        for seed in seeds:  # made once, because each takes a pass over all of h
            if (*key, seed) not in self._randoms:
                self._randoms[*key, seed] = self._random_at(site, seed, kind, sets)
        return [self._randoms[*key, seed] for seed in seeds]

    def _sizes(self, like: Move | None, tried: Sequence[int]) -> Sets:
        """Returns the sizes of the two sets of the null, and the samples that are in neither."""
        unseen = len(self.run) - len(set(tried))
        if unseen < 2:
            raise UsageError(
                f"all {len(self.run)} samples of {self.run.name} are tried; directions at random"
                " take 2 others or more, so try fewer"
            )
        made_by = like.made_by if like is not None else {}
        given = [
            len(named_samples(made_by, name)) or max(1, unseen // 4)
            for name in ("positives", "negatives")
        ]
        return min(given[0], unseen // 2), min(given[1], unseen // 2), tuple(sorted(tried))

    def _random_at(self, site: str, seed: int, kind: str, sets: Sets) -> Move:
        run = self.run
        if kind == NOISE:
            return random_direction(spread(run, site), seed, run.spec.model, run.timesteps, site)
        return difference_direction(run, *self._two_sets(seed, sets), site)

    def _two_sets(self, seed: int, sets: Sets) -> tuple[list[int], list[int]]:
        one, other, tried = sets
        unseen = self.run.sample_ids[~np.isin(self.run.sample_ids, tried)]
        chosen = np.random.default_rng(seed).permutation(unseen)[: one + other].tolist()
        return chosen[:one], chosen[one:]

    def random_sets(
        self, count: int, sizes: tuple[int, int], tried: Sequence[int]
    ) -> list[tuple[list[int], list[int]]]:
        """Returns pairs of random sets. :meth:`randoms` also uses the first ones.

        Raises:
            UsageError: there are not enough samples besides the tried ones.
        """
        if sum(sizes) > len(self.run) - len(set(tried)):
            raise UsageError(
                f"two random sets of {sizes[0]} and {sizes[1]} samples take {sum(sizes)} that are"
                f" not tried; {self.run.name} has {len(self.run) - len(set(tried))}"
            )
        sets = (*sizes, tuple(sorted(tried)))
        return [self._two_sets(NULL_SEED + k, sets) for k in range(count)]

    def preview_changes(
        self, delta: np.ndarray, samples: Sequence[int], step: int
    ) -> Generator[float, None, dict[str, np.ndarray]]:
        """Measures how moving h at one step changes predicted readings.

        The readings are those of the predicted x_0. A change is half the difference between both
        signs, in spreads of the run's readings: by reading (m, n). It yields the share that is
        done.

        Args:
            delta: Δh of m directions (m, c, h, w).
            samples: n samples of the run.
            step: The step at which h is moved.
        """
        works = [
            self._readings_of(MovedPreviews(samples=tuple(samples), step=step, delta=each))
            for each in delta
        ]
        made = yield from self.all_of(works)
        return {
            name: np.array([up[name] - down[name] for up, down in made], np.float64) / 2 / unit
            for name, unit in self.spreads.items()
        }

    def _readings_of(
        self, batch: MovedPreviews
    ) -> Generator[float, None, list[dict[str, np.ndarray]]]:
        """Returns the readings under +Δh and under -Δh."""
        (made,) = yield from self.renders.pictures([batch])
        return [self.reader(half) for half in np.split(made.pictures, 2)]

    def _random_in_x(self, seed: int, kind: str, like: PixelMove, sets: Sets) -> PixelMove:
        """Returns a direction in x_t with the step and the norm of another."""
        if kind == NOISE:
            delta = np.random.default_rng(seed).standard_normal(like.delta.shape)
        else:
            both = (
                [self.run.x(sample, like.index) for sample in chosen]
                for chosen in self._two_sets(seed, sets)
            )
            one, other = (np.mean(x, 0, dtype=np.float64) for x in both)
            delta = one - other
        norm = float(np.linalg.norm(delta))
        if not norm > 0:
            raise AnalysisError(
                "all samples have the same x_t here: there is no random direction among them"
            )
        scaled = (delta * (np.linalg.norm(like.delta) / norm)).astype(np.float32)
        return replace(like, delta=scaled, made_by={"method": "random", "seed": seed, "kind": kind})
