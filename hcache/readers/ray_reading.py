"""Reads the pictures of a run on a Ray cluster, some samples in each call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..cache.reading import Run, open_run
from ..cache.seen import Token, disagreement, look_for, token_in, versions
from ..errors import CacheError
from ..ray_cluster import mapped
from .saved import open_saved

Found = tuple[list[int], Mapping[str, np.ndarray]]
"""Samples, and the readings of their pictures: attribute -> values (n,)."""


@dataclass(frozen=True, kw_only=True)
class ReadPart:
    """Samples of a run for a reader.

    The reader is saved in the run's home.
    """

    folder: Path
    reader: str
    samples: tuple[int, ...]
    token: Token
    versions: Mapping[str, str] = field(default_factory=versions)


def read_on(address: str, run: Run, name: str, samples: list[int], batch: int) -> Iterator[Found]:
    """Yields readings of samples, computed on a cluster.

    Parts arrive in the order in which they finish.

    Raises:
        CacheError: a machine does not see the run, or has other versions.
    """
    with token_in(run.folder) as token:
        parts = [
            ReadPart(
                folder=run.folder,
                reader=name,
                samples=tuple(samples[start : start + batch]),
                token=token,
            )
            for start in range(0, len(samples), batch)
        ]
        yield from mapped(address, read_part, parts)


def read_part(part: ReadPart) -> Found:
    """Reads one part, on any machine."""
    import platform

    if problem := _problem(part):
        raise CacheError(f"{platform.node()} {problem}")
    run = open_run(part.folder)
    pictures = np.stack([run.picture(sample) for sample in part.samples])
    return list(part.samples), dict(_reader(str(run.home), part.reader)(pictures))


def _problem(part: ReadPart) -> str:
    seen = look_for(part.token)
    return disagreement(part.folder, seen, versions(), part.versions)


@lru_cache(maxsize=1)
def _reader(home: str, name: str) -> Any:
    """Returns a reader, kept for further calls in this process."""
    return open_saved(Path(home), name, "auto")
