"""Finished shards that nobody has taken into the run yet, each told of by a file beside it.

A worker that outlives whoever started it cannot hand its records back. It leaves them beside its
shards: ``00000008.h5.<host>-<process>.finished`` tells of the shard under the same name with
``.partial``. Who next holds the run's lock takes them into manifest and index. While it computes,
such a worker keeps a file ``.working`` fresh, so that nobody sweeps its shard away.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from ..atomic import PARTIAL, is_there, partial_path, read_file, write_bytes
from ..cache.hdf5 import Malformed
from ..cache.index import write_index
from ..cache.layout import FINISHED, SHARDS, WORKING
from ..cache.locks import run_lock
from ..cache.manifest import Shard
from ..cache.reading import Run, open_run
from ..cache.shard_files import open_shard
from ..cache.shards import Finished, commit_shard

FRESH = 600.0
"""The seconds since the last sign of a worker after which it counts as dead."""

_RECORD = msgspec.json.Decoder(Shard)


def leave_record(run: Path, finished: Finished) -> None:
    """Records a finished shard, for the next holder of the run's lock."""
    path = _beside(run / SHARDS / finished.partial, FINISHED)
    write_bytes(path, msgspec.json.encode(finished.shard))
    _beside(path, WORKING).unlink(missing_ok=True)


def mark_working(path: Path) -> None:
    """Refreshes the mark of a current shard."""
    with suppress(OSError):
        _beside(path, WORKING).touch()


def in_other_hands(run: Path, path: Path) -> bool:
    """Returns whether a temporary shard belongs to another worker.

    The shard is finished, or a living worker is computing it.
    """
    if is_there(_beside(path, FINISHED)):
        return True
    try:
        last = _beside(path, WORKING).stat().st_mtime
    except OSError:
        return False
    return _now_on(run) - last < FRESH


def is_taken(run: Path, start: int) -> bool:
    """Returns whether a worker has taken the shard from ``start`` on.

    The shard is finished, or a living worker is computing it.
    """
    found = (run / SHARDS).glob(f"{start:08d}.h5.*{PARTIAL}")
    return any(in_other_hands(run, path) for path in found)


def finished_in(run: Run) -> list[Finished]:
    """Lists the finished and complete shards of a run.

    They must belong to this run. Other shards are deleted, each with its record.
    """
    found = []
    for record in sorted((run.folder / SHARDS).glob(f"*{FINISHED}")):
        shard_file = _beside(record, PARTIAL)
        try:
            shard = _RECORD.decode(read_file(record))
            if shard_file.stat().st_size != shard.bytes:
                raise Malformed("it is of another size than its record says")
            with open_shard(shard_file, shard, run.spec, run.anatomy, {}):
                found.append(Finished(shard=shard, partial=shard_file.name))
        except (ValueError, Malformed, FileNotFoundError):
            forget(record)
            shard_file.unlink(missing_ok=True)
    return found


def take_finished(folder: Path, commit: Callable[[Finished], object]) -> int:
    """Adds finished shards to a run, and returns their number.

    Only the holder of its lock may call this.

    Args:
        folder: The folder of the run.
        commit: Renames a shard, and enters it into the manifest.
    """
    if not any((folder / SHARDS).glob(f"*{FINISHED}")):
        return 0
    run, count = open_run(folder), 0
    there = {shard.start for shard in run.shards}
    for finished in finished_in(run):
        path = folder / SHARDS / finished.partial
        if finished.shard.start in there:  # two workers computed it
            path.unlink(missing_ok=True)
        else:
            commit(finished)
            there.add(finished.shard.start)
            count += 1
        forget(path)
    return count


def commit_finished(folder: Path) -> int:
    """Adds finished shards to a run that nobody extracts.

    It holds the run's lock meanwhile. Returns the number of added shards.

    Raises:
        RunBusyError: another process extracts or repairs the run.
    """
    with run_lock(folder):
        count = take_finished(folder, partial(commit_shard, folder))
        if count:
            write_index(open_run(folder))
    return count


def forget(path: Path) -> None:
    """Deletes the records of a shard.

    ``path``: the shard, or one of its records.
    """
    for kind in (FINISHED, WORKING):
        _beside(path, kind).unlink(missing_ok=True)


def _beside(path: Path, kind: str) -> Path:
    """Returns the path with another last suffix."""
    return path.with_name(path.name.rpartition(".")[0] + kind)


def _now_on(run: Path) -> float:
    """Returns the time by the clock of the disk, which machines share."""
    probe = partial_path(run / "clock")
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY, 0o600))
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
