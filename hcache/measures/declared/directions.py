"""Directions: how much and how linearly each direction changes its label, and what else it
changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...analysis.controllability import FEWEST_RANKED
from ...analysis.estimate import Estimate
from ...analysis.linearity import UNDECIDED
from ...cache.reading import Run
from ...cache.records import Record, load_sheet
from ..cell import Cell
from ..evidence import Evidence
from ..exhibits import CosineCurves, Exhibit, LeakageMaps, PictureSheet, ResponseCurves
from ..kinds import COSINES, DIRECTION, LEAKAGE, RESPONSES
from ..measure import (
    DISENTANGLED,
    LABELS,
    MODEL,
    MOVABLE,
    READER,
    WHOLE,
    Measure,
    Part,
    Question,
    Runs,
    Work,
    later,
    shipped_page,
)
from ..of_reader import is_of, own_name
from ..setting import NULL, NULLS, SAMPLES, TOGETHER, Setting
from .codes import QUESTION as DISENTANGLED_BY
from .decodability import read_and_move

CONTROLLABLE, LINEAR, EDITS = "controllable", "linear", "edits"
NULL_WORDS = {"samples": " to random positives", "noise": " of noise in h"}
FEWEST_DIMENSIONS = 6.0
"""The smallest ratio to random directions that stands out from 19 of them. The largest of 19 is
about 2.3 times their mean.
"""


def parts(setting: Setting) -> Iterator[Part]:
    """Yields the responses to every label's direction.

    The last part is the leakage matrix that is computed from them.
    """
    alone = float(len(setting.tried) * (len(setting.strengths) - 1))
    for name, beside in setting.with_randoms(setting[NULLS]):
        yield Part(
            title=f"direction of {name}",
            passes=alone * (1 + beside),
            work=later(lambda name=name: _direction(setting, name)),
        )
    if setting.readable:
        yield Part(title="leakage", work=later(lambda: _leakage(setting)))


def _direction(setting: Setting, name: str) -> Work:
    from ..responses import direction

    move = setting.moves[name]
    return direction(
        setting.driver,
        move,
        setting.grid(),
        name=name,
        nulls=setting[NULLS],
        null=setting[NULL],
        groups=setting.groups,
    )


def _leakage(setting: Setting) -> Work:
    from ..edits import leakage_of

    return leakage_of(
        setting.driver,
        setting.moves,
        setting.grid(),
        nulls=setting[NULLS],
        null=setting[NULL],
        groups=setting.groups,
    )


def direction_cells(record: Record, _: Run) -> list[Cell]:
    """Answers how much and how linearly a direction changes its label.

    Its label is the one that it is named after.
    """
    name = record.parameters["name"]
    if name not in record.result["readings"]:
        return []
    found = record.result["readings"][name]
    control, straight = found["controllability"], found["linearity"]
    ranked = control.get("ranked")  # older results are described in their own words
    kind = NULL_WORDS.get(record.parameters.get("null", ""), "") if ranked else ""
    times = f"{control['effect']['value']:.1f} times a random direction{kind}"
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
            warning=_confined(record.result.get("null_dimensions")) or _few(control),
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
    """Returns a verdict on linearity. If there are too few samples for one, it returns how many
    would halve the interval.
    """
    width = (r2.high - r2.low) / 2
    if said != UNDECIDED or not width > 0:
        return said
    return (
        f"{said}: too few samples to say; an interval half as wide takes about"
        f" {r2.samples_for(width)}"
    )


def _few(control: dict[str, Any]) -> str:
    """Returns the advice for a p that cannot be small because there are too few random
    directions.
    """
    count = control["directions"]
    if not control.get("ranked") or count >= FEWEST_RANKED:
        return ""
    return (
        f"{count} random directions: p is never below {1 / (1 + count):.2f}; use --nulls"
        f" {FEWEST_RANKED} or more"
    )


def _confined(dimensions: float | None) -> str:
    """Returns the advice for random directions that span so few dimensions that none can be much
    longer than others.
    """
    if dimensions is None or dimensions >= FEWEST_DIMENSIONS:
        return ""
    return (
        f"random directions lie in about {dimensions:.1f} dimensions, where no direction can move a"
        f" reading more than {dimensions**0.5:.1f} times as far as they do: p is never small; use"
        " --null noise"
    )


def leakage_cells(record: Record, _: Run) -> list[Cell]:
    """Answers which share of the changes by edits was intended."""
    found, leaks = record.result["leakage"], record.result["leaks"]
    note = f"{len(found['edits'])} edits, {len(found['attributes'])} readings, {len(leaks)} leaks"
    return [
        Cell(
            question=DISENTANGLED_BY,
            subject=EDITS,
            estimate=Estimate.from_json(found["share"]),
            null=record.result["chance"],
            p=record.result["p"],
            unit="share on the diagonal",
            note=note,
            evidence=record,
        )
    ]


def _record(evidence: Evidence, label: str) -> Record | None:
    """Returns the result with the most samples for a label's direction."""
    found = (each for each in evidence.of_kind(DIRECTION) if is_of(each, label))
    return max(found, key=lambda record: len(record.parameters["grid"]["samples"]), default=None)


def _response(evidence: Evidence, label: str) -> dict[str, Any] | None:
    """Returns the response of a label's reading to its direction, with the strengths."""
    record = _record(evidence, label)
    if record is None or (name := own_name(record, label)) not in record.result["readings"]:
        return None
    strengths = record.parameters["grid"]["strengths"]
    return {**record.result["readings"][name], "strengths": strengths}


def _sheets(evidence: Evidence, label: str) -> list[PictureSheet]:
    """Yields samples over strengths along a label's direction, and along one random direction."""
    record = _record(evidence, label)
    if record is None:
        return []
    columns = tuple(f"{strength:+g}" for strength in record.parameters["grid"]["strengths"])
    wanted = {f"along the direction of {label}": record.parameters["move"]}
    if record.result["null_moves"]:
        wanted["along a random direction"] = record.result["null_moves"][0]
    found = {title: _sheet(evidence, move, record) for title, move in wanted.items()}
    return [
        PictureSheet(title=title, columns=columns, pictures=sheet)
        for title, sheet in found.items()
        if sheet is not None and sheet.shape[1] == len(columns)
    ]


def _sheet(evidence: Evidence, move: str, record: Record) -> np.ndarray | None:
    """Returns the pictures of the responses to a move, on the samples of a direction's result."""
    for each in evidence.of_kind(RESPONSES):
        asked = {"move": move} | {name: record.parameters[name] for name in ("grid", "reader")}
        if asked.items() <= each.parameters.items():
            sheet = load_sheet(evidence.run, RESPONSES, each.parameters)
            if sheet is not None:
                return sheet
    return None


def _linear(label: str, runs: Runs) -> list[Exhibit]:
    words = label.replace("_", " ")
    return _responses(words, {name: _response(each, label) for name, each in runs.items()}) + [
        Exhibit(title=f"{name}: {sheet.title.replace('_', ' ')}", shown=sheet, run=name)
        for name, evidence in runs.items()
        for sheet in _sheets(evidence, label)
    ]


def _responses(words: str, found: dict[str, dict[str, Any] | None]) -> list[Exhibit]:
    known = {name: response for name, response in found.items() if response}
    title = f"{words}: the reading's mean change over strengths, all steps edited"
    shown = ResponseCurves(runs=known, label=words)
    return [Exhibit(title=title, shown=shown)] if known else []


def _controllable(label: str, runs: Runs) -> list[Exhibit]:
    pictures = _linear(label, runs)
    curves = [each for each in pictures if not each.run]
    return curves + read_and_move(label, runs) + [each for each in pictures if each.run]


def _edits(_: str, runs: Runs) -> list[Exhibit]:
    """Shows the leakage matrix with the most edits, and the cosines between the directions."""
    made = []
    leaks = {
        name: record.result["leakage"]
        for name, each in runs.items()
        if (record := each.largest(LEAKAGE, lambda record: len(record.parameters["moves"])))
    }
    if leaks:
        title = (
            "Mean change of every reading under every edit, at the largest strength; *: leaks"
            " more than by chance"
        )
        made.append(Exhibit(title=title, shown=LeakageMaps(runs=leaks)))
    cosines = {
        name: [{**row, "at": each.level(row["step"])} for row in record.result]
        for name, each in runs.items()
        if (record := each.largest(COSINES, lambda record: len(record.parameters["ends"])))
    }
    if cosines:
        title = "Cosines between the labels' directions in h"
        made.append(Exhibit(title=title, shown=CosineCurves(runs=cosines)))
    return made


MEASURE = Measure(
    name="directions",
    title="how much and how linearly each direction changes its label, and what else it changes",
    parts=parts,
    needs=(LABELS, READER, MODEL),
    parameters=(SAMPLES, NULLS, NULL, TOGETHER),
    cells={DIRECTION: direction_cells, LEAKAGE: leakage_cells},
    # 2: random directions as a family, nulls of as many unseen samples
    definitions={DIRECTION: 2, LEAKAGE: 2},
    questions=(
        Question(
            name=CONTROLLABLE,
            words="moved by its direction",
            section=MOVABLE,
            pages=(shipped_page("controllability"), shipped_page("decodability")),
            exhibits=_controllable,
            two_sided=True,
        ),
        Question(
            name=LINEAR,
            words="linear response",
            section=MOVABLE,
            pages=(shipped_page("linearity"),),
            exhibits=_linear,
        ),
        Question(
            name=DISENTANGLED_BY,
            subject=EDITS,
            of=WHOLE,
            words="edits change only their own attribute",
            section=DISENTANGLED,
            pages=(shipped_page("leakage"), shipped_page("cosines")),
            exhibits=_edits,
        ),
    ),
)
