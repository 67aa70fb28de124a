"""CKA: which steps and sites represent the samples in the same way, and whether two runs do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...analysis.cka import FEWEST, SHUFFLES
from ...cache.layout import H, run_folder
from ...cache.reading import Run, open_run
from ...cache.records import Record, state_of
from ...errors import HcacheError
from ..alike import (
    RUNS,
    SITES,
    STEPS,
    estimates_of,
    mapped_steps,
    other_run,
    runs_alike,
    shared_samples,
    sites_alike,
    steps_alike,
)
from ..cell import Cell
from ..costs import similarity_seconds
from ..evidence import Evidence
from ..exhibits import Exhibit, HeatMap, HeatMaps
from ..kinds import CKA
from ..measure import WHOLE, Measure, Part, Question, Runs, later, shipped_page
from ..noise import log_snr_of, middle_step
from ..parameter import Parameter
from ..setting import Setting

SETTLED, ALIKE = "settled", "alike"
NULL = "95 % of shuffles below"

COMPARED = Parameter(
    name="compared",
    text="largest number of samples that CKA compares",
    default=256,
    least=FEWEST,
    most=10**4,
    sizes={"quick": 128, "thorough": 1024},
)
TIMES = Parameter(
    name="shuffles",
    text="number of shuffles for the null of each CKA; p is a rank among them",
    default=SHUFFLES,
    least=1,
    most=10**4,
    sizes={"quick": 39, "thorough": 399},
)
BESIDE = Parameter(
    name="beside",
    text="another run to compare by CKA, over samples with the same seeds",
    default="",
)


def refuses(setting: Setting) -> str:
    """Says why CKA cannot be measured. The text is empty if it can.

    CKA needs a stored site and a few samples. If another run is named, both runs must share these
    samples.
    """
    run = setting.run
    try:
        count = len(run)
        if count < FEWEST:
            return f"CKA takes {FEWEST} samples or more, got {count}"
        run.stored_sites  # noqa: B018 - raises if there is no such run
        if setting[BESIDE]:
            shared_samples(run, other_run(run, setting[BESIDE]))
    except HcacheError as error:
        return str(error)
    return ""


def parts(setting: Setting) -> Iterator[Part]:
    """Yields the maps of CKA to make.

    These are a map of steps for every stored site, a map of sites, and the maps with the other run.
    """
    run, most, shuffles = setting.run, setting[COMPARED], setting[TIMES]
    count = len(mapped_steps(run))
    for site in run.stored_sites:
        yield Part(
            title=f"CKA between the steps of {site}",
            work=steps_alike(run, site, most, shuffles),
            seconds=similarity_seconds(run, {site: count}, min(most, len(run)), shuffles),
        )
    step = middle_step(run, range(run.spec.steps))
    once = dict.fromkeys(run.stored_sites, 1)
    yield Part(
        title=f"CKA between sites at step {step}",
        work=sites_alike(run, step, most, shuffles),
        seconds=similarity_seconds(run, once, min(most, len(run)), shuffles),
    )
    if setting[BESIDE]:
        other = other_run(run, setting[BESIDE])
        for site in (site for site in run.stored_sites if site in other.stored_sites):
            yield Part(
                title=f"CKA of {site} with {other.name}",
                work=later(lambda site=site: runs_alike(run, other, site, most, shuffles)),
                seconds=2 * similarity_seconds(run, {site: count}, min(most, len(run)), shuffles),
            )


def cells(record: Record, run: Run) -> list[Cell]:
    """Answers how alike h is at equal signal and noise.

    The answer compares h there with itself at the last step, or with the h of another run.
    """
    given, result = record.parameters, record.result
    if given.get("site") != H or given["of"] not in (STEPS, RUNS):
        return []
    middle = middle_step(run, result["rows"])
    row = result["rows"].index(middle)
    if given["of"] == STEPS:
        column = len(result["columns"]) - 1
        if row == column:
            return []
        question, subject = SETTLED, H
        note, warning = f"step {middle} with the last step, {result['columns'][column]}", ""
    else:
        column, warning = _nearest(run, middle, given, result)
        question, subject = ALIKE, "another run"
        note = f"step {middle} with step {result['columns'][column]} of {given['other']}"
    return [
        Cell(
            question=question,
            subject=subject,
            estimate=estimates_of(result, given["compared"])[row][column],
            null=result["null"][row][column],
            p=result["p"][row][column],
            unit="CKA, linear and without bias",
            note=note,
            evidence=record,
            warning=warning,
        )
    ]


def _nearest(run: Run, middle: int, given: Any, result: Any) -> tuple[int, str]:
    """Returns the column of the other run's step with the noise of ``middle``, and a warning if the
    other run has changed.
    """
    columns = result["columns"]
    try:
        other = open_run(run_folder(run.home, given["other"]))
        changed = state_of(other) != given["other_state"]
        distance = np.abs(log_snr_of(other)[columns] - log_snr_of(run)[middle])
    except HcacheError:
        changed, distance = True, np.full(len(columns), np.nan)
    warning = f"{given['other']} is gone or has other samples now; measure again"
    place = int(np.nanargmin(distance)) if np.isfinite(distance).any() else len(columns) // 2
    return place, warning if changed else ""


def map_of(record: Record) -> HeatMap:
    """Returns a stored map for drawing."""
    given, result = record.parameters, record.result
    axes = {
        STEPS: ("step (0: most noise)", "step"),
        SITES: (f"site at step {given.get('step')}", "site"),
        RUNS: (f"step of {given.get('other')}", "step"),
    }[given["of"]]
    return HeatMap(
        rows=tuple(map(str, result["rows"])),
        columns=tuple(map(str, result["columns"])),
        estimates=estimates_of(result, given["compared"]),
        null=result["null"],
        p=result["family_p"],
        x=axes[0],
        y=axes[1],
    )


def maps_of(evidence: Evidence, of: str) -> dict[str, Record]:
    """Collects a run's stored maps by site.

    Maps of sites are by step. If there are several, the one with the most samples counts.
    """
    found: dict[str, Record] = {}
    for record in evidence.of_kind(CKA):
        given = record.parameters
        if given["of"] == of:
            name = f"step {given['step']}" if of == SITES else given["site"]
            name = f"{name} with {given['other']}" if of == RUNS else name
            if name not in found or _effort(record) > _effort(found[name]):
                found[name] = record
    return found


def two_runs(evidence: Evidence, other: str) -> HeatMaps | None:
    """Collects the stored maps of a run with another run.

    There is one panel per site. The result is None if there are no maps.
    """
    records = maps_of(evidence, RUNS).values()
    found = {
        each.parameters["site"]: map_of(each)
        for each in records
        if each.parameters["other"] == other
    }
    panels = {site: found[site] for site in evidence.run.anatomy.storable if site in found}
    return HeatMaps(panels=panels, scale="CKA", chance=NULL) if panels else None


def _effort(record: Record) -> tuple[int, int]:
    return record.parameters["compared"], record.parameters["shuffles"]


def _exhibits(runs: Runs, *kinds: str) -> list[Exhibit]:
    """Returns heat maps of all runs, one exhibit per kind."""
    titles = {
        STEPS: "Similarity of steps, for each site",
        SITES: "Similarity of sites, where signal and noise are equal",
        RUNS: "Similarity of the steps of two runs",
    }
    made = []
    for of in kinds:
        panels = {
            f"{run}: {name}" if len(runs) > 1 else name: map_of(record)
            for run, evidence in runs.items()
            for name, record in maps_of(evidence, of).items()
        }
        if panels:
            shown = HeatMaps(panels=panels, scale="CKA", chance=NULL)
            made.append(Exhibit(title=titles[of], shown=shown))
    return made


MEASURE = Measure(
    name="cka",
    title="which steps, sites and runs represent the samples in the same way (CKA)",
    parts=parts,
    parameters=(COMPARED, TIMES, BESIDE),
    refuses=refuses,
    cells={CKA: cells},
    questions=(
        Question(
            name=SETTLED,
            subject=H,
            of=WHOLE,
            words="h halfway is similar to h at the end",
            section="Alike",
            pages=(shipped_page("cka"),),
            exhibits=lambda of, runs: _exhibits(runs, STEPS, SITES),
        ),
        Question(
            name=ALIKE,
            subject="another run",
            of=WHOLE,
            words="h is similar to the h of another run",
            section="Alike",
            pages=(shipped_page("cka"),),
            exhibits=lambda of, runs: _exhibits(runs, RUNS),
            asked_for=True,
        ),
    ),
)
