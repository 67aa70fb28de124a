"""Codes: how disentangled the components and channels of h are, by DCI and SAP."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ...cache.labels import named_labels
from ...cache.layout import H, X
from ...cache.reading import Run
from ...cache.records import Record
from ...readers.reading import readers_of
from ..at_middle import at_middle, estimates_of
from ..cell import Cell
from ..codes import COMPONENTS, KINDS, codes, direction_cosines
from ..costs import codes_seconds
from ..evidence import Evidence
from ..exhibits import Curves, Exhibit, Point
from ..kinds import CODES
from ..measure import (
    DISENTANGLED,
    LABELS,
    WHOLE,
    Measure,
    Part,
    Question,
    Runs,
    shipped_page,
)
from ..setting import TOGETHER, Setting

QUESTION = "disentangled"
COMPONENTS_DCI, COMPONENTS_SAP = "components, DCI", "components, SAP"
NAMES = {COMPONENTS_DCI: "disentanglement", COMPONENTS_SAP: "sap"}
"""Subject -> the name of its number in a result."""

TOLD = 0.1
"""The R² from which codes count as predicting a factor."""


def factors_of(run: Run, labels: tuple[str, ...]) -> list[str]:
    """Returns the factors of DCI.

    These are all attributes that the model's reader reads, wanted or not, because a code may
    correspond to any. Without a reader they are labels.
    """
    reader = next(iter(readers_of(run)), "")
    read = run.labels.get(reader, {}) if reader else {}
    named = named_labels(run)
    return [name for name in read if name in named] or list(labels)


def parts(setting: Setting) -> Iterator[Part]:
    """Yields DCI and SAP of all codes, and cosines between directions."""
    run, factors = setting.run, factors_of(setting.run, setting.labels)
    for kind, site in KINDS:
        yield Part(
            title=f"{kind} of {site}",
            work=codes(run, factors, kind, site, setting.steps, groups=setting.groups),
            seconds=codes_seconds(run, len(factors), len(setting.steps)),
        )
    if len(setting.labels) > 1:
        ends = {name: setting.ends(name) for name in setting.labels}
        yield Part(
            title="cosines between directions",
            work=direction_cosines(run, ends, setting.steps, groups=setting.groups),
        )


def cells(record: Record, run: Run) -> list[Cell]:
    """Answers DCI and SAP of h's principal components.

    Other codes are part of the evidence.
    """
    if (record.parameters["codes"], record.parameters["site"]) != (COMPONENTS, H):
        return []
    rows, found = record.result["steps"], []
    told = [
        float(np.mean([each["value"] for each in row["informativeness"].values()])) for row in rows
    ]
    for subject, name in NAMES.items():
        nulls = [math.nan if row["rotated"][name] is None else row["rotated"][name] for row in rows]
        estimate, (null, r2), used, where = at_middle(
            run, [row["step"] for row in rows], estimates_of(rows, name), nulls, told
        )
        p = [rows[i]["p"][name] for i in used]
        found.append(
            Cell(
                question=QUESTION,
                subject=subject,
                estimate=estimate,
                null=null if estimate.defined else None,
                p=None if None in p else max(p),
                unit="D" if subject == COMPONENTS_DCI else "SAP",
                note=f"factors' mean R² {r2:.2f}, {where}",
                evidence=record,
            )
        )
    return found


def code_points(evidence: Evidence, name: str) -> dict[str, list[Point]]:
    """Returns a score of codes over log SNR.

    The result is by codes (``components of h``), for ``disentanglement`` or ``sap``. The null is
    rotated codes. Steps at which no factor can be predicted are left out, because both values are
    chance there.
    """
    found = {}
    for record in evidence.of_kind(CODES):
        site = record.parameters["site"]
        found[f"{record.parameters['codes']} of {'x_t' if site == X else site}"] = [
            evidence.point(row, name, row["rotated"][name], row["p"][name])
            for row in record.result["steps"]
            if max(r["value"] for r in row["informativeness"].values()) >= TOLD
            and row[name]["value"] is not None
        ]
    return found


def _exhibits(words: str, name: str, runs: Runs) -> list[Exhibit]:
    curves = {run: found for run, each in runs.items() if (found := code_points(each, name))}
    title = f"{words} of h's components and channels, and of x_t's components"
    shown = Curves(runs=curves, axis=words, null="rotated codes")
    return [Exhibit(title=title, shown=shown)] if curves else []


MEASURE = Measure(
    name="codes",
    title="how disentangled the components of h are",
    parts=parts,
    parameters=(TOGETHER,),
    needs=(LABELS,),
    cells={CODES: cells},
    definitions={CODES: 3},  # 2: undefined results are marked; 3: intervals at SAP's bounds
    questions=(
        Question(
            name=QUESTION,
            subject=COMPONENTS_DCI,
            of=WHOLE,
            words="disentangled components of h (DCI)",
            section=DISENTANGLED,
            pages=(shipped_page("dci"),),
            exhibits=lambda _, runs: _exhibits("D of DCI", NAMES[COMPONENTS_DCI], runs),
        ),
        Question(
            name=QUESTION,
            subject=COMPONENTS_SAP,
            of=WHOLE,
            words="separated components of h (SAP)",
            section=DISENTANGLED,
            pages=(shipped_page("sap"),),
            exhibits=lambda _, runs: _exhibits("SAP", NAMES[COMPONENTS_SAP], runs),
        ),
    ),
)
