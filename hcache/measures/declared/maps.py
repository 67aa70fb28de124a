"""Maps: samples on a plane by t-SNE or UMAP, without labels, and how well the maps keep
neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...analysis.estimate import Estimate
from ...analysis.maps import FEWEST, TSNE, WAYS, check_way
from ...cache.layout import H
from ...cache.reading import Run
from ...cache.records import Record
from ...errors import HcacheError, UsageError
from ..cell import Cell
from ..costs import map_seconds
from ..exhibits import Bar, Bars, Exhibit
from ..kinds import MAP
from ..maps import make_map, together, too_many
from ..measure import WHOLE, Measure, Part, Question, Runs, later, shipped_page
from ..noise import middle_step
from ..parameter import Parameter
from ..setting import Setting

MAPPED = "mapped"
NAMES = {"tsne": "t-SNE", "umap": "UMAP", "pca": "two components of PCA"}
MIDDLE, ALL = "middle", "all"
USUAL = 15
"""The number of neighbours of a map, if there are enough samples."""

SITE = Parameter(name="map_site", text="the site of a map", default=H)
BY = Parameter(name="map_by", text="how a map is made", default=TSNE, choices=WAYS)
AT = Parameter(
    name="map_step",
    text=f"the step of a map: a number, {MIDDLE} (equal signal and noise), or {ALL} together",
    default=MIDDLE,
)
NEIGHBOURS = Parameter(
    name="neighbours",
    text=(
        "number of neighbours for making a map (t-SNE: perplexity) and for judging it; 0: 15, or"
        " half of the samples if that is less"
    ),
    default=0,
    least=0,
    most=1000,
)


def step_of(run: Run, text: str) -> int | None:
    """Returns the step that the parameter names, or None for all together.

    Raises:
        UsageError: the run has no such step.
    """
    if text == ALL:
        return None
    if text == MIDDLE:
        return middle_step(run, range(run.spec.steps))
    if not (text.isascii() and text.isdecimal() and int(text) < run.spec.steps):
        raise UsageError(
            f"map_step is a step from 0 to {run.spec.steps - 1}, {MIDDLE} or {ALL}; got"
            f" {text[:60]!r}"
        )
    return int(text)


def neighbours_of(run: Run, chosen: int) -> int:
    """Returns the number of neighbours for a choice; 0 means automatic.

    The automatic number follows from the number of samples.
    """
    return chosen or min(USUAL, max(2, (len(run) - 1) // 2))


def refuses(setting: Setting) -> str:
    """Says why a map cannot be made. The text is empty if it can.

    A map takes a stored site, its package, and more than twice as many samples as neighbours.
    """
    run, site = setting.run, setting[SITE]
    neighbours = neighbours_of(run, setting[NEIGHBOURS])
    try:
        if len(run) < FEWEST:
            return f"a map takes {FEWEST} samples or more, got {len(run)}"
        if site not in run.stored_sites:
            return f"{run.name} does not store {site[:60]}; it has {', '.join(run.stored_sites)}"
        check_way(setting[BY])
        steps = len(together(run)) if step_of(run, setting[AT]) is None else 1
    except HcacheError as error:
        return str(error)
    places = len(run) * steps
    if not neighbours < places / 2:
        most = (places - 1) // 2
        return f"a map of {places} places takes {most} --neighbours at most, got {neighbours}"
    return too_many(run, steps)


def parts(setting: Setting) -> Iterator[Part]:
    """Yields one map."""
    run, site, way = setting.run, setting[SITE], setting[BY]
    step, neighbours = step_of(run, setting[AT]), neighbours_of(run, setting[NEIGHBOURS])
    where = "all steps" if step is None else f"step {step}"
    yield Part(
        title=f"{NAMES[way]} of {site} at {where}",
        work=later(lambda: make_map(run, site, way, step, neighbours)),
        seconds=map_seconds(run, site, way, len(together(run)) if step is None else 1),
    )


def cells(record: Record, run: Run) -> list[Cell]:
    """Answers how many of the nearest neighbours in h a map keeps."""
    given, kept = record.parameters, record.result["map"]["kept"]
    if given["site"] != H:
        return []
    where = "all steps" if given["together"] else f"step {given['steps'][0]}"
    return [
        Cell(
            question=MAPPED,
            subject=H,
            estimate=Estimate.from_json(kept["estimate"]),
            null=kept["null"],
            p=kept["p"],
            unit=f"of the {given['neighbours']} nearest neighbours",
            note=f"{NAMES[given['way']]}, {where}",
            evidence=record,
        )
    ]


def bars_of(records: Mapping[str, Record], quantity: str, axis: str) -> Bars:
    """Returns ``trustworthiness`` or ``kept`` of some maps by name. The values of PCA are
    included.
    """
    runs: dict[str, dict[str, Bar]] = {}
    for name, record in records.items():
        given = record.parameters
        where = "all steps" if given["together"] else f"step {given['steps'][0]}"
        for key, way in (("map", given["way"]), ("pca", "pca")):
            label = f"{NAMES[way]} of {given['site']}, {where}"
            runs.setdefault(name, {})[label] = _bar(record.result[key][quantity])
    return Bars(runs=runs, axis=axis, null="places at random")


def _bar(kept: Mapping[str, Any]) -> Bar:
    null = Estimate.from_json(
        kept["estimate"] | dict.fromkeys(("value", "low", "high"), kept["null"])
    )
    return Bar(measured=Estimate.from_json(kept["estimate"]), null=null)


def _exhibits(_: str, runs: Runs) -> list[Exhibit]:
    """Shows how faithful the latest map of every run is."""
    found = {name: list(each.of_kind(MAP)) for name, each in runs.items()}
    last = {name: records[-1] for name, records in found.items() if records}
    if not last:
        return []
    quantities = {
        "kept": "share of nearest neighbours kept",
        "trustworthiness": "trustworthiness (1: every neighbour on the map is a neighbour in h)",
    }
    return [
        Exhibit(title=f"Maps: {axis}", shown=bars_of(last, quantity, axis))
        for quantity, axis in quantities.items()
    ]


MEASURE = Measure(
    name="maps",
    title="a map of the samples without labels (t-SNE, UMAP), and how far you can trust it",
    parts=parts,
    parameters=(SITE, BY, AT, NEIGHBOURS),
    refuses=refuses,
    cells={MAP: cells},
    questions=(
        Question(
            name=MAPPED,
            subject=H,
            of=WHOLE,
            words="a map keeps neighbours in h",
            section="Alike",
            pages=(shipped_page("maps"),),
            exhibits=_exhibits,
            asked_for=True,
        ),
    ),
)
