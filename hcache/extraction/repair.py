"""Repairs a run: files with proved damage are moved aside, and their samples are extracted
again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache.index import index_is_behind, write_index
from ..cache.layout import MANIFEST
from ..cache.locks import run_lock
from ..cache.reading import open_run
from ..cache.verify import Report, set_aside, verify
from ..cards import check_weights
from ..errors import CacheError, DamagedError
from ..specs import RunSpec


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """The result of a repair.

    ``found``: the verification before it. ``set_aside``: the files that it moved out of the run,
    under their new names. ``after``: the verification at the end.
    """

    found: Report
    set_aside: tuple[Path, ...]
    after: Report

    @property
    def exit_code(self) -> int:
        """The exit code: 0 if the run is intact now.

        Otherwise it is that of damage, or of unreadable files.
        """
        return self.after.exit_code or (0 if self.after.complete else DamagedError.exit_code)

    def in_words(self) -> str:
        """Returns the findings, the repair and the final verdict.

        The text has two lines.
        """
        return (
            f"{len(self.found.faults)} faults found, {len(self.set_aside)} files set aside; shards"
            f" made again\n{self.after.in_words()}"
        )

    def to_json(self) -> dict[str, Any]:
        """Returns plain data, as JSON has it."""
        return {
            "faults": self.found.to_json()["faults"],
            "set_aside": [str(path) for path in self.set_aside],
            "report": self.after.to_json(),
        }


def repair(
    folder: Path,
    extract: Callable[[RunSpec], object],
    agree: Callable[[RunSpec], None],
    drive: Callable[[Generator[float, None, Report], str], Report],
) -> Repaired:
    """Moves damaged files aside and extracts their samples again.

    It holds the run's lock. Missing samples are extracted as well. Unreadable files do not count as
    damaged; if there are any, nothing is changed.

    Args:
        folder: The folder of the run.
        extract: Extracts the missing samples of the run into that folder, whose lock is held.
        agree: Called before anything is changed, if the run's model will be loaded. An exception
            from it ends the repair.
        drive: Runs a verification to its end. The text describes it.

    Raises:
        RunBusyError: another process extracts or repairs the run.
        CacheError: a file could not be read.
        UsageError: the model's weights have changed since the run was extracted.
    """
    with run_lock(folder):
        found = drive(verify(folder), f"verifying {folder.name}")
        if found.unread:
            raise CacheError(
                f"nothing was changed: {found.in_words()}. Try again once it can be read"
            )
        lost = any(fault.stop or fault.file == MANIFEST for fault in found.faults)
        if lost or not found.complete:
            spec = open_run(folder, broken=[]).spec
            agree(spec)
            check_weights(spec)  # before anything is moved aside that could not be extracted again
        moved = set_aside(folder, found)
        run = open_run(folder)
        if not run.complete:
            extract(run.spec)
        elif moved or found.faults or index_is_behind(folder, run.spec.seed, run.shards):
            write_index(run)
        after = drive(verify(folder), "verifying again")
    return Repaired(found=found, set_aside=tuple(moved), after=after)
