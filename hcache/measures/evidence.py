"""All stored results of a run, read once, from which measures collect the evidence for their cells.

They are plain numbers. Nothing is computed and no model is loaded. What was not measured is an
empty list or None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..analysis.estimate import Estimate
from ..cache.reading import Run
from ..cache.records import Record
from .exhibits import Point
from .label_values import current_records
from .noise import log_snr_of
from .of_reader import is_of, of_one_reader


class Evidence:
    """The stored results of a run.

    Only results for its present samples and labels are used. Among results of several readers,
    those of one reader are used: ``reader``, or the one that :func:`~.of_reader.of_one_reader`
    chooses.
    """

    def __init__(self, run: Run, reader: str = "") -> None:
        self.run, self.records = run, of_one_reader(run, current_records(run), reader)
        self._level = log_snr_of(run)

    def of_kind(self, kind: str) -> Iterator[Record]:
        """Returns the results of one kind, by file name."""
        return (record for record in self.records if record.kind == kind)

    def largest(self, kind: str, size: Callable[[Record], int]) -> Record | None:
        """Returns the result of a kind with the largest ``size``.

        It is None if there is none.
        """
        return max(self.of_kind(kind), key=size, default=None)

    def rows_of(self, kind: str, label: str) -> list[Mapping[str, Any]]:
        """Returns a label's longest result of one kind.

        Results of this kind are lists. The list is empty if no result of the kind is named
        ``label``.
        """
        found = (record for record in self.of_kind(kind) if is_of(record, label))
        record = max(found, key=lambda record: len(record.result), default=None)
        return [] if record is None else record.result

    def point(self, row: Mapping[str, Any], name: str, null: float, p: float) -> Point:
        """Returns the point of a row at its step's log SNR.

        The value is the one under ``name``.
        """
        return Point(
            at=self.level(row["step"]), estimate=Estimate.from_json(row[name]), null=null, p=p
        )

    def level(self, step: int) -> float:
        """Returns the log SNR of a step.

        It is NaN if the run does not contain it.
        """
        return float(self._level[step])
