"""Proves a run, or finds what is wrong with it: files, checksums, completeness, values."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .files import has_checksum, write_json
from .layout import MANIFEST, SHARDS, VERIFY_JSON
from .manifest import Shard, missing_ranges, read_manifest, rewrite_manifest
from .reading import Run, open_run

SET_ASIDE = ".bad"
"""Appended to the name of a shard that did not pass. It is kept, for whoever wants to know what happened to it."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with the shard that holds samples ``start`` to ``stop`` (excluded)."""

    file: str
    start: int
    stop: int
    problem: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of a site, computed again: the largest difference from what is stored, and the largest that rounding explains."""

    largest: float
    tolerance: float

    @property
    def fine(self) -> bool:
        return self.largest <= self.tolerance


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a verification found. ``missing``: ranges of samples that no shard holds."""

    run: str
    when: str
    shards: int
    samples: int
    of: int
    faults: tuple[Fault, ...] = ()
    missing: tuple[tuple[int, int], ...] = ()
    rerun: Mapping[str, Difference] = field(default_factory=dict)

    @property
    def fine(self) -> bool:
        """No fault, and nothing that came out differently. A run that is not finished yet may still be fine."""
        return not self.faults and all(difference.fine for difference in self.rerun.values())

    @property
    def complete(self) -> bool:
        return not self.missing

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "fine": self.fine, "complete": self.complete}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """The report that ``to_json`` gave these data."""
        fields = {k: v for k, v in data.items() if k not in ("fine", "complete")}
        fields["faults"] = tuple(Fault(**fault) for fault in fields["faults"])
        fields["missing"] = tuple((start, stop) for start, stop in fields["missing"])
        fields["rerun"] = {site: Difference(**found) for site, found in fields["rerun"].items()}
        return cls(**fields)

    def in_words(self) -> str:
        """One line: the verdict first."""
        parts = []
        for fault in self.faults:
            which = f" (samples {fault.start} to {fault.stop - 1})" if fault.stop else ""
            parts.append(f"{fault.file}{which}: {fault.problem}")
        parts += [f"{site} computed again differs by {d.largest:.2g}, more than {d.tolerance:.2g}"
                  for site, d in self.rerun.items() if not d.fine]  # fmt: skip
        if parts:
            return "; ".join(parts)
        again = f", {len(self.rerun)} sites computed again and equal" if self.rerun else ""
        left = "" if self.complete else f"; {self.of - self.samples} of {self.of} samples are not extracted yet"
        return f"{self.shards} shards, {self.samples} samples: all whole{again}{left}"


def verify(folder: Path) -> Generator[float, None, Report]:
    """Checks every committed shard of a run; yields the share done and returns the report, which it also keeps."""
    broken: list[str] = []
    run = open_run(folder, broken=broken)
    faults = [Fault(file=MANIFEST, start=0, stop=0, problem=problem) for problem in broken]
    for done, shard in enumerate(run.shards, 1):
        problem = _problem_of(run, shard)
        if problem:
            faults.append(Fault(file=shard.file, start=shard.start, stop=shard.stop, problem=problem))
        yield done / len(run.shards)
    report = Report(
        run=run.name,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        shards=len(run.shards),
        samples=len(run),
        of=run.spec.samples,
        faults=tuple(faults),
        missing=tuple(missing_ranges(run.shards, run.spec.samples, run.spec.samples)),
    )
    keep_report(folder, report)
    return report


def keep_report(folder: Path, report: Report) -> None:
    """Writes it beside the run, where pages find it."""
    write_json(folder / VERIFY_JSON, report.to_json())


def last_report(folder: Path) -> Report | None:
    """The report of the last verification; None if there was none, or if it cannot be read."""
    try:
        report = Report.from_json(json.loads((folder / VERIFY_JSON).read_text(encoding="utf-8")))
        datetime.fromisoformat(report.when)
        report.in_words()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return report


def set_aside(folder: Path, report: Report) -> list[Path]:
    """Takes the shards that did not pass out of the run, so that the next extraction makes them again."""
    bad = {fault.file for fault in report.faults}
    rewrite_manifest(folder, [shard for shard in read_manifest(folder, []) if shard.file not in bad])
    paths = [folder / SHARDS / name for name in sorted(bad)]
    return [path.rename(path.with_name(path.name + SET_ASIDE)) for path in paths if path.is_file()]


def _problem_of(run: Run, shard: Shard) -> str:
    """What is wrong with a shard, in words; nothing if it is whole."""
    path = run.folder / SHARDS / shard.file
    if not path.is_file():
        return "the file is gone"
    if (size := path.stat().st_size) != shard.bytes:
        return f"the file has {size} bytes; {shard.bytes} were committed"
    if not has_checksum(path, shard.checksum):
        return "the contents changed since they were committed (another checksum)"
    try:
        with h5py.File(path, "r") as file:
            held = (int(file.attrs["start"]), int(file.attrs["stop"]))
            if held != (shard.start, shard.stop):
                return f"it holds samples {held[0]} to {held[1] - 1}, not those that the manifest says"
            strange = [name for name in file if not _finite(file[name])]
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        return f"the file cannot be read: {error}"
    return f"values that are not finite in {', '.join(strange)}" if strange else ""


def _finite(item: h5py.Dataset | h5py.Group) -> bool:
    """Whether a dataset holds finite values only; read a step at a time. Labels may be missing (NaN)."""
    if isinstance(item, h5py.Group) or item.dtype.kind != "f" or not item.shape:
        return True
    return all(bool(np.isfinite(item[i]).all()) for i in range(item.shape[0]))
