"""Alignment: how well the positives of a label agree in h."""

from __future__ import annotations

from collections.abc import Iterator

from ...analysis.probes import is_binary, upper_class
from ...cache.labels import find_label
from ...cache.reading import Run
from ...cache.records import Record
from ...directions.naive import top_samples
from ..at_middle import at_middle, estimates_of
from ..cell import Cell
from ..costs import alignment_seconds
from ..decodability import alignment_of
from ..exhibits import Curves, Exhibit
from ..kinds import ALIGNMENT
from ..measure import LABELS, READABLE, Measure, Part, Question, Runs, shipped_page
from ..setting import TOGETHER, Setting

ALIGNED = "aligned"

SHOWN = {"reliability of the mean": "reliability", "alignment": "alignment"}
"""A curve's name -> the name of its numbers in a result."""


def parts(setting: Setting) -> Iterator[Part]:
    """Yields the alignment of every label, one part each.

    Positives are the upper class, or the quarter with the highest values.
    """
    run = setting.run
    for name in setting.labels:
        values = find_label(run, name)
        count = int(upper_class(values).sum()) if is_binary(values) else max(3, len(values) // 4)
        positives = top_samples(run, values, count)
        yield Part(
            title=f"alignment of {name}",
            work=alignment_of(run, positives, setting.steps, name=name, groups=setting.groups),
            seconds=alignment_seconds(run, len(setting.steps)),
        )


def cells(record: Record, run: Run) -> list[Cell]:
    """Answers how reliable the mean over a label's positives is.

    Reliability is the share of the mean that other positives of the same kind would reproduce.
    """
    if not record.parameters.get("name"):
        return []
    rows = record.result
    found, _, used, where = at_middle(
        run, [row["step"] for row in rows], estimates_of(rows, "reliability")
    )
    return [
        Cell(
            question=ALIGNED,
            subject=record.parameters["name"],
            estimate=found,
            null=0.0,
            p=max(rows[i]["p"] for i in used),
            unit="reliability of the mean",
            note=where,
            warning=next((rows[i]["warning"] for i in used if rows[i]["warning"]), ""),
            evidence=record,
        )
    ]


def exhibits(label: str, runs: Runs) -> list[Exhibit]:
    """Shows reliability of the mean, and alignment, over log SNR.

    Both are for a label's positives.
    """
    curves = {
        name: {
            words: [
                point
                for row in rows
                if (point := evidence.point(row, key, 0.0, row["p"])).estimate.defined
            ]
            for words, key in SHOWN.items()
        }
        for name, evidence in runs.items()
        if (rows := evidence.rows_of(ALIGNMENT, label))
    }
    title = f"{label.replace('_', ' ')}: how far positives agree in h"
    shown = Curves(runs=curves, axis="share in common", null="random samples")
    return [Exhibit(title=title, shown=shown)] if curves else []


MEASURE = Measure(
    name="alignment",
    title="how well the positives of a label agree in h",
    parts=parts,
    parameters=(TOGETHER,),
    needs=(LABELS,),
    cells={ALIGNMENT: cells},
    definitions={ALIGNMENT: 2},  # 2: intervals at the ends of the range
    questions=(
        Question(
            name=ALIGNED,
            words="positives agree",
            section=READABLE,
            pages=(shipped_page("alignment"),),
            exhibits=exhibits,
        ),
    ),
)
