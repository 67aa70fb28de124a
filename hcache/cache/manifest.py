"""The manifest: one line for every committed shard, appended after the shard has its final name.

Only shards in the manifest belong to the run. If a crash cut the last line short, the line is
dropped and its shard is computed again.
"""

from __future__ import annotations

import bisect
import json
import os
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, structs

from ..atomic import is_there, read_file, reason, sync_folder, write_bytes
from ..errors import CacheError
from ..schemas import checked, parse_json
from ..specs import BATCH
from .files import CHECKSUMS
from .layout import MANIFEST, shard_name

FIRST = 2
"""The number of samples in the first shard of a run. It is small, so that pages soon have something
to show, and just large enough for a swap. If ``batch`` is smaller than the default, the first shard
is like the others.
"""

MOST, MOST_IN_SHARD = 10**9, 10**6
"""The largest number of samples of an entry. Extractions write no larger ones."""


class Shard(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The samples ``start`` to ``stop`` (excluded) of a run in ``file``. ``checksum`` is
    ``kind:hexadecimal``.
    """

    start: Annotated[int, Meta(ge=0, le=MOST)]
    stop: Annotated[int, Meta(ge=1, le=MOST)]
    file: str
    bytes: Annotated[int, Meta(ge=0)]
    checksum: str

    def __post_init__(self) -> None:
        if self.checksum.partition(":")[0] not in CHECKSUMS:
            raise ValueError(
                f"expected a checksum of {', '.join(CHECKSUMS)}, got {self.checksum!r}"
            )
        if not self.start < self.stop <= self.start + MOST_IN_SHARD:
            raise ValueError(f"no shard of a run has samples {self.start} to {self.stop}")
        if self.file != shard_name(self.start):
            raise ValueError(
                f"expected {shard_name(self.start)}, named after its first sample, got"
                f" {self.file!r}"
            )


def read_manifest(run: Path, broken: list[str] | None = None) -> list[Shard]:
    """Returns the committed shards in the order of their samples.

    Args:
        run: The run's folder.
        broken: Receives the invalid lines, which are then skipped. Without it, the first invalid
            line is an error.
    """
    path = run / MANIFEST
    try:
        lines = read_file(path).split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CacheError(
            f"{path} could not be read: {reason(error)}; this is no sign of damage"
        ) from error
    torn = lines.pop()  # empty, unless the last line is incomplete
    del torn
    shards: list[Shard] = []
    for number, line in enumerate(lines, 1):
        try:
            shard = _parse(line)
        except (ValueError, RecursionError) as error:
            if broken is None:
                raise CacheError(
                    f"{path}, line {number} is not a shard's entry: {error}; `python -m hcache"
                    f" repair {run.name}` repairs it"
                ) from error
            broken.append(f"line {number} is not a shard's entry: {error}")
            continue
        shards.append(shard)
    return _latest(shards)


_SHARD = msgspec.json.Decoder(Shard)


def _parse(line: bytes) -> Shard:
    """Returns the shard of an entry. Entries of schema 1 have their checksum as ``sha256``.

    Raises:
        ValueError, RecursionError: it is not an entry.
    """
    try:
        return _SHARD.decode(line)
    except ValueError:  # of schema 1, or no entry
        entry = parse_json(line)
        if isinstance(entry, dict) and isinstance(entry.get("sha256"), str):
            entry["checksum"] = f"sha256:{entry.pop('sha256')}"
        return checked(entry, Shard)


def _entry(shard: Shard) -> dict[str, Any]:
    """Returns the fields of an entry for :func:`_parse`, by the entry's own schema."""
    entry = structs.asdict(shard)
    kind, _, digits = shard.checksum.partition(":")
    if kind == "sha256":
        entry["sha256"] = digits
        del entry["checksum"]
    return entry


def _latest(shards: list[Shard]) -> list[Shard]:
    """Returns the shards in the order of samples, without those that a later shard replaced."""
    if all(one.stop <= other.start for one, other in pairwise(shards)):
        return shards  # the usual case; a million samples are many shards
    kept: list[Shard] = []
    for shard in reversed(shards):
        at = bisect.bisect_left(kept, shard.start, key=lambda other: other.stop - 1)
        if at == len(kept) or kept[at].start >= shard.stop:
            kept.insert(at, shard)
    return kept


def append_to_manifest(run: Path, shard: Shard) -> None:
    """Adds a line to the manifest.

    The incomplete rest of a line that a crash may have left is removed first.
    """
    path = run / MANIFEST
    is_new = not is_there(path)
    line = json.dumps(_entry(shard)).encode() + b"\n"
    with path.open(
        "ab+", buffering=0
    ) as file:  # a buffer would write its rest again when it is closed
        file.seek(0)
        complete = file.read().rfind(b"\n") + 1
        file.truncate(complete)
        try:
            while line:
                line = line[file.write(line) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(complete)
            raise
    if is_new:
        sync_folder(run)


def rewrite_manifest(run: Path, shards: Iterable[Shard]) -> None:
    """Replaces the manifest by one with only these shards, atomically."""
    write_bytes(
        run / MANIFEST, b"".join(json.dumps(_entry(shard)).encode() + b"\n" for shard in shards)
    )


def shard_ranges(samples: int, batch: int, shards: Iterable[Shard] = ()) -> list[tuple[int, int]]:
    """Returns the shards that an extraction must still compute.

    They cover the missing ones of ``samples``. The first shard is small, as ``FIRST`` says.
    """
    return missing_ranges(shards, samples, batch, FIRST if batch >= BATCH else 0)


def missing_ranges(
    shards: Iterable[Shard], samples: int, batch: int, first: int = 0
) -> list[tuple[int, int]]:
    """Returns the ranges of samples that no committed shard covers.

    Each range has at most ``batch`` of the ``samples``. With ``first``, the first ``batch`` samples
    are split into two ranges, and the first of these has this size.
    """
    ranges, at = [], 0
    ends = [(shard.start, shard.stop) for shard in shards] + [(samples, samples)]
    for start, stop in ends:
        while at < min(start, samples):
            end = min(
                [at + batch, start, samples, *[cut for cut in (first, batch) if first and at < cut]]
            )
            ranges.append((at, end))
            at = end
        at = max(at, stop)
    return ranges
