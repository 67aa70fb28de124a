"""An answer of a verdict: a value with its interval, its null and p, and its record."""

from __future__ import annotations

from dataclasses import dataclass

from ..analysis.estimate import Estimate
from ..cache.records import Record


@dataclass(frozen=True, kw_only=True)
class Cell:
    """An answer to one question about one run.

    ``estimate`` is in ``unit``. ``null`` is the value by chance on the same scale, and ``p`` tests
    this null, if it was tested. ``note`` gives details, and ``warning`` says why not to rely on the
    answer. ``evidence`` is the record of the answer. ``drawn`` has the value under each draw of the
    null, if they were kept. ``family_p`` is p adjusted for the ``asked`` answers to the same
    question, of other labels or sites (:func:`~hcache.measures.cells.with_families`). ``reader``
    says which reader's values it is about and what is known of that reader's error.
    """

    question: str
    subject: str
    estimate: Estimate
    null: float | None
    p: float | None
    unit: str
    note: str
    evidence: Record
    warning: str = ""
    drawn: tuple[float, ...] = ()
    family_p: float | None = None
    asked: int = 1
    reader: str = ""

    def __str__(self) -> str:
        if not self.estimate.defined:
            return str(self.estimate)
        null = "" if self.null is None else f", null {self.null:.2f}"
        p = "" if self.p is None else f", p {self.p:.2g}"
        if self.family_p is not None and self.asked > 1:
            p += f" ({self.family_p:.2g} among the {self.asked} asked)"
        return "; ".join(
            filter(
                None,
                [
                    f"{self.estimate} of n {self.estimate.n}{null}{p}",
                    self.unit,
                    self.note,
                    self.reader,
                    self.warning,
                ],
            )
        )
