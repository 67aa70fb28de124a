"""What stored results say, as the cells of a verdict: one figure a question, with its interval, its
null and p.

Nothing is computed here but a value between two steps, and no model is loaded: what was not
measured is missing. What is measured step by step is told at log SNR 0, where signal and noise are
equal: chosen beforehand, not for its score, and of the same noise for every model, in proportion
between the two steps on either side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..analysis.estimate import Contrast, Estimate
from ..analysis.linearity import UNDECIDED
from ..analysis.noise_level import estimates_at
from ..analysis.permutation import family_p, holm
from ..cache.layout import H, X
from ..cache.reading import Run
from ..cache.records import Record
from ..errors import AnalysisError
from ..readers.reading import readers_of
from .kinds import (
    ADDITIVITY,
    ALIGNMENT,
    CODES,
    DECODABILITY,
    DIRECTION,
    LEAKAGE,
    OLDER,
    SWAP,
    is_older,
)
from .label_values import current_records
from .noise import MIDDLE, log_snr_of, middle_step

DECODABLE, IN_X, ALIGNED, CONTROLLABLE, LINEAR = (
    "decodable",
    "in x_t",
    "aligned",
    "controllable",
    "linear",
)
INTERACTION, DISENTANGLED, EFFECT = "interaction", "disentangled", "effect of"
FEWEST_DIMENSIONS = 6.0
"""Of random directions, for one to be told from 19 of them, of which the largest is some 2.3
times their mean.
"""

EDITS, COMPONENTS_DCI, COMPONENTS_SAP, PAIRS, PIXELS = (
    "edits",
    "components, DCI",
    "components, SAP",
    "pairs",
    "pixels",
)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """An answer.

    ``estimate`` is in ``unit``; ``null``: what chance gives on the same scale; ``p``: of the null,
    if that was tested. ``note``: what else is to be told; ``warning``: why not to rely on it.
    ``evidence``: the record that it is from. ``drawn``: the figure under each draw of the null, if
    they were kept. ``family_p``: p adjusted for the ``asked`` answers to the same question, of
    other labels or sites (:func:`with_families`).
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
                    self.warning,
                ],
            )
        )


def cells_of(run: Run, reader: str = "") -> dict[tuple[str, str], Cell]:
    """Every question that was measured on a run, by (question, subject): (``decodable``,
    ``smile``), say.

    Of several results that answer one question that of most samples is taken, and of these that
    with most of a null.

    Args:
        run: The run.
        reader: The name of the reader whose readings of edits are told; the run's first that edits
            were measured by, if empty. Readings of two readers are never mixed.
    """
    found: dict[tuple[str, str], Cell] = {}
    for record in _of_one_reader(current_records(run), reader or next(iter(readers_of(run)), "")):
        for cell in _read(record, run):
            key = (cell.question, cell.subject)
            if is_older(record.kind, record.parameters):
                cell = replace(cell, warning="; ".join(filter(None, [OLDER, cell.warning])))
            if key not in found or _effort(cell) > _effort(found[key]):
                found[key] = cell
    return with_families(found)


def with_families(cells: Mapping[tuple[str, str], Cell]) -> dict[tuple[str, str], Cell]:
    """The cells with ``family_p`` and ``asked``: the answers to one question are a family, of all
    labels or sites.

    Adjusted by the largest in each draw of the null (max-T) where all draws were kept and are as
    many, else by Holm. Over different questions nothing is adjusted.
    """
    families: dict[str, list[tuple[str, str]]] = {}
    for key, cell in cells.items():
        if cell.p is not None:
            families.setdefault(EFFECT if key[0].startswith(EFFECT) else key[0], []).append(key)
    found = dict(cells)
    for keys in families.values():
        drawn = [cells[key].drawn for key in keys]
        values = np.array([cells[key].estimate.value for key in keys], np.float64)
        if (
            len(set(map(len, drawn))) == 1
            and len(drawn[0])
            and len({cells[key].unit for key in keys}) == 1
        ):
            sizes = np.abs(values) if keys[0][0] == CONTROLLABLE else values
            adjusted = np.fmax(family_p(sizes, np.array(drawn)), [cells[key].p for key in keys])
        else:
            adjusted = holm([np.nan if (p := cells[key].p) is None else p for key in keys])
        for key, p in zip(keys, adjusted.tolist(), strict=True):
            found[key] = replace(cells[key], family_p=p, asked=len(keys))
    return found


def _of_one_reader(records: Sequence[Record], reader: str) -> list[Record]:
    """The records that no reader was needed for, and those of one reader: the wanted one if
    there are any of it.
    """
    names = list(dict.fromkeys(reader_name(record) for record in records if reader_name(record)))
    chosen = reader if reader in names or not names else names[0]
    return [record for record in records if reader_name(record) in ("", chosen)]


def reader_name(record: Record) -> str:
    """The name of the reader that a result is by; empty if it is by none."""
    return str(record.parameters.get("reader", "")).partition("@")[0]


def _read(record: Record, run: Run) -> Sequence[Cell]:
    """The cells of a record; none of one that does not say what its kind says: it was changed,
    or is not hcache's.
    """
    try:
        cells = list(_READERS.get(record.kind, _nothing)(record, run))
        for cell in cells:
            (
                _effort(cell),
                str(cell),
                hash((cell.question, cell.subject)),
                np.array(cell.drawn, np.float64),
            )
        return cells
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return ()


def _effort(cell: Cell) -> tuple[bool, int, int, int]:
    parameters = cell.evidence.parameters
    nulls = int(parameters.get("nulls") or parameters.get("controls") or 0)
    tried = len(parameters.get("steps") or parameters.get("moves") or ())
    return (not is_older(cell.evidence.kind, parameters), cell.estimate.n, nulls, tried)


def at_middle(
    run: Run, steps: Sequence[int], estimates: Sequence[Estimate], *others: Sequence[float]
) -> tuple[Estimate, tuple[float, ...], tuple[int, ...], str]:
    """A measure over steps at log SNR 0: the estimate, other numbers there, the rows that it is
    from, and where it is.

    Where no steps lie on both sides, or the run does not say its noise, it is that of the middle
    step.
    """
    steps, level = list(steps), log_snr_of(run)[list(steps)]
    below, above = np.flatnonzero(level <= MIDDLE), np.flatnonzero(level > MIDDLE)
    if not (len(below) and len(above)):
        row = steps.index(middle_step(run, steps))
        where = f"at step {steps[row]}" + (
            f", log SNR {level[row]:+.1f}" if np.isfinite(level[row]) else ""
        )
        return estimates[row], tuple(other[row] for other in others), (row,), where
    rows = (int(below[np.argmax(level[below])]), int(above[np.argmin(level[above])]))
    nothing = next((estimates[row] for row in rows if not estimates[row].defined), None)
    if nothing is not None:
        found = nothing
    else:
        (found,) = estimates_at(
            [estimates[row] for row in rows], level[list(rows)], np.array([MIDDLE])
        )
    if found is None:
        raise AnalysisError(
            f"steps {steps} do not lie on both sides of log SNR {MIDDLE:g}; measure more steps"
        )
    mixed = tuple(
        float(np.interp(MIDDLE, level[list(rows)], [other[row] for row in rows]))
        for other in others
    )
    return found, mixed, rows, f"at log SNR 0, between steps {steps[rows[0]]} and {steps[rows[1]]}"


def _nothing(record: Record, run: Run) -> tuple[Cell, ...]:
    """Kinds of records that answer none of the questions."""
    return ()


def _decodable(record: Record, run: Run) -> list[Cell]:
    """How much of a label a linear probe reads off h, or off x_t."""
    site, rows = record.parameters["site"], record.result["steps"]
    if site not in (H, X) or record.parameters["pooled"] or record.parameters.get("kind"):
        return []
    kept = min((len(row.get("drawn") or ()) for row in rows), default=0)
    draws = [[row["drawn"][k] for row in rows] for k in range(kept)]
    found, (null, *drawn), used, where = at_middle(
        run,
        [row["step"] for row in rows],
        _estimates(rows, "score"),
        [row["control"] for row in rows],
        *draws,
    )
    return [
        Cell(
            question=DECODABLE if site == H else IN_X,
            subject=record.parameters["label"],
            estimate=found,
            null=null,
            p=max(rows[i]["p"] for i in used),
            unit=record.result["metric"],
            note=where,
            evidence=record,
            drawn=tuple(drawn),
        )
    ]


def _aligned(record: Record, run: Run) -> list[Cell]:
    """How much of the mean over a label's positives others of the kind would give again."""
    if not record.parameters.get("name"):
        return []
    rows = record.result
    found, _, used, where = at_middle(
        run, [row["step"] for row in rows], _estimates(rows, "reliability")
    )
    warning = next((rows[i]["warning"] for i in used if rows[i]["warning"]), "")
    return [
        Cell(
            question=ALIGNED,
            subject=record.parameters["name"],
            estimate=found,
            null=0.0,
            p=max(rows[i]["p"] for i in used),
            unit="reliability of the mean",
            note=where,
            warning=warning,
            evidence=record,
        )
    ]


def _direction(record: Record, _: Run) -> list[Cell]:
    """How far a direction moves what it is named after, and how straight."""
    name = record.parameters["name"]
    if name not in record.result["readings"]:
        return []
    found = record.result["readings"][name]
    control, straight = found["controllability"], found["linearity"]
    times = f"{control['effect']['value']:.1f} times a random direction"
    if natural := found.get("natural"):
        times += (
            f" ({natural['effect']['value']:.1f} times, p {natural['p']:.2g}, at their own lengths)"
        )
    cells = [
        Cell(
            question=CONTROLLABLE,
            subject=name,
            estimate=Estimate.from_json(control["change"]),
            null=control["random"],
            p=control["p"],
            unit="spreads a unit of strength",
            note=times,
            evidence=record,
            drawn=tuple(control.get("drawn") or ()),
            warning=_confined(record.result.get("null_dimensions")),
        )
    ]
    if straight["r2"]:
        nulls = [null["r2"]["value"] for null in straight["nulls"] if null["r2"]]
        cells.append(
            Cell(
                question=LINEAR,
                subject=name,
                estimate=Estimate.from_json(straight["r2"]),
                null=float(np.mean(nulls)) if nulls else None,
                p=None,
                unit="R² of a line",
                note=_verdict(found["verdict"], Estimate.from_json(straight["r2"])),
                evidence=record,
            )
        )
    return cells


def _verdict(said: str, r2: Estimate) -> str:
    """A verdict on linearity; of one that too few samples leave open, how many would halve the
    interval.
    """
    width = (r2.high - r2.low) / 2
    if said != UNDECIDED or not width > 0:
        return said
    return (
        f"{said}: too few samples to say; an interval half as wide takes about"
        f" {r2.samples_for(width)}"
    )


def _confined(dimensions: float | None) -> str:
    """What to do where random directions lie in so few dimensions that none can be much longer
    than others.
    """
    if dimensions is None or dimensions >= FEWEST_DIMENSIONS:
        return ""
    return (
        f"random directions lie in about {dimensions:.1f} dimensions, where no direction can move a"
        f" reading more than {dimensions**0.5:.1f} times as far as they do: p is never small; use"
        " --null noise"
    )


def _interaction(record: Record, _: Run) -> list[Cell]:
    """How far the changes of two directions fail to add up."""
    found = Contrast.from_json(record.result["all"]["readings"])
    count = len(record.result["pairs"])
    return [
        Cell(
            question=INTERACTION,
            subject=PAIRS,
            estimate=found.measured,
            null=found.null.value,
            p=None,
            unit="of the change, 0 if it adds up",
            note=f"{count} pairs of directions",
            evidence=record,
        )
    ]


def _edits(record: Record, _: Run) -> list[Cell]:
    """How much of all that edits move is what they were meant to move."""
    found, leaks = record.result["leakage"], record.result["leaks"]
    note = f"{len(found['edits'])} edits, {len(found['attributes'])} readings, {len(leaks)} leaks"
    return [
        Cell(
            question=DISENTANGLED,
            subject=EDITS,
            estimate=Estimate.from_json(found["share"]),
            null=record.result["chance"],
            p=record.result["p"],
            unit="share on the diagonal",
            note=note,
            evidence=record,
        )
    ]


def _codes(record: Record, run: Run) -> list[Cell]:
    """DCI and SAP of h's principal components; other codes are evidence beside."""
    if (record.parameters["codes"], record.parameters["site"]) != ("components", H):
        return []
    rows, cells = record.result["steps"], []
    told = [
        float(np.mean([each["value"] for each in row["informativeness"].values()])) for row in rows
    ]
    for subject, name in ((COMPONENTS_DCI, "disentanglement"), (COMPONENTS_SAP, "sap")):
        nulls = [math.nan if row["rotated"][name] is None else row["rotated"][name] for row in rows]
        found, (null, r2), used, where = at_middle(
            run, [row["step"] for row in rows], _estimates(rows, name), nulls, told
        )
        p = [rows[i]["p"][name] for i in used]
        cells.append(
            Cell(
                question=DISENTANGLED,
                subject=subject,
                estimate=found,
                null=null if found.defined else None,
                p=None if None in p else max(p),
                unit="D" if name != "sap" else "SAP",
                note=f"factors' mean R² {r2:.2f}, {where}",
                evidence=record,
            )
        )
    return cells


def _swap(record: Record, run: Run) -> list[Cell]:
    """How much of the donor a site carries into the picture, in pixels, beyond what another
    donor does.
    """
    if not is_whole(record.parameters["window"], run):
        return []
    found: Any = Contrast.from_json(record.result["carried"]["pixels"])
    return [
        Cell(
            question=f"{EFFECT} {record.parameters['site']}",
            subject=PIXELS,
            estimate=found.excess,
            null=0.0,
            p=found.p,
            unit="of the distance to the donor",
            note="less what another donor's swap does",
            evidence=record,
        )
    ]


def is_whole(window: Mapping[str, Any], run: Run) -> bool:
    """Whether a window, as it is stored, is all of a run's steps."""
    return window["first"] == 0 and window["last"] == run.spec.steps - 1


def _estimates(rows: Sequence[Mapping[str, Any]], name: str) -> list[Estimate]:
    return [Estimate.from_json(row[name]) for row in rows]


_READERS: dict[str, Callable[[Record, Run], Sequence[Cell]]] = {
    DECODABILITY: _decodable,
    ALIGNMENT: _aligned,
    DIRECTION: _direction,
    ADDITIVITY: _interaction,
    LEAKAGE: _edits,
    CODES: _codes,
    SWAP: _swap,
}
