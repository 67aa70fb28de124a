"""Steering: whether a sparse feature detects its label, and whether it moves it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...analysis.estimate import LEVEL, Estimate
from ...cache.layout import H
from ...cache.reading import Run
from ...cache.records import Record
from ...directions.direction import check_full
from ...errors import HcacheError
from ...sparse.tokens import too_few
from ..cell import Cell
from ..costs import sparse_seconds
from ..exhibits import Bar, Bars, Exhibit
from ..kinds import STEERING
from ..measure import (
    LABELS,
    MODEL,
    READER,
    Measure,
    Part,
    Question,
    Runs,
    Work,
    later,
    shipped_page,
)
from ..of_reader import reader_name
from ..setting import NULL, NULLS, SAMPLES, Setting
from .sparse import CHOICES, SECTION, plan_for

DETECTS, STEERS = "feature detects", "feature steers"


def refuses(setting: Setting) -> str:
    """Says why steering cannot be measured. The text is empty if it can."""
    try:
        check_full(setting.run)
        plan = plan_for(setting, H)
    except HcacheError as error:
        return str(error)
    if why := too_few(setting.run, plan, setting[SAMPLES]):
        return why
    if setting[NULLS] < 2:
        return f"steering takes 2 --nulls or more, got {setting[NULLS]}"
    return "" if setting.readable else "the run's reader reads none of the labels"


def parts(setting: Setting) -> Iterator[Part]:
    """Yields one part for all labels, which share the random directions."""
    alone = float(setting[SAMPLES] * (len(setting.strengths) - 1))
    yield Part(
        title="sparse features as directions",
        passes=alone * (3 * len(setting.readable) + setting[NULLS]),
        seconds=sparse_seconds(setting.run, plan_for(setting, H)),
        work=later(lambda: _steering(setting)),
    )


def _steering(setting: Setting) -> Work:
    from ..steering import steering

    return steering(
        setting.driver,
        plan_for(setting, H),
        {name: setting.values(name) for name in setting.readable},
        setting[SAMPLES],
        setting.strengths,
        nulls=setting[NULLS],
        null=setting[NULL],
        groups=setting.groups,
    )


def cells(record: Record, _: Run) -> list[Cell]:
    """Answers how well each label's feature detects and moves it."""
    found = []
    for name, ways in record.result["labels"].items():
        own = ways["sparse feature"]
        control = own["response"]["controllability"]
        said, detects = verdict(ways), Estimate.from_json(own["detects"])
        found += [
            Cell(
                question=DETECTS,
                subject=name,
                estimate=detects,
                null=0.0 if detects.defined else None,
                p=own["detects_p"],
                unit="correlation in held-out samples",
                note=f"feature {own['number']}; {_others(ways)}",
                evidence=record,
            ),
            Cell(
                question=STEERS,
                subject=name,
                estimate=Estimate.from_json(control["change"]),
                null=control["random"],
                p=control["p"],
                unit="spreads a unit of strength",
                note=f"feature {own['number']} {said}",
                evidence=record,
                drawn=tuple(control.get("drawn") or ()),
            ),
        ]
    return found


def verdict(ways: dict[str, Any]) -> str:
    """Says whether a feature detects its label and moves it.

    The text compares the feature with the naive direction.

    Both count as beyond chance if p is 0.05 or less.
    """
    own, beside = ways["sparse feature"], Estimate.from_json(ways["beside"]["naive"])
    detected, p = own["detects_p"], own["response"]["controllability"]["p"]
    detects = "was not tried as a detector" if detected is None else "detects the label"
    if detected is not None and detected > 1 - LEVEL:
        detects = "does not detect the label beyond chance"
    moves = "moves it" if p <= 1 - LEVEL else "does not move it more than random directions do"
    joined = "and" if (detected or 0) <= 1 - LEVEL and p <= 1 - LEVEL else "but"
    if detected is None or (detected > 1 - LEVEL and p > 1 - LEVEL):
        joined = "and"
    less = "as far as can be told like the naive direction"
    if beside.defined and beside.high < 0:
        less = "less than the naive direction"
    elif beside.defined and beside.low > 0:
        less = "more than the naive direction"
    return f"{detects}, {joined} {moves}; {less} (difference {beside})"


def _others(ways: dict[str, Any]) -> str:
    """Says how well the other ways detect the label."""
    told = {
        way: Estimate.from_json(each["detects"])
        for way, each in ways.items()
        if way not in ("sparse feature", "beside")
    }
    return ", ".join(
        f"{way} {found.value:.2f}" if found.defined else f"{way} undefined"
        for way, found in told.items()
    )


def _latest(runs: Runs, label: str) -> dict[str, dict[str, Any]]:
    """Returns the latest answers on a label, by run."""
    found = {}
    for run, evidence in runs.items():
        for record in evidence.of_kind(STEERING):
            if (name := _name_in(record, label)) is not None:
                found[run] = record.result["labels"][name]
    return found


def _name_in(record: Record, label: str) -> str | None:
    """Returns a label's name in a result, or None if the result lacks the label."""
    reader, _, alone = label.partition("/")
    names = record.result["labels"]
    if label in names:
        return label
    return alone if alone in names and reader_name(record) == reader else None


def _exhibits(label: str, runs: Runs) -> list[Exhibit]:
    """Shows the three ways side by side, as detectors and as directions."""
    found = _latest(runs, label)
    if not found:
        return []
    detects, moves = {}, {}
    for run, ways in found.items():
        known = {way: each for way, each in ways.items() if way != "beside"}
        detects[run] = {
            way: Bar(measured=Estimate.from_json(each["detects"]))
            for way, each in known.items()
            if each["detects"]["value"] is not None
        }
        moves[run] = {
            way: Bar(measured=Estimate.from_json(each["response"]["controllability"]["change"]))
            for way, each in known.items()
        }
    words = label.replace("_", " ")
    made = [
        Exhibit(
            title=f"{words}: change along each direction",
            shown=Bars(runs=moves, axis="spreads a unit of strength", null=""),
        ),
        *_leaks(runs),
    ]
    if any(detects.values()):
        bars = Bars(runs=detects, axis="correlation with the label, held-out samples", null="")
        made.insert(0, Exhibit(title=f"{words}: detected by each direction", shown=bars))
    return made


def _leaks(runs: Runs) -> list[Exhibit]:
    """Shows how much of the change by each way's directions was intended."""
    shares = {}
    for run, evidence in runs.items():
        for record in evidence.of_kind(STEERING):
            shares[run] = {
                way: Bar(
                    measured=Estimate.from_json(each["leakage"]["share"]),
                    null=_constant(each["chance"], each["leakage"]["share"]["n"]),
                )
                for way, each in record.result["leakage"].items()
                if each["leakage"]["share"]["value"] is not None
            }
    if not any(shares.values()):
        return []
    shown = Bars(runs=shares, axis="share of the movement that was meant", null="by chance")
    return [Exhibit(title="Leakage: all labels' directions, each way", shown=shown)]


def _constant(value: float, n: int) -> Estimate:
    return Estimate(value=value, low=value, high=value, n=n)


MEASURE = Measure(
    name="steering",
    title="whether sparse features detect labels, and move them, beside PCA and naive directions",
    parts=parts,
    needs=(LABELS, READER, MODEL),
    parameters=(SAMPLES, NULLS, NULL, *CHOICES.values()),
    refuses=refuses,
    cells={STEERING: cells},
    questions=tuple(
        Question(
            name=name,
            words=words,
            section=SECTION,
            pages=(shipped_page("steering"), shipped_page("sparse")),
            exhibits=_exhibits,
            two_sided=True,
            asked_for=True,
        )
        for name, words in (
            (DETECTS, "detected by a sparse feature"),
            (STEERS, "moved by a sparse feature"),
        )
    ),
)
