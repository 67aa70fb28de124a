"""Random: compares each label's direction with 200 directions to random positives, at three
lengths, by previews.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...analysis.estimate import Estimate
from ...cache.reading import Run
from ...cache.records import Record, list_records
from ...directions.differences import EQUAL, LENGTHS, OWN, REST
from ..cell import Cell
from ..evidence import Evidence
from ..exhibits import Bar, Bars, Exhibit
from ..kinds import DIRECTION, PREVIEWS
from ..measure import (
    LABELS,
    MODEL,
    MOVABLE,
    READER,
    Measure,
    Part,
    Question,
    Runs,
    Work,
    later,
    shipped_page,
)
from ..noise import middle_step
from ..parameter import Parameter
from ..setting import SAMPLES, TOGETHER, Setting

BEYOND_RANDOM = "beyond random positives"
WORDS = {EQUAL: "equal length", OWN: "own length", REST: "without the first components"}
AGREES = 0.5
"""The smallest correlation with full renders at which previews may replace them."""

DIRECTIONS = Parameter(
    name="random_positives",
    text="number of directions to random positives, tried by one-step previews",
    default=200,
    least=19,
    most=10**5,
    sizes={"quick": 39},
)
COMPONENTS = Parameter(
    name="components_out",
    text="number of first principal components of h that are projected out in the third comparison",
    default=5,
    least=0,
    most=1000,
)
DECODING = 0.5
"""The cost of a decoding, in steps of the whole network."""


def parts(setting: Setting) -> Iterator[Part]:
    """Yields every label's direction beside the random ones."""
    alone = 2.0 * len(LENGTHS) * len(setting.tried)
    for name, beside in setting.with_randoms(setting[DIRECTIONS]):
        decodings = alone * (1 + beside)
        yield Part(
            title=f"{name} against random positives",
            passes=DECODING * decodings / setting.run.spec.steps,
            work=later(lambda name=name: _against(setting, name)),
        )


def _against(setting: Setting, name: str) -> Work:
    from ..previews import against_random

    return against_random(
        setting.driver,
        name,
        setting.ends(name),
        setting.tried,
        middle_step(setting.run, range(setting.run.spec.steps)),
        directions=setting[DIRECTIONS],
        components=setting[COMPONENTS],
        groups=setting.groups,
    )


def cells(record: Record, run: Run) -> list[Cell]:
    """Answers how much a label's direction changes its reading, beside random positives."""
    name = record.parameters["name"]
    found = record.result["readings"].get(name)
    if found is None:
        return []
    at = found[EQUAL]
    told = "; ".join(f"{WORDS[length]}: {_times(found[length])}" for length in LENGTHS)
    note, warning = _checked(record, run, name)
    return [
        Cell(
            question=BEYOND_RANDOM,
            subject=name,
            estimate=Estimate.from_json(at["change"]) if at else _unmoved(record),
            null=at["random"] if at else None,
            p=at["p"] if at else None,
            unit="spreads a unit of strength, one step",
            note=f"{told}; {record.parameters['nulls']} random positives, previews of step"
            f" {record.parameters['step']}, {note}",
            evidence=record,
            drawn=tuple(at["drawn"]) if at else (),
            warning=warning,
        )
    ]


def _unmoved(record: Record) -> Estimate:
    why = "in previews no random direction moves this reading, so there is no null"
    return Estimate.undefined(why, len(record.parameters["samples"]))


def _times(found: dict[str, Any] | None) -> str:
    if found is None:
        return "no random direction moves it"
    return f"{abs(found['effect']['value']):.1f} times random, p {found['p']:.2g}"


def _checked(record: Record, run: Run, name: str) -> tuple[str, str]:
    """Returns how well previews agree with full renders, and a warning if they do not."""
    from ..previews import agreement, same_null

    rendered = same_null(record, run, list_records(run, DIRECTION))
    known = agreement(record, rendered, name)
    if known is None:
        return (
            "not checked against full renders (`python -m hcache measure RUN --what directions`"
            " renders some)",
            "",
        )
    r, count = known
    said = f"which agree with full renders of {count} directions at r = {r:.2f}"
    if r >= AGREES:
        return said, ""
    return said, (
        "one-step previews do not agree with full renders here; use the rendered null of"
        " `directions`"
    )


def _bars(evidence: Evidence, label: str) -> dict[str, Bar]:
    known = [
        record
        for record in evidence.of_kind(PREVIEWS)
        if record.parameters["name"] == label and label in record.result["readings"]
    ]
    if not known:
        return {}
    record = max(known, key=lambda each: int(each.parameters["nulls"]))
    found = record.result["readings"][label]
    return {WORDS[length]: _bar(found[length]) for length in LENGTHS if found[length]}


def _bar(found: dict[str, Any]) -> Bar:
    drawn = np.array(found["drawn"], np.float64)
    null = Estimate(
        value=found["random"], low=0.0, high=float(np.quantile(drawn, 0.95)), n=len(drawn)
    )
    change = Estimate.from_json(found["change"])
    return Bar(measured=change, null=null)


def exhibits(label: str, runs: Runs) -> list[Exhibit]:
    """Shows a label's change at three lengths, beside chance.

    Chance is the size that 95 % of random positives stay below.
    """
    bars = {name: found for name, each in runs.items() if (found := _bars(each, label))}
    words = label.replace("_", " ")
    title = f"{words}: change by one-step previews, beside random positives at the same lengths"
    shown = Bars(runs=bars, axis="spreads", null="random positives (0 to 95 %)")
    return [Exhibit(title=title, shown=shown)] if bars else []


MEASURE = Measure(
    name="random",
    title="whether each direction changes its label more than random positives do, at three"
    " lengths",
    parts=parts,
    needs=(LABELS, READER, MODEL),
    parameters=(SAMPLES, DIRECTIONS, COMPONENTS, TOGETHER),
    cells={PREVIEWS: cells},
    questions=(
        Question(
            name=BEYOND_RANDOM,
            words="moved more than by random positives",
            section=MOVABLE,
            pages=(shipped_page("random"),),
            exhibits=exhibits,
            two_sided=True,
        ),
    ),
)
