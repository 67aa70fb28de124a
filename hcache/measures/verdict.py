"""What the stored results of a run say, in one figure a question, each with its interval: the verdict on a model.

Nothing is computed here and no model is loaded: what was not measured is missing. Decodability is that of the measured
step whose signal and noise are most nearly equal (log SNR nearest 0): chosen beforehand, not for its score, and of the
same noise for every model. :func:`compare` puts several runs side by side; which is larger it says only where
intervals do not overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..analysis.estimate import Contrast, Estimate, ordered_groups
from ..analysis.noise_level import log_snr
from ..cache.layout import H, X
from ..cache.measures import Record, list_records
from ..cache.reading import Run
from .decodability import DECODABILITY
from .responses import DIRECTION
from .swapping import SWAP

DECODABLE, IN_X, CONTROLLABLE, LINEAR, EFFECT = "decodable", "in x_t", "controllable", "linear", "effect of"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """An answer: ``estimate`` in the measure's unit, ``p`` of the null if it was tested, ``note`` what is to be told.

    ``evidence``: the record that it is from.
    """

    question: str
    subject: str
    estimate: Estimate
    p: float | None
    note: str
    evidence: Record

    def __str__(self) -> str:
        null = "" if self.p is None else f", p {self.p:.2g}"
        return f"{self.estimate}{null}" + (f" {self.note}" if self.note else "")


def verdict(run: Run) -> dict[tuple[str, str], Cell]:
    """Every question that was measured on a run, by (question, subject): (``decodable``, ``smile``), say."""
    found: dict[tuple[str, str], Cell] = {}
    for record in list_records(run):
        for cell in _READERS.get(record.kind, _nothing)(record, run):
            key = (cell.question, cell.subject)
            if key not in found or record.samples >= found[key].evidence.samples:
                found[key] = cell
    return found


def compare(runs: Sequence[Run]) -> dict[tuple[str, str], dict[str, Cell]]:
    """The cells of several runs by question and subject, then by run: those that any of them has."""
    of_runs = {run.name: verdict(run) for run in runs}
    keys = sorted({key for cells in of_runs.values() for key in cells}, key=_order)
    return {key: {name: cells[key] for name, cells in of_runs.items() if key in cells} for key in keys}


def ranking(cells: Mapping[str, Cell]) -> tuple[tuple[str, ...], ...]:
    """Runs in groups, the largest first; those whose intervals overlap are not ranked."""
    return ordered_groups({name: cell.estimate for name, cell in cells.items()})


def _order(key: tuple[str, str]) -> tuple[int, str]:
    questions = (DECODABLE, IN_X, CONTROLLABLE, LINEAR)
    return (questions.index(key[0]) if key[0] in questions else len(questions), key[1])


def log_snr_of(run: Run) -> np.ndarray:
    """The log SNR of every step (steps,); NaN where a run does not say, or there is no signal or no noise."""
    alpha_bar = np.asarray(run.provenance.get("alpha_bar") or [np.nan] * run.spec.steps, np.float64)
    known = (alpha_bar > 0) & (alpha_bar < 1)
    found = np.full(run.spec.steps, np.nan)
    found[known] = log_snr(alpha_bar[known])
    return found


def middle_step(run: Run, steps: Sequence[int]) -> int:
    """Of some steps the one with log SNR nearest 0; of runs that do not say, the middle one."""
    distance = np.abs(log_snr_of(run)[list(steps)])
    return int(steps[int(np.nanargmin(distance))] if np.isfinite(distance).any() else steps[len(steps) // 2])


def _nothing(record: Record, run: Run) -> tuple[Cell, ...]:
    """Kinds of records that answer none of the questions."""
    return ()


def _decodable(record: Record, run: Run) -> list[Cell]:
    site = record.parameters["site"]
    if site not in (H, X) or record.parameters["pooled"] or record.parameters.get("kind"):
        return []
    rows = {row["step"]: row for row in record.result["steps"]}
    step = middle_step(run, list(rows))
    note = f"{record.result['metric']} at step {step}, log SNR {log_snr_of(run)[step]:+.1f}"
    question = DECODABLE if site == H else IN_X
    return [Cell(question=question, subject=record.parameters["label"], p=rows[step]["p"], note=note, evidence=record,
                 estimate=Estimate.from_json(rows[step]["score"]))]  # fmt: skip


def _direction(record: Record, _: Run) -> list[Cell]:
    """How far a direction moves what it is named after, and how straight."""
    name = record.parameters["name"]
    if name not in record.result:
        return []
    found = record.result[name]
    control = found["controllability"]
    note = f"spreads a unit of strength, {control['effect']['value']:.1f} times a random direction"
    cells = [Cell(question=CONTROLLABLE, subject=name, estimate=Estimate.from_json(control["change"]),
                  p=control["p"], note=note, evidence=record)]  # fmt: skip
    if found["linearity"]["r2"]:
        estimate = Estimate.from_json(found["linearity"]["r2"])
        cells.append(Cell(question=LINEAR, subject=name, estimate=estimate, p=None, note=f"R², {found['verdict']}",
                          evidence=record))  # fmt: skip
    return cells


def _swap(record: Record, _: Run) -> list[Cell]:
    """How much of the donor a site carries into the picture, in pixels, beyond what another donor does."""
    found: Any = Contrast.from_json(record.result["carried"]["pixels"])
    return [Cell(question=f"{EFFECT} {record.parameters['site']}", subject="pixels", estimate=found.excess, p=found.p,
                 note="of the donor's, beyond another donor's", evidence=record)]  # fmt: skip


_READERS = {DECODABILITY: _decodable, DIRECTION: _direction, SWAP: _swap}
