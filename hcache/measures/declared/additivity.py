"""Additivity: whether the changes of two directions add up."""

from __future__ import annotations

from collections.abc import Iterator

from ...analysis.estimate import Contrast
from ...cache.reading import Run
from ...cache.records import Record
from ..cell import Cell
from ..evidence import Evidence
from ..exhibits import Bar, Bars, Exhibit
from ..kinds import ADDITIVITY
from ..measure import (
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
from ..setting import NULL, NULLS, SAMPLES, TOGETHER, Setting

INTERACTION, PAIRS = "interaction", "pairs"


def parts(setting: Setting) -> Iterator[Part]:
    """Yields all pairs of the labels' directions. A single label has none."""
    if (count := len(setting.readable)) < 2:
        return
    nulls = max(1, setting[NULLS] // 4)
    yield Part(
        title="additivity",
        passes=float(len(setting.tried) * (count + count * (count - 1) // 2 + 3 * nulls)),
        work=later(lambda: _additivity(setting, nulls)),
    )


def _additivity(setting: Setting, nulls: int) -> Work:
    from ..edits import additivity_of

    grid = setting.grid((0.0, max(setting.strengths)))
    return additivity_of(
        setting.driver,
        setting.moves,
        grid,
        nulls=nulls,
        null=setting[NULL],
        groups=setting.groups,
    )


def cells(record: Record, _: Run) -> list[Cell]:
    """Answers how far the changes of two directions do not add up."""
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


def pair_bars(evidence: Evidence) -> dict[str, Bar]:
    """Returns additivity of every pair, by ``a + b``.

    It also returns the value of all pairs together.
    """
    found = evidence.largest(ADDITIVITY, lambda record: len(record.result["pairs"]))
    if found is None:
        return {}
    pairs = zip(found.result["pairs"], found.result["readings"], strict=True)
    named = {" + ".join(pair): contrast for pair, contrast in pairs}
    known = {**named, "all pairs": found.result["all"]["readings"]}
    contrasts = {name: Contrast.from_json(each) for name, each in known.items()}
    return {name: Bar(measured=c.measured, null=c.null) for name, c in contrasts.items()}


def exhibits(_: str, runs: Runs) -> list[Exhibit]:
    """Shows additivity of every pair beside pairs of random directions."""
    found = {name: bars for name, evidence in runs.items() if (bars := pair_bars(evidence))}
    title = "Interaction of two directions, by pair"
    shown = Bars(runs=found, axis="interaction (0: the changes add up)", null="random pairs")
    return [Exhibit(title=title, shown=shown)] if found else []


MEASURE = Measure(
    name="additivity",
    title="whether two directions add up",
    parts=parts,
    needs=(LABELS, READER, MODEL),
    parameters=(SAMPLES, NULLS, NULL, TOGETHER),
    cells={ADDITIVITY: cells},
    questions=(
        Question(
            name=INTERACTION,
            subject=PAIRS,
            of=WHOLE,
            words="two directions interact",
            section=MOVABLE,
            pages=(shipped_page("additivity"),),
            exhibits=exhibits,
        ),
    ),
)
