"""Decodability: what a linear probe reads from h and from x_t."""

from __future__ import annotations

from collections.abc import Iterator

from ...analysis.probes import AUC
from ...cache.labels import find_label, named_labels
from ...cache.layout import H, X
from ...cache.reading import Run
from ...cache.records import Record
from ...errors import AnalysisError
from ...specs import FULL
from ..at_middle import at_middle, estimates_of
from ..cell import Cell
from ..costs import probe_seconds
from ..decodability import ProbeOptions, decodability
from ..evidence import Evidence
from ..exhibits import Curves, Exhibit, Point, ReadAndMove
from ..kinds import DECODABILITY
from ..measure import LABELS, READABLE, Measure, Part, Question, Runs, shipped_page
from ..probes_by_cell import BY_CELL
from ..setting import TOGETHER, Setting
from .windows import controllability_points

DECODABLE, IN_X = "decodable", "in x_t"


def parts(setting: Setting) -> Iterator[Part]:
    """Yields probes of all labels on x_t, and on h.

    h is probed if it is stored in full.
    """
    run = setting.run
    with_h = run.anatomy.h is not None and run.policy(H) == FULL
    sites = (H, X) if with_h else (X,)
    values = [find_label(run, label) for label in setting.labels]
    yield Part(
        title="decodability",
        work=decodability(
            run, setting.labels, sites, setting.steps, ProbeOptions(groups=setting[TOGETHER])
        ),
        seconds=probe_seconds(run, {site: len(setting.steps) for site in sites}, values),
    )


def cells(record: Record, run: Run) -> list[Cell]:
    """Answers how well a linear probe reads a label.

    It reads from h or from x_t.
    """
    site, rows = record.parameters["site"], record.result["steps"]
    if not _is_usual(record):
        return []
    kept = min((len(row.get("drawn") or ()) for row in rows), default=0)
    draws = [[row["drawn"][k] for row in rows] for k in range(kept)]
    found, (null, *drawn), used, where = at_middle(
        run,
        [row["step"] for row in rows],
        estimates_of(rows, "score"),
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


def _is_usual(record: Record) -> bool:
    """Returns whether a result is for h or x_t in full, with the label's default probe."""
    given = record.parameters
    return given["site"] in (H, X) and not (given["pooled"] or given.get("kind"))


def score_points(evidence: Evidence, label: str) -> dict[str, list[Point]]:
    """Returns the score over log SNR by site (``h``, ``x``).

    The null is the score of shuffled labels.
    """
    found: dict[str, list[Point]] = {}
    for record in evidence.of_kind(DECODABILITY):
        site = record.parameters["site"]
        if record.parameters["label"] == label and _is_usual(record):
            points = [
                evidence.point(row, "score", row["control"], row["p"])
                for row in record.result["steps"]
            ]
            if len(points) >= len(found.get(site, ())):
                found[site] = points
    return found


def _metric(evidence: Evidence, label: str) -> str:
    """Returns R² or AUC."""
    known = evidence.of_kind(DECODABILITY)
    return next((r.result["metric"] for r in known if r.parameters["label"] == label), "score")


def read_and_move(label: str, runs: Runs) -> list[Exhibit]:
    """Shows decodability of h and x_t, and controllability, over noise levels."""
    read = {
        name: {"x_t" if site == X else site: points for site, points in sorted(found.items())}
        for name, evidence in runs.items()
        if (found := score_points(evidence, label))
    }
    move = {
        name: points
        for name, evidence in runs.items()
        if (points := controllability_points(evidence, label))
    }
    if not read and not move:
        return []
    metric = next((_metric(runs[name], label) for name in read), "score")
    title = f"{label.replace('_', ' ')}: where in denoising it can be read"
    if move:
        shown = ReadAndMove(read=read, move=move, metric=metric)
        return [Exhibit(title=f"{title}, and where moving h moves it", shown=shown)]
    chance = 0.5 if metric == AUC else 0.0
    axis = f"held-out {metric}"
    shown = Curves(runs=read, axis=axis, null="shuffled labels", chance=chance)
    return [Exhibit(title=title, shown=shown)]


def _defined_on(run: Run, label: str) -> bool:
    """Returns whether a probe is defined for a label's values."""
    known = named_labels(run)
    try:
        if label in known:
            ProbeOptions().check(label, known[label])
    except AnalysisError:
        return False
    return label in known


MEASURE = Measure(
    name="decodability",
    title="what a linear probe reads from h and from x_t",
    parts=parts,
    parameters=(TOGETHER,),
    needs=(LABELS,),
    cells={DECODABILITY: cells},
    definitions={DECODABILITY: 3},  # 2: shuffled labels as a family, groups; 3: intervals of R²
    starts_itself=True,
    by_cell=BY_CELL,
    defined_on=_defined_on,
    questions=(
        Question(
            name=DECODABLE,
            words="decodable from h",
            section=READABLE,
            pages=(shipped_page("decodability"), shipped_page("controllability")),
            exhibits=read_and_move,
        ),
        Question(
            name=IN_X,
            words="decodable from x_t",
            section=READABLE,
            pages=(shipped_page("decodability"),),
            exhibits=read_and_move,
        ),
    ),
)
