"""Verifies a run: its files, checksums, completeness and values."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import free_name, is_there, put_in_place, reason
from ..errors import CacheError, DamagedError
from ..foreign import is_foreign
from ..schemas import checked
from .files import has_checksum, read_json, write_json
from .hdf5 import Malformed, is_surroundings, opened, structure_of
from .index import index_problem, seeds_of_index
from .label_records import record_path
from .layout import (
    DIRECTIONS,
    INDEX,
    LABELS,
    MANIFEST,
    SHARDS,
    VERIFY_JSON,
    is_shard_name,
    second_copies,
)
from .manifest import Shard, missing_ranges, read_manifest, rewrite_manifest
from .reading import Run, open_run
from .shard_files import ShardFile


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault of a file.

    ``start`` to ``stop`` (excluded) are the samples of the file, if it is a shard. ``by_hand``:
    somebody may have changed the file on purpose, so repair does not touch it.
    """

    file: str
    start: int
    stop: int
    problem: str
    by_hand: bool = False


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The difference of a site that was computed again.

    It has the largest difference from the stored values, and the largest that rounding can explain.
    """

    largest: float
    tolerance: float

    @property
    def fine(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.largest <= self.tolerance


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of a verification.

    ``faults``: proved damage. ``unread``: files that could not be read, and why; they are not known
    to be damaged. ``missing``: ranges of samples that no shard holds. ``passed_over``: second
    copies of files by sync clients, which are not part of the run.
    """

    run: str
    when: str
    shards: int
    samples: int
    of: int
    faults: tuple[Fault, ...] = ()
    missing: tuple[tuple[int, int], ...] = ()
    rerun: Mapping[str, Difference] = field(default_factory=dict)
    unread: tuple[Fault, ...] = ()
    passed_over: tuple[str, ...] = ()

    @property
    def damaged(self) -> bool:
        """Whether damage is proved, or computed values differ."""
        return bool(self.faults) or not all(difference.fine for difference in self.rerun.values())

    @property
    def fine(self) -> bool:
        """Whether everything could be read and nothing is wrong. An unfinished run may still be
        fine.
        """
        return not self.damaged and not self.unread

    @property
    def complete(self) -> bool:
        """Whether no sample is missing."""
        return not self.missing

    @property
    def exit_code(self) -> int:
        """The exit code of the result.

        It is 3 if damage is proved, 1 if something could not be read, and 0 if everything is
        intact.
        """
        if self.damaged:
            return DamagedError.exit_code
        return 0 if self.fine else CacheError.exit_code

    def to_json(self) -> dict[str, Any]:
        """Returns plain data, as JSON has it."""
        return {**asdict(self), "fine": self.fine, "complete": self.complete}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """Returns the report from the data of ``to_json``.

        Raises:
            ValueError: the data are not a report.
        """
        return checked(data, cls)

    def in_words(self) -> str:
        """Returns one line that begins with the verdict."""
        parts = []
        for fault in self.faults:
            parts.append(f"{fault.file}{_samples_of(fault)}: {fault.problem}")
        parts += [
            f"{fault.file}{_samples_of(fault)} could not be read: {fault.problem}"
            for fault in self.unread
        ]
        parts += [
            f"{site} computed again differs by {d.largest:.2g}, more than {d.tolerance:.2g}"
            for site, d in self.rerun.items()
            if not d.fine
        ]
        copies = _copies_of(self)
        if parts:
            return "; ".join(parts) + copies
        again = f", {len(self.rerun)} sites computed again and equal" if self.rerun else ""
        left = (
            ""
            if self.complete
            else f"; {self.of - self.samples} of {self.of} samples are not extracted yet"
        )
        return f"{self.shards} shards, {self.samples} samples: all whole{again}{left}{copies}"


def _copies_of(report: Report) -> str:
    """Returns the report's words on second copies, or nothing if there are none."""
    count = len(report.passed_over)
    names = ", ".join([*report.passed_over[:3], *(["..."] if count > 3 else [])])
    what = "is 1 second copy of a file" if count == 1 else f"are {count} second copies of files"
    return f"; passed over {what} that a sync client made: {names}" if count else ""


def _samples_of(fault: Fault) -> str:
    return f" (samples {fault.start} to {fault.stop - 1})" if fault.stop else ""


def verify(folder: Path) -> Generator[float, None, Report]:
    """Checks every committed shard of a run.

    It yields the share that is done. It returns the report and also saves it.
    """
    broken: list[str] = []
    run = open_run(folder, broken=broken)
    found = _Found()
    for problem in broken:
        found.faults.append(Fault(file=MANIFEST, start=0, stop=0, problem=problem))
    for done, shard in enumerate(run.shards, 1):
        found.look(
            shard.file, lambda shard=shard: _check_shard(run, shard), shard.start, shard.stop
        )
        yield done / len(run.shards)
    found.look(MANIFEST, lambda: _check_nothing_lost(run))
    found.look(INDEX, lambda: _check_index(run))
    found.look_at_labels(run)
    for path in sorted((folder / DIRECTIONS).glob("*.h5")):
        if not is_foreign(path.name):
            found.look(f"{DIRECTIONS}/{path.name}", lambda path=path: _check_plain(path))
    report = Report(
        run=run.name,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        shards=len(run.shards),
        samples=len(run),
        of=run.spec.samples,
        faults=tuple(found.faults),
        unread=tuple(found.unread),
        passed_over=tuple(second_copies(folder)),
        missing=tuple(missing_ranges(run.shards, run.spec.samples, run.spec.samples)),
    )
    keep_report(folder, report)
    return report


def keep_report(folder: Path, report: Report) -> None:
    """Writes the report beside the run, where pages find it.

    If nothing can be written, the report is not saved. An older report is deleted, because its
    verdict may differ.
    """
    try:
        write_json(folder / VERIFY_JSON, report.to_json())
    except OSError:
        with suppress(OSError):
            (folder / VERIFY_JSON).unlink()


def last_report(folder: Path) -> Report | None:
    """Returns the report of the last verification.

    It is None if there was none, or if it cannot be read.
    """
    try:
        report = Report.from_json(read_json(folder / VERIFY_JSON))
        datetime.fromisoformat(report.when)
    except (OSError, ValueError, RecursionError):
        return None
    return report


def set_aside(folder: Path, report: Report) -> list[Path]:
    """Moves the files that failed verification out of the run.

    Only the holder of the run's lock may call this. It renames shards, so that the next extraction
    makes them again, and damaged label sets and directions. It deletes the index. Files that
    somebody may have changed on purpose stay.
    """
    bad = {fault.file for fault in report.faults if not fault.by_hand}
    tables = [Path(file) for file in bad if file.startswith(LABELS) and file.endswith(".csv")]
    bad.update(str(record_path(table)) for table in tables)
    if not bad:
        return []
    (folder / INDEX).unlink(missing_ok=True)  # first: it must not hold what the manifest does not
    rewrite_manifest(
        folder, [shard for shard in read_manifest(folder, []) if shard.file not in bad]
    )
    places = [
        folder / name if "/" in name else folder / SHARDS / name
        for name in sorted(bad - {INDEX, MANIFEST})
    ]
    return [_put_aside(path) for path in places if os.path.lexists(path)]


def _put_aside(path: Path) -> Path:
    """Renames a file to a new name."""
    aside = free_name(path)
    put_in_place(path, aside)
    return aside


class _Found:
    """Collects the faults of a run's files, and those that could not be read."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.unread: list[Fault] = []

    def look(self, file: str, check: Callable[[], None], start: int = 0, stop: int = 0) -> None:
        """Runs a check and records its errors."""
        try:
            check()
        except FileNotFoundError:
            self._add(self.faults, file, start, stop, "the file is gone")
        except (Malformed, LookupError, TypeError, ValueError, CacheError) as error:
            self._add(self.faults, file, start, stop, str(error))
        except MemoryError:
            self._add(self.unread, file, start, stop, "memory does not suffice")
        except OSError as error:
            self._add(
                self.unread if is_surroundings(error) else self.faults,
                file,
                start,
                stop,
                reason(error),
            )

    def look_at_labels(self, run: Run) -> None:
        """Records the faults of the label sets in files."""
        files = run.label_files
        for name, problem in files.damaged.items():
            self._add(self.faults, f"{LABELS}/{name}.csv", 0, 0, problem)
        for name, problem in files.changed.items():
            file = f"{LABELS}/{name}.csv"
            self.faults.append(Fault(file=file, start=0, stop=0, problem=problem, by_hand=True))
        for name, problem in files.records.items():
            file = f"{LABELS}/{name}.json"
            self._add(self.faults, file, 0, 0, f"it is no record of a label set: {problem}")
        for name, problem in files.unread.items():
            self._add(self.unread, f"{LABELS}/{name}.csv", 0, 0, problem)

    def _add(self, where: list[Fault], file: str, start: int, stop: int, problem: str) -> None:
        where.append(Fault(file=file, start=start, stop=stop, problem=problem))


def _check_shard(run: Run, shard: Shard) -> None:
    """Makes sure that a shard is the committed one, belongs to this run, and has finite values.

    Raises:
        Malformed: it fails a check.
        OSError: it could not be read.
    """
    path = run.shard_path(shard)
    with opened(path) as descriptor:
        size = os.fstat(descriptor).st_size
    if size != shard.bytes:
        raise Malformed(f"the file has {size} bytes; {shard.bytes} were committed")
    if not has_checksum(path, shard.checksum):
        raise Malformed("the contents changed since they were committed (another checksum)")
    with run.open_shard(shard) as file:
        strange = [found for name in file.places if (found := _not_finite(file, name, shard.start))]
    if strange:
        raise Malformed(f"not finite: {'; '.join(strange)}")


def _not_finite(file: ShardFile, name: str, start: int) -> str:
    """Describes where an array first has NaN or an infinity, and in how many samples; "" if
    nowhere.

    Args:
        file: The shard.
        name: The name of the array, which is read step by step. Labels may be missing, which is
            NaN.
        start: The number of the shard's first sample.
    """
    place = file.places[name]
    if "/" in name or place.dtype.kind != "f" or not place.shape:
        return ""
    first, samples = "", set[int]()
    for step in range(place.shape[0]):
        fine = np.isfinite(file.step(name, step))
        if fine.all():
            continue
        if not fine.ndim:
            return f"{name} of step {step}"
        bad = (start + np.flatnonzero(~fine.reshape(len(fine), -1).all(1))).tolist()
        first = first or f"{name} of sample {bad[0]} at step {step}"
        samples.update(bad)
    more = f" (and of {len(samples) - 1} other samples)" if len(samples) > 1 else ""
    return first + more


def _check_nothing_lost(run: Run) -> None:
    """Makes sure that the manifest has not lost whole lines.

    The index is written after the manifest, so it contains no sample that is not in the manifest.
    One file without a line may be a shard whose writer was killed before it wrote the line. Two
    such files are a fault.

    Raises:
        Malformed: it has lost lines.
        OSError: a file could not be read.
    """
    named = {shard.file for shard in run.shards}
    lying = {path.name for path in (run.folder / SHARDS).glob("*.h5")} - named
    lying = {name for name in lying if is_shard_name(name)}
    entered = {run.seed(int(sample)) for sample in run.sample_ids}
    try:
        lost = {int(seed) for seed in seeds_of_index(run.folder)} - entered
    except (FileNotFoundError, Malformed):
        lost = set()
    if lost:
        raise Malformed(f"lines are gone: the index has {len(lost)} samples that no line has")
    if len(lying) > 1:
        raise Malformed(f"lines are gone: no line has the shards {', '.join(sorted(lying)[:5])}")


def _check_index(run: Run) -> None:
    """Makes sure that the index refers only to this run's shards. A missing index is not a fault.

    Raises:
        Malformed: the index was not made by hcache.
        OSError: it cannot be read.
    """
    if is_there(run.folder / INDEX):
        if problem := index_problem(run.folder, run.shards):
            raise Malformed(problem)
        seeds_of_index(run.folder)


def _check_plain(path: Path) -> None:
    """Makes sure that hcache writes files of this kind. Errors are those of the function above."""
    with opened(path) as descriptor:
        structure_of(descriptor)
