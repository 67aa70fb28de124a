"""Runs without a model, with planted directions.

Their numbers have the shape and spread of h, and vary most in a few directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..cache.files import write_json
from ..cache.layout import RUN_JSON, SCHEMA
from ..cache.reading import Run, open_run
from ..cache.shards import ShardWriter
from ..specs import Anatomy, RunSpec

RANK = 16
"""The number of directions in which the samples vary, each by 0.8 of the one before."""


def empty_run(home: Path, spec: RunSpec, anatomy: Anatomy) -> Path:
    """Makes the folder of a run without shards, with its ``run.json``."""
    folder = home / "runs" / spec.name
    folder.mkdir(parents=True)
    write_json(
        folder / RUN_JSON,
        {
            "schema": SCHEMA,
            "name": spec.name,
            "spec": spec.to_json(),
            "anatomy": anatomy.to_json(),
            "timesteps": list(range(spec.steps))[::-1],
            "provenance": {},
        },
    )
    return folder


def planted_run(
    home: Path, samples: int, steps: int, shape: tuple[int, int, int], batch: int
) -> Run:
    """Writes a run of h alone, with planted directions.

    Every step has a mean, ``RANK`` directions with the samples' own coordinates, and noise.
    """
    spec = RunSpec(model="planted", samples=samples, steps=steps, batch=batch)
    anatomy = Anatomy(x=(3, shape[1], shape[2]), image=(shape[1], shape[2], 3), h=shape)
    folder = empty_run(home, spec, anatomy)
    directions = (
        np.random.default_rng(0).normal(size=(steps, RANK, int(np.prod(shape)))).astype(np.float32)
    )
    for start in range(0, samples, batch):
        stop = min(start + batch, samples)
        seeds = spec.seed + np.arange(start, stop)
        with ShardWriter(folder, start, seeds, np.arange(steps), spec.store_dtype) as writer:
            for step, values in enumerate(_planted(directions, start, stop)):
                writer.write_activation(step, "h", values.reshape(-1, *shape))
            writer.commit()
    return open_run(folder)


def _planted(directions: np.ndarray, start: int, stop: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng([1, start])
    coordinates = rng.normal(size=(stop - start, RANK)).astype(np.float32) * 0.8 ** np.arange(
        RANK, dtype=np.float32
    )
    for along in directions:
        yield (
            1
            + coordinates @ along
            + rng.standard_normal((stop - start, along.shape[1]), np.float32)
        )
