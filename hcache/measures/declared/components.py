"""PCA: how few directions make up h, beside h whose features are unrelated."""

from __future__ import annotations

from collections.abc import Iterator

from ...analysis.estimate import Estimate
from ...cache.layout import H
from ...cache.reading import Run
from ...cache.records import Record
from ...errors import HcacheError
from ..cell import Cell
from ..components import KEPT, make_components
from ..costs import components_seconds
from ..evidence import Evidence
from ..exhibits import Curves, Exhibit, Point
from ..kinds import COMPONENTS
from ..measure import WHOLE, Measure, Part, Question, Runs, later, shipped_page
from ..parameter import Parameter
from ..setting import Setting

CONCENTRATED, FEWEST = "concentrated", 4

SITE = Parameter(name="pca_site", text="the site whose components are measured", default=H)
FIRST = Parameter(
    name="pca_components",
    text="number of principal components whose variance is measured",
    default=3,
    least=1,
    most=KEPT,
)
SHUFFLES = Parameter(
    name="feature_shuffles",
    text="number of shuffles of every feature over samples, for the null of PCA",
    default=19,
    least=1,
    most=10**3,
    sizes={"quick": 9, "thorough": 99},
)


def refuses(setting: Setting) -> str:
    """Says why components cannot be measured; empty if they can."""
    run, site = setting.run, setting[SITE]
    try:
        stored = run.stored_sites
    except HcacheError as error:
        return str(error)
    if site not in stored:
        return f"{run.name} does not store {site[:60]}; it has {', '.join(stored)}"
    fewest = max(FEWEST, setting[FIRST] + 2)
    if len(run) < fewest:
        return f"{setting[FIRST]} components take {fewest} samples or more, got {len(run)}"
    return ""


def parts(setting: Setting) -> Iterator[Part]:
    """Yields the components of a site at all steps."""
    run, site, first, shuffles = (setting.run, *(setting[each] for each in (SITE, FIRST, SHUFFLES)))
    yield Part(
        title=f"principal components of {site}",
        work=later(lambda: make_components(run, site, first, shuffles)),
        seconds=components_seconds(run, site, shuffles),
    )


def cells(record: Record, _: Run) -> list[Cell]:
    """Answers how much of h its first components make up.

    The answer is of the step of equal signal and noise.
    """
    given, found = record.parameters, record.result
    if given["site"] != H:
        return []
    row = found["steps"].index(found["middle"])
    if found["share"][row] is None:
        return []
    above = found["above"][row]
    more = " or more" if above == len(found["explained"][row]) else ""
    stand = "component stands" if above == 1 and not more else "components stand"
    return [
        Cell(
            question=CONCENTRATED,
            subject=H,
            estimate=Estimate.from_json(found["share"][row]),
            null=found["null"][row],
            p=found["p"],
            unit=f"of the variance in the first {given['first']} components",
            note=f"step {found['middle']}; {above}{more} {stand} above shuffled features",
            evidence=record,
        )
    ]


def shares_of(record: Record, evidence: Evidence) -> dict[str, list[Point]]:
    """Returns the share of variance by noise level, with its null."""
    found, given = record.result, record.parameters
    points = [
        Point(at=evidence.level(step), estimate=Estimate.from_json(share), null=null)
        for step, share, null in zip(found["steps"], found["share"], found["null"], strict=True)
        if share is not None
    ]
    return {f"first {given['first']} components of {given['site']}": points}


def counts_of(record: Record, evidence: Evidence) -> dict[str, list[Point]]:
    """Returns how many components stand above their null, by noise level."""
    found, n = record.result, record.samples
    points = [
        Point(at=evidence.level(step), estimate=Estimate(value=above, low=above, high=above, n=n))
        for step, above in zip(found["steps"], found["above"], strict=True)
        if above is not None
    ]
    return {f"components of {record.parameters['site']}": points}


def _exhibits(_: str, runs: Runs) -> list[Exhibit]:
    """Shows the latest components of every run, over the noise levels."""
    found = {name: list(each.of_kind(COMPONENTS)) for name, each in runs.items()}
    last = {name: records[-1] for name, records in found.items() if records}
    if not last:
        return []
    shares = {name: shares_of(record, runs[name]) for name, record in last.items()}
    counts = {name: counts_of(record, runs[name]) for name, record in last.items()}
    return [
        Exhibit(
            title="Variance in the first principal components",
            shown=Curves(runs=shares, axis="share of variance", null="shuffled features"),
        ),
        Exhibit(
            title="Components above shuffled features",
            shown=Curves(runs=counts, axis=f"number, {KEPT} at most", null=""),
        ),
    ]


MEASURE = Measure(
    name="components",
    title="how few principal components make up a site, beside shuffled features",
    parts=parts,
    parameters=(SITE, FIRST, SHUFFLES),
    refuses=refuses,
    cells={COMPONENTS: cells},
    questions=(
        Question(
            name=CONCENTRATED,
            subject=H,
            of=WHOLE,
            words="a few directions make up h",
            section="Alike",
            pages=(shipped_page("components"),),
            exhibits=_exhibits,
        ),
    ),
)
