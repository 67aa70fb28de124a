"""Swaps: what h and each skip group carry, over all steps and by noise level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...analysis.estimate import Contrast, Estimate
from ...analysis.swaps import SwapEffect, which_carries
from ...cache.reading import Run
from ...cache.records import Record, load_sheet
from ...recipes.window import Window
from ..cell import Cell
from ..evidence import Evidence
from ..exhibits import (
    Bar,
    Bars,
    CarriersTable,
    Curves,
    Exhibit,
    HeatMap,
    HeatMaps,
    PictureSheet,
    Point,
)
from ..kinds import SWAP
from ..measure import (
    CARRIED,
    MODEL,
    SITE,
    Measure,
    Part,
    Question,
    Runs,
    Summary,
    Work,
    later,
    shipped_page,
)
from ..noise import COARSE_EDGES, level_of, windows_of
from ..parameter import Parameter
from ..setting import SAMPLES, TOGETHER, Setting

EFFECT, PIXELS = "effect of", "pixels"
FEWEST = 4
OVER_WINDOWS = ("pixels", "structure", "colour")
"""The quantities that are shown by window of steps."""


EVERYWHERE = Parameter(
    name="everywhere",
    text="swap at the outputs of all blocks and at the mid attention, too",
    default=False,
)


def refuses(setting: Setting) -> str:
    """Why swaps cannot be measured; empty if they can.

    They take pairs of samples, each of which has one part at a time.
    """
    count, known = setting[SAMPLES], len(setting.run)
    if FEWEST <= count <= known:
        return ""
    return f"pairs are {FEWEST} or more, and no more than the {known} samples; got {count}"


def parts(setting: Setting) -> Iterator[Part]:
    """Swaps of every site in all steps, and in windows of steps."""
    each = 1.5 * setting[SAMPLES] * len(_sites(setting))
    whole = setting.whole
    yield Part(title="swaps", passes=4 * each, work=later(lambda: _swaps(setting, whole, own=True)))
    for window in windows_of(setting.run, COARSE_EDGES):
        yield Part(
            title=f"swaps in steps {window.first} to {window.last}",
            passes=3 * each * setting.share(window),
            work=later(lambda window=window: _swaps(setting, window, own=False)),
        )


def _sites(setting: Setting) -> tuple[str, ...]:
    """h and the skip groups; with ``everywhere`` the other places of the U-Net, too."""
    anatomy = setting.run.anatomy
    return anatomy.all_sites if setting[EVERYWHERE] else anatomy.sites


def _swaps(setting: Setting, window: Window, own: bool) -> Work:
    from ..swapping import Pairs, swaps

    pairs = Pairs.draw(setting.run.sample_ids.tolist(), setting[SAMPLES])
    return swaps(setting.driver, pairs, window, _sites(setting), own=own, groups=setting.groups)


def cells(record: Record, run: Run) -> list[Cell]:
    """How much of the donor a site carries over.

    Into the picture, in pixels.

    What the swap of another donor does is subtracted.
    """
    if not _is_whole(record.parameters["window"], run):
        return []
    found: Any = Contrast.from_json(record.result["carried"]["pixels"])
    return [
        Cell(
            question=f"{EFFECT} {record.parameters['site']}",
            subject=PIXELS,
            estimate=found.excess,
            null=0.0,
            p=found.p,
            unit="of the distance to the donor",
            note="less what another donor's swap does",
            evidence=record,
        )
    ]


def _is_whole(window: Mapping[str, Any], run: Run) -> bool:
    """Whether a window, as it is stored, is all of a run's steps."""
    return window["first"] == 0 and window["last"] == run.spec.steps - 1


def _records(evidence: Evidence) -> dict[str, Record]:
    """By site: the swap in all steps that is of most pairs."""
    found: dict[str, Record] = {}
    for record in evidence.of_kind(SWAP):
        site = record.parameters["site"]
        better = site not in found or _size(record) > _size(found[site])
        if _is_whole(record.parameters["window"], evidence.run) and better:
            found[site] = record
    return {site: found[site] for site in evidence.run.anatomy.all_sites if site in found}


def _size(record: Record) -> tuple[int, int]:
    """How much a result says: of how many pairs, and of how many quantities."""
    return record.result["pairs"], len(record.result["carried"])


def effects_of(evidence: Evidence) -> dict[str, SwapEffect]:
    """By site: the effect of swapping it in all steps."""
    return {site: SwapEffect.from_json(each.result) for site, each in _records(evidence).items()}


def _points(evidence: Evidence, site: str, quantity: str) -> list[Point]:
    """What a site carries of a quantity beyond another donor, by window of steps."""
    found = []
    for record in evidence.of_kind(SWAP):
        window = record.parameters["window"]
        if record.parameters["site"] == site and not _is_whole(window, evidence.run):
            contrast = Contrast.from_json(record.result["carried"][quantity])
            at = level_of(evidence.run, Window(**window))
            if contrast.excess.defined:
                found.append(Point(at=at, estimate=contrast.excess, null=0.0, p=contrast.p))
    return sorted(found, key=lambda point: point.at)


def swap_map(evidence: Evidence) -> HeatMap | None:
    """Maps what every site carries over of each quantity.

    There is one row a site. It is None where nothing is known.
    """
    effects = effects_of(evidence)
    if not effects:
        return None
    places = evidence.run.anatomy.places
    order = [place for place in places if not place.startswith("up.")]
    order += [*evidence.run.anatomy.sites, *(each for each in places if each.startswith("up."))]
    rows = [site for site in order if site in effects]
    columns = list(dict.fromkeys(name for site in rows for name in effects[site].carried))
    cells = [[effects[site].carried.get(name) for name in columns] for site in rows]
    nothing = Estimate.undefined("it was not measured", 0)
    return HeatMap(
        rows=tuple(rows),
        columns=tuple(name.replace("_", " ") for name in columns),
        estimates=[[nothing if each is None else each.excess for each in row] for row in cells],
        null=[[0.0] * len(columns) for _ in rows],
        p=[[None if each is None else each.p for each in row] for row in cells],
        x="what is carried over from the donor",
        y="swapped site",
    )


def _sheet(evidence: Evidence, site: str) -> PictureSheet | None:
    """Pairs, a row each, with what was made of them."""
    record = _records(evidence).get(site)
    sheet = None if record is None else load_sheet(evidence.run, SWAP, record.parameters)
    columns = ("B", "A", f"B with A's {site}", "with another's", "with noise")
    if sheet is None or sheet.shape[1] != len(columns):
        return None
    title = f"{site} of A put into B, in all steps"
    return PictureSheet(title=title, columns=columns, pictures=sheet)


def _bars(effect: SwapEffect) -> dict[str, Bar]:
    """What a swap carries of every quantity, beside another donor's; those that are defined."""
    return {
        name: Bar(measured=found.measured, null=found.null)
        for name, found in effect.carried.items()
        if found.measured.defined
    }


def exhibits(site: str, runs: Runs) -> list[Exhibit]:
    """What a swap of a site carries over, with pictures."""
    effects = {
        name: found[site] for name, each in runs.items() if site in (found := effects_of(each))
    }
    if not effects:
        return []
    bars = Bars(
        runs={name: _bars(effect) for name, effect in effects.items()},
        axis="carried over from A (0: none, 1: all)",
        null="another donor",
    )
    made = [Exhibit(title=f"What a swap of {site} carries over, all steps", shown=bars)]
    windows = {
        name: {quantity: _points(each, site, quantity) for quantity in OVER_WINDOWS}
        for name, each in runs.items()
        if _points(each, site, PIXELS)
    }
    if windows:
        title = (
            f"What it carries when {site} is swapped in one window of steps, beyond another donor's"
        )
        curves = Curves(runs=windows, axis="carried, less another's", null="none")
        made.append(Exhibit(title=title, shown=curves))
    maps = {name: found for name, each in runs.items() if (found := swap_map(each)) is not None}
    if maps:
        shown = HeatMaps(panels=maps, scale="carried", chance="another donor")
        made.append(
            Exhibit(title="What every site carries over, beyond another donor", shown=shown)
        )
    sheets = {name: sheet for name, each in runs.items() if (sheet := _sheet(each, site))}
    return made + [
        Exhibit(title=f"{name}: {sheet.title}", shown=sheet, run=name)
        for name, sheet in sheets.items()
    ]


def carriers(evidence: Evidence) -> CarriersTable | None:
    """Which site carries what, over all steps."""
    rows = which_carries(effects_of(evidence))
    return CarriersTable(rows=rows) if rows else None


MEASURE = Measure(
    name="swaps",
    title="what h and each skip group carry",
    parts=parts,
    needs=(MODEL,),
    parameters=(SAMPLES, EVERYWHERE, TOGETHER),
    refuses=refuses,
    cells={SWAP: cells},
    definitions={SWAP: 2},  # 2: nulls of as many unseen donors, what is not defined said
    summaries=(
        Summary(
            title="Which group carries what",
            text=(
                "What a swap in all steps carries over from the donor, minus what another donor"
                " gives. Bold: significant, with p times the number of sites at most 0.05. The last"
                " column names the largest; “=” where no order is known."
            ),
            missing="Swaps were not measured.",
            of=carriers,
        ),
    ),
    questions=(
        Question(
            name=EFFECT,
            subject=PIXELS,
            of=SITE,
            words="effect of a swap",
            section=CARRIED,
            pages=(shipped_page("swaps"),),
            exhibits=exhibits,
        ),
    ),
)
