"""Sparse features: what their dictionary explains, and where they fire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...analysis.estimate import Estimate
from ...cache.layout import H
from ...cache.reading import Run
from ...cache.records import Record
from ...errors import HcacheError
from ...sparse.plan import OPTIONS, DictionaryPlan, plan_of
from ..cell import Cell
from ..costs import sparse_seconds
from ..evidence import Evidence
from ..exhibits import Bar, Bars, Curves, Exhibit, PictureSheet, Point
from ..kinds import SPARSE
from ..measure import WHOLE, Measure, Part, Question, Runs, later, shipped_page
from ..parameter import Parameter
from ..setting import Setting
from ..sparse import sparse_features

EXPLAINED, SUBJECT, SECTION = "explained", "sparse features", "Sparse features"
DRAWN, PICTURES = 6, 8
"""The number of features whose firing is drawn, and of samples shown for each."""

SITE = Parameter(name="sparse_site", text="the site of sparse features", default=H)
CHOICES = {
    name: Parameter(
        name=f"sparse_{name}",
        default=option.default,
        text=f"of sparse features: {option.text}",
        least=option.least,
        most=option.most,
    )
    for name, option in OPTIONS.items()
}


def plan_for(setting: Setting, site: str) -> DictionaryPlan:
    """Returns the plan that a setting asks for.

    Raises:
        HcacheError: the run cannot have such a dictionary.
    """
    return plan_of(setting.run, site, {name: setting[each] for name, each in CHOICES.items()})


def refuses(setting: Setting) -> str:
    """Says why sparse features cannot be trained; empty if they can."""
    run, site = setting.run, setting[SITE]
    try:
        plan_for(setting, site)
    except HcacheError as error:
        return str(error)
    return "" if run.shards else f"{run.name} has no samples yet"


def parts(setting: Setting) -> Iterator[Part]:
    """Yields the training of one dictionary."""
    plan = plan_for(setting, setting[SITE])
    yield Part(
        title=f"{plan.features} sparse features of {plan.site}",
        work=later(lambda: sparse_features(setting.run, plan)),
        seconds=sparse_seconds(setting.run, plan),
    )


def cells(record: Record, _: Run) -> list[Cell]:
    """Answers how much of h a dictionary explains in held-out samples."""
    found, given = record.result, record.parameters
    if given["site"] != H:
        return []
    null, pca = (Estimate.from_json(found[name]) for name in ("null", "pca"))
    dead = f", {found['dead']} dead" if found["dead"] else ""
    return [
        Cell(
            question=EXPLAINED,
            subject=SUBJECT,
            estimate=Estimate.from_json(found["explained"]),
            null=null.value if null.defined else None,
            p=None,
            unit="of the variance of held-out samples",
            note=(
                f"{given['active']} of {found['features']} features at a place{dead};"
                f" {given['active']} principal components: {pca.value:.2f}"
            ),
            evidence=record,
        )
    ]


def bars_of(records: Mapping[str, Record]) -> Bars:
    """Returns what each run's dictionary explains, with PCA and the null."""
    runs: dict[str, dict[str, Bar]] = {}
    for run, record in records.items():
        found, given = record.result, record.parameters
        null = Estimate.from_json(found["null"])
        own = f"{given['active']} of {found['features']} sparse features of {given['site']}"
        runs[run] = {
            own: Bar(measured=Estimate.from_json(found["explained"]), null=null),
            f"{given['active']} principal components of {given['site']}": Bar(
                measured=Estimate.from_json(found["pca"])
            ),
        }
    return Bars(
        runs=runs,
        axis="share of variance explained, held-out samples",
        null="the same dictionary of shuffled channels",
    )


def firing_of(record: Record, evidence: Evidence, features: list[int]) -> dict[str, list[Point]]:
    """Returns how often some features fire at each step."""
    n = record.samples
    return {
        f"feature {feature}": [
            Point(
                at=evidence.level(step),
                estimate=Estimate(value=rate, low=rate, high=rate, n=n),
            )
            for step, rate in enumerate(record.result["rate"][feature])
        ]
        for feature in features
    }


def sheet_of(run: Run, result: Mapping[str, Any], features: list[int]) -> PictureSheet | None:
    """Shows the samples where features are strongest.

    There is one row per feature.
    """
    height, width, channels = run.anatomy.image
    top = np.asarray(result["top"])[features, :PICTURES]
    if not top.size or channels != 3:
        return None
    pictures = np.stack([[run.picture(int(sample)) for sample in row] for row in top])
    return PictureSheet(
        title="strongest samples of each feature, one row per feature",
        columns=tuple(f"{place + 1}" for place in range(top.shape[1])),
        pictures=pictures.reshape(*top.shape, height, width, 3),
    )


def _exhibits(_: str, runs: Runs) -> list[Exhibit]:
    """Shows what each run's latest dictionary explains, its firing and its samples."""
    found = {name: list(each.of_kind(SPARSE)) for name, each in runs.items()}
    last = {name: records[-1] for name, records in found.items() if records}
    if not last:
        return []
    some = {name: strongest(record) for name, record in last.items()}
    curves = {name: firing_of(last[name], runs[name], some[name]) for name in last}
    made = [
        Exhibit(title="Variance that sparse features explain", shown=bars_of(last)),
        Exhibit(
            title="How often the strongest features fire",
            shown=Curves(runs=curves, axis="share of samples and places", null=""),
        ),
    ]
    for name, record in last.items():
        if (sheet := sheet_of(runs[name].run, record.result, some[name])) is not None:
            made.append(Exhibit(title=f"{name}: {sheet.title}", shown=sheet, run=name))
    return made


def strongest(record: Record) -> list[int]:
    """Lists the features that are drawn: the first, which fire most strongly."""
    return list(range(min(DRAWN, len(record.result["rate"]))))


def told_of(record: Record) -> str:
    """Describes a dictionary and what it explains, for a caption."""
    found, given = record.result, record.parameters
    share, null, pca = (Estimate.from_json(found[name]) for name in ("explained", "null", "pca"))
    chance = f"; trained on shuffled channels {null.value:.2f}" if null.defined else ""
    return (
        f"Sparse features of {given['site']}: the samples where each is strongest, and the share of"
        f" {record.samples} samples and their places where it fires. {given['active']} of"
        f" {found['features']} features at a place explain {share} of the variance of held-out"
        f" samples ({given['active']} principal components {pca.value:.2f}{chance})."
    )


MEASURE = Measure(
    name="sparse",
    title="sparse features of a site: what they explain, when they fire, in which samples",
    parts=parts,
    parameters=(SITE, *CHOICES.values()),
    refuses=refuses,
    cells={SPARSE: cells},
    questions=(
        Question(
            name=EXPLAINED,
            subject=SUBJECT,
            of=WHOLE,
            words="a few sparse features make up h",
            section=SECTION,
            pages=(shipped_page("sparse"),),
            exhibits=_exhibits,
            asked_for=True,
        ),
    ),
)
