"""Directions at other sites than h: how much and how linearly each changes its label there, and
what else it changes.

The results have kinds of their own, so that no answer about h is ever one about another site.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ...cache.layout import H
from ...cache.reading import Run
from ...cache.records import Record
from ...directions.direction import movable_sites
from ...specs import is_place
from ..cell import Cell
from ..evidence import Evidence
from ..exhibits import Exhibit, LeakageMaps, ResponseCurves
from ..kinds import DIRECTION_AT, LEAKAGE_AT
from ..measure import (
    LABELS,
    MODEL,
    MOVABLE,
    READER,
    SITE,
    Measure,
    Part,
    Question,
    Runs,
    Work,
    later,
    shipped_page,
)
from ..parameter import Parameter
from ..setting import NULL, NULLS, SAMPLES, TOGETHER, Setting
from .directions import EDITS, direction_cells, leakage_cells

if TYPE_CHECKING:
    from ...directions.direction import Direction

INTENDED = "intended at"

CHOSEN = Parameter(
    name="direction_site",
    text="the site of the directions of sites; empty: every place besides h and skips that the run"
    " stores in full",
    default="",
)


def sites_of(setting: Setting) -> tuple[str, ...]:
    """Returns the sites whose directions are measured.

    They are the chosen one, or every place that the run stores in full.
    """
    if setting[CHOSEN]:
        return (setting[CHOSEN],)
    return tuple(site for site in movable_sites(setting.run) if is_place(site))


def refuses(setting: Setting) -> str:
    """Says why nothing can be measured; empty if something can."""
    chosen, movable = setting[CHOSEN], movable_sites(setting.run)
    if chosen == H:
        return "directions in h are measured by directions, not by sites"
    if chosen and chosen not in movable:
        return (
            f"the run does not store {chosen[:60]} in full, as one tensor; it has"
            f" {', '.join(movable) or 'none'}"
        )
    if not sites_of(setting):
        return (
            "the run stores no place besides h and skips in full; extract again with --store"
            " up.1=full, for example"
        )
    return ""


def parts(setting: Setting) -> Iterator[Part]:
    """Yields the responses to every label's direction, site by site.

    The last part of a site is its leakage matrix.
    """
    alone = float(len(setting.tried) * (len(setting.strengths) - 1))
    for site in sites_of(setting):
        for name, beside in setting.with_randoms(setting[NULLS]):
            yield Part(
                title=f"direction of {name} at {site}",
                passes=alone * (1 + beside),
                work=later(partial(_direction, setting, site, name)),
            )
        yield Part(title=f"leakage at {site}", work=later(partial(_leakage, setting, site)))


def _moves(setting: Setting, site: str) -> dict[str, Direction]:
    """Returns the direction of every readable label at a site."""
    from ...directions.supervised import difference_direction

    return {
        name: difference_direction(setting.run, *setting.ends(name), site)
        for name in setting.readable
    }


def _direction(setting: Setting, site: str, name: str) -> Work:
    from ...directions.supervised import difference_direction
    from ..responses import direction

    return direction(
        setting.driver,
        difference_direction(setting.run, *setting.ends(name), site),
        setting.grid(),
        name=name,
        nulls=setting[NULLS],
        null=setting[NULL],
        groups=setting.groups,
    )


def _leakage(setting: Setting, site: str) -> Work:
    from ..edits import leakage_of

    return leakage_of(
        setting.driver,
        _moves(setting, site),
        setting.grid(),
        nulls=setting[NULLS],
        null=setting[NULL],
        groups=setting.groups,
    )


def cells_of_direction(record: Record, run: Run) -> list[Cell]:
    """Answers how much and how linearly a direction changes its label."""
    site, found = record.parameters["site"], direction_cells(record, run)
    return [replace(cell, question=f"{cell.question} at {site}") for cell in found]


def cells_of_leakage(record: Record, run: Run) -> list[Cell]:
    """Answers which share of the changes at a site was intended."""
    site = record.parameters["site"]
    return [replace(cell, question=f"{INTENDED} {site}") for cell in leakage_cells(record, run)]


def _exhibits(site: str, runs: Runs) -> list[Exhibit]:
    """Shows the responses to every label's direction at a site, and the leakage matrix."""
    made = []
    for label in dict.fromkeys(name for each in runs.values() for name in _labels(each, site)):
        found = {run: _response(each, site, label) for run, each in runs.items()}
        known = {run: response for run, response in found.items() if response}
        words = label.replace("_", " ")
        title = f"{words}: the reading's mean change over strengths at {site}, all steps edited"
        if known:
            made.append(Exhibit(title=title, shown=ResponseCurves(runs=known, label=words)))
    leaks = {
        run: record.result["leakage"]
        for run, each in runs.items()
        if (record := _largest(each, LEAKAGE_AT, site, ""))
    }
    if leaks:
        title = (
            f"Mean change of every reading under every edit at {site}, at the largest strength; *:"
            " leaks more than by chance"
        )
        made.append(Exhibit(title=title, shown=LeakageMaps(runs=leaks)))
    return made


def _labels(evidence: Evidence, site: str) -> list[str]:
    """Returns the labels whose directions were measured at a site."""
    found = (each.parameters for each in evidence.of_kind(DIRECTION_AT))
    return [each["name"] for each in found if each["site"] == site]


def _largest(evidence: Evidence, kind: str, site: str, label: str) -> Record | None:
    """Returns the result of a kind, a site and a label with the most samples."""
    found = [
        each
        for each in evidence.of_kind(kind)
        if each.parameters["site"] == site and each.parameters.get("name", "") == label
    ]
    return max(found, key=lambda each: len(each.parameters["grid"]["samples"]), default=None)


def _response(evidence: Evidence, site: str, label: str) -> dict | None:
    """Returns the response of a label's reading to its direction, with the strengths."""
    record = _largest(evidence, DIRECTION_AT, site, label)
    if record is None or label not in record.result["readings"]:
        return None
    strengths = record.parameters["grid"]["strengths"]
    return {**record.result["readings"][label], "strengths": strengths}


MEASURE = Measure(
    name="sites",
    title="directions at other sites than h: what each changes there, and how linearly",
    parts=parts,
    needs=(LABELS, READER, MODEL),
    parameters=(CHOSEN, SAMPLES, NULLS, NULL, TOGETHER),
    refuses=refuses,
    cells={DIRECTION_AT: cells_of_direction, LEAKAGE_AT: cells_of_leakage},
    questions=(
        Question(
            name=INTENDED,
            subject=EDITS,
            of=SITE,
            words="directions there change only their own attribute",
            section=MOVABLE,
            pages=(shipped_page("sites"), shipped_page("leakage"), shipped_page("controllability")),
            exhibits=_exhibits,
            asked_for=True,
        ),
    ),
)
