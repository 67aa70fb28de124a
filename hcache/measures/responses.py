"""What moving h does: responses over a grid of strengths, and the measures that are made of them.

Every picture that a measure needs is rendered once: the readings of a direction's responses are themselves a stored
result, and linearity, controllability and leakage are made of the same ones. Random directions of the same norm go
through the same loop as the direction that they are the null of.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ..analysis.controllability import controllability
from ..analysis.leakage import leakage
from ..analysis.linearity import additivity_contrast, linearity
from ..analysis.similarity import pixel_distance
from ..cache.reading import Run
from ..directions.direction import Move, digest_of, random_direction, spread
from ..directions.supervised import difference_direction
from ..edits.cached import cached_x
from ..edits.shift import Shift
from ..edits.window import Window
from ..errors import UsageError
from ..features import Features
from ..models.model import Model
from ..progress import part
from ..readers import Reader
from ..sampling.loop import Edit, Moment, denoise
from .stored import Measuring, measured

RESPONSES, DIRECTION, LEAKAGE, ADDITIVITY = "responses", "direction", "leakage", "additivity"
CONTROLLABILITY = "controllability"
NULLS = NOISE, SAMPLES = "noise", "samples"
BATCH = 32
NULL_SEED = 1_000_000
"""Random directions of the null begin here, far from the seeds that one chooses by hand."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What a direction is tried on: samples of the run, strengths with 0 among them, a window of steps."""

    samples: tuple[int, ...]
    window: Window
    strengths: tuple[float, ...] = (-2.0, -1.0, 0.0, 1.0, 2.0)
    asymmetric: bool = True

    def __post_init__(self) -> None:
        if len(self.samples) < 2 or len(set(self.samples)) != len(self.samples):
            raise UsageError(f"a direction is tried on 2 different samples or more, got {self.samples}")
        if 0 not in self.strengths or len(set(self.strengths)) != len(self.strengths) or len(self.strengths) < 2:
            raise UsageError(f"strengths are all different, with 0 among them, got {self.strengths}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Driver:
    """A model, its run, and the reader of its pictures: what all measures of edits drive."""

    def __init__(self, model: Model, run: Run, reader: Reader, reader_name: str, batch: int = BATCH) -> None:
        self.model, self.run, self.reader, self.reader_name, self.batch = model, run, reader, reader_name, batch

    def images(
        self, samples: Sequence[int], edit: Callable[[slice], Edit | None], first: int, asymmetric: bool
    ) -> Generator[float, None, np.ndarray]:
        """Samples (repeats allowed) taken up at step ``first`` under ``edit(rows)``: (n, height, width, 3) uint8."""
        spec, parts = self.run.spec, []
        for start in range(0, len(samples), self.batch):
            rows = slice(start, min(start + self.batch, len(samples)))
            chosen = list(samples[rows])
            x = torch.cat([cached_x(self.model, self.run, sample, first) for sample in chosen])
            seeds = [self.run.seed(sample) for sample in chosen]
            for step in denoise(
                self.model, seeds, spec.steps, spec.eta, edit(rows), conditioning=spec.conditioning.rows(chosen),
                asymmetric=asymmetric, x_t=x, start=first,
            ):  # fmt: skip
                x = step.x_next
                yield (start + len(chosen) * (step.index + 1 - first) / (spec.steps - first)) / len(samples)
            parts.append(self.model.to_images(x).numpy())
        return np.concatenate(parts)

    def unedited(self, samples: Sequence[int]) -> np.ndarray:
        """The run's own pictures of some samples (n, height, width, 3) uint8: what strength 0 gives."""
        return self.run.images[[self.run.position(sample) for sample in samples]]

    def spreads(self) -> dict[str, float]:
        """The standard deviation of every reading over the run's own pictures."""
        return {name: float(np.std(values)) for name, values in self.reader(self.run.images).items()}

    def randoms(self, count: int, kind: str = NOISE) -> list[Move]:
        """The null: as many random directions of unit length.

        Args:
            count: How many.
            kind: ``noise``, independent at every coordinate of h; or ``samples``, the difference between the means of
                two sets of samples chosen at random, a quarter of the run each. The latter lie where h varies, as any
                fitted direction does, and are the harder to beat.
        """
        if kind not in NULLS:
            raise UsageError(f"random directions are of {' or '.join(NULLS)}, got {kind!r}")
        if kind == NOISE:
            sigma = spread(self.run)
            return [
                random_direction(sigma, NULL_SEED + i, self.run.spec.model, self.run.timesteps) for i in range(count)
            ]
        size, found = max(1, len(self.run) // 4), []
        for i in range(count):
            chosen = np.random.default_rng(NULL_SEED + i).permutation(self.run.sample_ids)[: 2 * size].tolist()
            found.append(difference_direction(self.run, chosen[:size], chosen[size:]))
        return found


def responses(driver: Driver, move: Move, grid: Grid) -> Measuring:
    """Readings under a direction: ``{"readings": {name: (n, strengths)}, "pixels": (n, strengths)}``.

    ``pixels``: the distance from the same sample at strength 0, as a share of the range. Strength 0 is not rendered
    again: it is the run's own picture.
    """
    n, zero = len(grid.samples), grid.strengths.index(0)
    moving = [strength for strength in grid.strengths if strength]

    def compute() -> Generator[float, None, dict[str, Any]]:
        samples, strengths = np.repeat(grid.samples, len(moving)).tolist(), moving * n

        def edit(rows: slice) -> Edit:
            return Shift(move, strengths[rows], grid.window, driver.model)

        moved = yield from driver.images(samples, edit, grid.window.first, grid.asymmetric)
        before = driver.unedited(grid.samples)
        distance = pixel_distance(moved, np.repeat(before, len(moving), axis=0)).reshape(n, -1)
        own, after = driver.reader(before), driver.reader(moved)
        readings = {name: np.insert(after[name].reshape(n, -1), zero, own[name], axis=1) for name in own}
        return {"readings": readings, "pixels": np.insert(distance, zero, 0, axis=1)}

    parameters = {"move": digest_of(move), "grid": grid.to_json(), "reader": driver.reader_name}
    return (yield from measured(driver.run, RESPONSES, parameters, compute))


def direction(
    driver: Driver, move: Move, grid: Grid, *, name: str = "", nulls: int = 6, null: str = NOISE, repeats: int = 2000
) -> Measuring:
    """Linearity and controllability of a direction, for every reading: ``{reading: {"linearity", "controllability"}}``.

    Controllability is of the slope: the change per unit of strength.
    """
    parameters = {"name": name, "move": digest_of(move), "grid": grid.to_json(), "reader": driver.reader_name,
                  "nulls": nulls, "null": null, "repeats": repeats}  # fmt: skip

    def compute() -> Generator[float, None, dict[str, Any]]:
        tables = yield from _tables(driver, [move, *driver.randoms(nulls, null)], grid)
        spreads, gamma = driver.spreads(), np.array(grid.strengths)
        found: dict[str, Any] = {}
        for reading, values in tables.items():
            straight = linearity(values[0], grid.strengths, values[1:], repeats=repeats)
            change = values - values[:, :, [grid.strengths.index(0)]]
            slopes = change @ gamma / np.square(gamma).sum()
            control = controllability(slopes[0], slopes[1:], spreads[reading], repeats=repeats)
            found[reading] = {
                "linearity": straight,
                "verdict": straight.verdict,
                "controllability": control,
                "curve": values[0].mean(0),
                "null_curves": values[1:].mean(1),
            }
        return found

    return (yield from measured(driver.run, DIRECTION, parameters, compute))


def controllability_over(
    driver: Driver,
    move: Move,
    windows: Sequence[Window],
    samples: Sequence[int],
    *,
    name: str = "",
    strength: float = 2.0,
    nulls: int = 6,
    null: str = NOISE,
    asymmetric: bool = True,
    repeats: int = 2000,
) -> Measuring:
    """Controllability by window of steps: ``[{"window", "readings": {name: Controllability}}]``.

    The change per unit of strength is half the difference of both signs, over the strength.
    """
    grids = [
        Grid(samples=tuple(samples), window=window, strengths=(-strength, 0.0, strength), asymmetric=asymmetric)
        for window in windows
    ]
    parameters = {"name": name, "move": digest_of(move), "grids": [grid.to_json() for grid in grids],
                  "reader": driver.reader_name, "nulls": nulls, "null": null, "repeats": repeats}  # fmt: skip

    def compute() -> Generator[float, None, list[dict[str, Any]]]:
        moves, spreads, rows = [move, *driver.randoms(nulls, null)], driver.spreads(), []
        for done, grid in enumerate(grids):
            tables = yield from part(_tables(driver, moves, grid), done / len(grids), 1 / len(grids))
            found = {}
            for reading, values in tables.items():
                change = (values[:, :, 2] - values[:, :, 0]) / (2 * strength)
                found[reading] = controllability(change[0], change[1:], spreads[reading], repeats=repeats)
            rows.append({"window": asdict(grid.window), "readings": found})
        return rows

    return (yield from measured(driver.run, CONTROLLABILITY, parameters, compute))


def leakage_of(driver: Driver, moves: Mapping[str, Move], grid: Grid, *, repeats: int = 2000) -> Measuring:
    """The leakage matrix of directions, each meant for the reading that it is named after, at the largest strength."""
    parameters = {"moves": {name: digest_of(move) for name, move in moves.items()}, "grid": grid.to_json(),
                  "reader": driver.reader_name, "repeats": repeats}  # fmt: skip

    def compute() -> Generator[float, None, Any]:
        tables = yield from _tables(driver, list(moves.values()), grid)
        spreads, most = driver.spreads(), int(np.argmax(grid.strengths))
        changes = np.stack([v[:, :, most] - v[:, :, grid.strengths.index(0)] for v in tables.values()], 2)
        found = leakage(changes, [spreads[name] for name in tables], list(moves), list(tables), repeats=repeats)
        return {"leakage": found, "leaks": found.leaks, "chance": found.chance}

    return (yield from measured(driver.run, LEAKAGE, parameters, compute))


def additivity_of(driver: Driver, a: Move, b: Move, grid: Grid, *, repeats: int = 2000) -> Measuring:
    """Additivity of two directions at the largest strength, against a pair of random ones.

    ``{"readings": Contrast, "pixels": Contrast}``: of all readings together, each in its spread, and of the picture.
    """
    parameters = {"moves": [digest_of(a), digest_of(b)], "grid": grid.to_json(), "reader": driver.reader_name,
                  "repeats": repeats}  # fmt: skip

    def compute() -> Generator[float, None, dict[str, Any]]:
        spreads, results = driver.spreads(), []
        for done, pair in enumerate(((a, b), tuple(driver.randoms(2)))):
            images = yield from part(_four(driver, *pair, grid), done / 2, 0.5)
            readings = [driver.reader(each) for each in images]
            scaled = [np.stack([part[name] / spreads[name] for name in spreads], 1) for part in readings]
            results.append((scaled, [each.reshape(len(each), -1).astype(np.float32) / 255 for each in images]))
        (read, pixels), (null_read, null_pixels) = results
        return {
            "readings": additivity_contrast(read, null_read, repeats=repeats),
            "pixels": additivity_contrast(pixels, null_pixels, repeats=repeats),
        }

    return (yield from measured(driver.run, ADDITIVITY, parameters, compute))


def _four(driver: Driver, a: Move, b: Move, grid: Grid) -> Generator[float, None, list[np.ndarray]]:
    """Pictures of f(0), f(a), f(b) and f(a + b)."""
    strength, images = max(grid.strengths), [driver.unedited(grid.samples)]
    for done, (of_a, of_b) in enumerate(((1, 0), (0, 1), (1, 1))):

        def edit(rows: slice, of_a: int = of_a, of_b: int = of_b) -> Edit:
            n = len(grid.samples[rows])
            shifts = [Shift(m, [strength * on] * n, grid.window, driver.model) for m, on in ((a, of_a), (b, of_b))]

            def both(features: Features, moment: Moment) -> Features:
                return shifts[1](shifts[0](features, moment), moment)

            return both

        work = driver.images(grid.samples, edit, grid.window.first, grid.asymmetric)
        images.append((yield from part(work, done / 3, 1 / 3)))
    return images


def _tables(driver: Driver, moves: Sequence[Move], grid: Grid) -> Generator[float, None, dict[str, np.ndarray]]:
    """Every reading's responses under some directions: (moves, n, strengths)."""
    results = []
    for done, move in enumerate(moves):
        record = yield from part(responses(driver, move, grid), done / len(moves), 1 / len(moves))
        results.append(record.result["readings"])
    return {name: np.array([result[name] for result in results], np.float64) for name in results[0]}
