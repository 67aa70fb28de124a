"""Reads the pictures of a run on a Ray cluster, some samples in each call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..cache.reading import Run, open_run
from ..cache.seen import Shared, token_in
from ..ray_pool import pool
from .saved import open_saved

Found = tuple[list[int], Mapping[str, np.ndarray]]
"""Samples, and the readings of their pictures: attribute -> values (n,)."""


@dataclass(frozen=True, kw_only=True)
class ReadingWorker:
    """Opens a reader of a run's home on a machine."""

    shared: Shared
    reader: str

    def __call__(self, gpu: bool, cpus: int) -> Callable[[list[int]], Found]:
        """Returns the function that reads samples.

        Raises:
            CacheError: this machine does not see the run, or has other versions.
        """
        self.shared.check()
        run = open_run(self.shared.folder)
        reader = open_saved(run.home, self.reader, "cuda" if gpu else "cpu")

        def read(samples: list[int]) -> Found:
            return samples, dict(reader(np.stack([run.picture(sample) for sample in samples])))

        return read


def read_on(address: str, run: Run, name: str, samples: list[int], batch: int) -> Iterator[Found]:
    """Yields readings of samples, computed on a cluster.

    Parts arrive in the order in which they finish.

    Raises:
        CacheError: a machine does not see the run, or has other versions.
    """
    with token_in(run.folder) as token:
        make = ReadingWorker(shared=Shared(folder=run.folder, token=token), reader=name)
        with pool(address, make) as workers:
            starts = range(0, len(samples), batch)
            yield from workers.as_done([samples[start : start + batch] for start in starts])
