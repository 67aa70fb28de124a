"""All stored results of a run, read once: measures gather what stands behind their cells here.

Plain numbers; nothing is computed, no model is loaded, and what was not measured is an empty list
or None.
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

    Of its samples and labels as they are now; others are passed over. Of several readers' results
    those of one are taken: of ``reader``, or as :func:`~.of_reader.of_one_reader` chooses.
    """

    def __init__(self, run: Run, reader: str = "") -> None:
        self.run, self.records = run, of_one_reader(run, current_records(run), reader)
        self._level = log_snr_of(run)

    def of_kind(self, kind: str) -> Iterator[Record]:
        """The results of one kind, by file name."""
        return (record for record in self.records if record.kind == kind)

    def largest(self, kind: str, size: Callable[[Record], int]) -> Record | None:
        """The result of a kind that is largest by ``size``.

        None if there is none.
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
        """What a row says, at the log SNR of its step.

        Under ``name``.
        """
        return Point(
            at=self.level(row["step"]), estimate=Estimate.from_json(row[name]), null=null, p=p
        )

    def level(self, step: int) -> float:
        """The log SNR of a step.

        NaN where the run does not say.
        """
        return float(self._level[step])
