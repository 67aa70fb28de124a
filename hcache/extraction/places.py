"""Where ranges of samples are computed: one interface for this process, a pool, Ray and SLURM.

        the process that holds the run's lock        a worker, wherever it is
    hands out (start, stop)      ────────────►   computes the range and writes its shard
    tells of progress            ◄────────────   a step is done
    renames, manifest, index     ◄────────────   the shard is whole and flushed: a record of it

A worker writes its shard under a temporary name into the folder where the run lies, flushes it, and
hands back a :class:`~hcache.cache.shards.Finished` record with its checksum. Only the process that
holds the run's lock renames shards and writes the manifest and the index. The ranges are the same
everywhere, and a sample's noise is its own, so the arrays are the same too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..cache.shards import Finished
from ..specs import RunSpec
from .shard import Progress

Samples = tuple[int, int]
"""A range of samples: the first, and the one after the last. Each range becomes one shard."""


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """The parts of a run to compute.

    ``todo``: the ranges. ``folder``: the folder for their shards. ``provenance``: stored in every
    shard.
    """

    spec: RunSpec
    folder: Path
    todo: tuple[Samples, ...]
    provenance: dict[str, Any]


class Taking(Protocol):
    """Adds a finished shard to the run.

    ``done`` is the number of committed samples. Holding the lock ``whole`` guarantees a consistent
    run, even if another thread makes commits.
    """

    done: int
    whole: threading.Lock

    def __call__(self, finished: Finished) -> None: ...


class Place(Protocol):
    """A place where ranges are computed.

    ``device`` names the devices for the run's provenance.
    """

    @property
    def device(self) -> str:
        """The devices, as the provenance names them."""
        ...

    def compute(
        self,
        ranges: Ranges,
        commit: Taking,
        report: Callable[[Progress], None],
        stop: Callable[[], bool],
    ) -> None:
        """Computes all ranges.

        Args:
            ranges: The ranges to compute.
            commit: Called in the process that holds the lock, with every finished shard.
            report: Called whenever a step is done.
            stop: Called repeatedly. If it returns True, the work ends after the current steps.

        Raises:
            Interrupted: ``stop`` returned True. Committed shards are kept.
        """
        ...
