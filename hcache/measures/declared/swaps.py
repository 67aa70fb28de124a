"""Swaps: what h and each skip group carry, over all steps and by noise level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...analysis.estimate import Contrast, Estimate
from ...analysis.swaps import SwapEffect, which_carries
from ...cache.reading import Run
from ...cache.records import Record, load_sheet
from ...recipes.window import Window
from ...similarities.registry import SIMILARITIES, similarity_of
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
from ..setting import SIMILARITIES as SIMILARITIES_OPTION
from ..similar import by_aspect, carried_question, further_of

EFFECT, PIXELS = "effect of", "pixels"
FEWEST = 4
OVER_WINDOWS = ("pixels", "structure", "colour")
"""The quantities that are shown by window of steps."""


EVERYWHERE = Parameter(
    name="everywhere",
    text="also swap at the outputs of all blocks and at the mid attention",
    default=False,
)


def refuses(setting: Setting) -> str:
    """Says why swaps cannot be measured; empty if they can.

    Swaps need pairs of samples, and each sample has one role at a time.
    """
    count, known = setting[SAMPLES], len(setting.run)
    if FEWEST <= count <= known:
        return ""
    return f"pairs are {FEWEST} or more, and no more than the {known} samples; got {count}"


def parts(setting: Setting) -> Iterator[Part]:
    """Yields swaps of every site, in all steps and in windows."""
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
    """Returns h and the skip groups. With ``everywhere``, it also returns the other places of the
    U-Net.
    """
    anatomy = setting.run.anatomy
    return anatomy.all_sites if setting[EVERYWHERE] else anatomy.sites


def _swaps(setting: Setting, window: Window, own: bool) -> Work:
    from ..swapping import Pairs, swaps

    pairs = Pairs.draw(setting.run.sample_ids.tolist(), setting[SAMPLES])
    return swaps(setting.driver, pairs, window, _sites(setting), own=own, groups=setting.groups)


def cells(record: Record, run: Run) -> list[Cell]:
    """Answers how much of the donor a site carries over.

    The value is for the picture in pixels, minus the value for another donor's swap. Every
    similarity that was asked for has an answer of its own.
    """
    if not _is_whole(record.parameters["window"], run):
        return []
    made, site = [], record.parameters["site"]
    for quantity, data in record.result["carried"].items():
        read = quantity in record.result["kept"]  # by a reader, whatever its name
        further = None if read else further_of(quantity)
        if quantity != PIXELS and further is None:
            continue
        found: Any = Contrast.from_json(data)
        named = EFFECT if further is None else carried_question(further)
        less = "less what another donor's swap does"
        made.append(
            Cell(
                question=f"{named} {site}",
                subject=PIXELS if further is None else further.name,
                estimate=found.excess,
                null=0.0 if found.excess.defined else None,
                p=found.p,
                unit=f"of the distance to the donor{f' by {quantity}' if further else ''}",
                note=less if further is None else f"{less}. {further.rewards}",
                evidence=record,
            )
        )
    return made


def _is_whole(window: Mapping[str, Any], run: Run) -> bool:
    """Returns whether a stored window covers all of a run's steps."""
    return window["first"] == 0 and window["last"] == run.spec.steps - 1


def _records(evidence: Evidence) -> dict[str, Record]:
    """Returns by site the swap in all steps with the most pairs."""
    found: dict[str, Record] = {}
    for record in evidence.of_kind(SWAP):
        site = record.parameters["site"]
        better = site not in found or _size(record) > _size(found[site])
        if _is_whole(record.parameters["window"], evidence.run) and better:
            found[site] = record
    return {site: found[site] for site in evidence.run.anatomy.all_sites if site in found}


def _size(record: Record) -> tuple[int, int]:
    """Returns the size of a result: its numbers of pairs and of quantities."""
    return record.result["pairs"], len(record.result["carried"])


def effects_of(evidence: Evidence) -> dict[str, SwapEffect]:
    """Returns by site the effect of swapping it in all steps."""
    return {site: SwapEffect.from_json(each.result) for site, each in _records(evidence).items()}


def _points(evidence: Evidence, site: str, quantity: str) -> list[Point]:
    """Returns how much more of a quantity a site carries than another donor's swap, by window of
    steps.
    """
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

    There is one row per site. The result is None if nothing is known.
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
    """Returns pairs, one per row, with the resulting pictures."""
    record = _records(evidence).get(site)
    sheet = None if record is None else load_sheet(evidence.run, SWAP, record.parameters)
    columns = ("B", "A", f"B with A's {site}", "with another's", "with noise")
    if sheet is None or sheet.shape[1] != len(columns):
        return None
    title = f"{site} of A put into B, in all steps"
    return PictureSheet(title=title, columns=columns, pictures=sheet)


def _bars(effect: SwapEffect) -> dict[str, Bar]:
    """Returns what a swap carries of every defined quantity, beside another donor's swap."""
    return {
        name: Bar(measured=found.measured, null=found.null)
        for name, found in effect.carried.items()
        if found.measured.defined
    }


def exhibits(site: str, runs: Runs) -> list[Exhibit]:
    """Shows what a swap of a site carries over, with pictures."""
    effects = {
        name: found[site] for name, each in runs.items() if site in (found := effects_of(each))
    }
    if not effects:
        return []
    tables = {name: table for name, each in runs.items() if (table := carriers(each)) is not None}
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
    made += [
        Exhibit(title=f"{name}: which group carries what", shown=table, run=name)
        for name, table in tables.items()
    ]
    sheets = {name: sheet for name, each in runs.items() if (sheet := _sheet(each, site))}
    return made + [
        Exhibit(title=f"{name}: {sheet.title}", shown=sheet, run=name)
        for name, sheet in sheets.items()
    ]


def carriers(evidence: Evidence) -> CarriersTable | None:
    """Returns which site carries what, over all steps."""
    effects = effects_of(evidence)
    rows = which_carries(effects)
    read = {name for each in effects.values() for name in each.kept}
    known = {row.quantity: row for row in rows}
    order = {name: aspect for aspect, names in by_aspect(known, read).items() for name in names}
    return CarriersTable(rows=tuple(known[name] for name in order), aspects=order) if rows else None


def group_map(evidence: Evidence) -> HeatMap | None:
    """Maps what h and every skip group carry.

    Quantities are grouped by what they see. Rows are quantities, in the order structure, style,
    colour, identity, further ones; columns are sites. p is multiplied by the number of sites. The
    result is None if no swap was measured.
    """
    table = carriers(evidence)
    if table is None:
        return None
    sites = list(table.rows[0].sites)
    cells = [[row.sites[site] for site in sites] for row in table.rows]
    return HeatMap(
        rows=tuple(
            f"{table.aspects[row.quantity]}: {_in_words(row.quantity)}" for row in table.rows
        ),
        columns=tuple(sites),
        estimates=[[each.excess for each in row] for row in cells],
        null=[[0.0 if each.excess.defined else None for each in row] for row in cells],
        p=[
            [None if each.p is None else min(1.0, each.p * len(sites)) for each in row]
            for row in cells
        ],
        x="swapped site",
        y="what is carried over from the donor",
    )


def _in_words(quantity: str) -> str:
    """Returns a quantity's name in tables: ``SSIM``, ``Gram ab12cd``, ``smile``."""
    found = similarity_of(quantity)
    said = found.title if found is not None and found.begins == quantity else quantity
    return said.replace("_", " ") if found is None else said


def _further_questions() -> Iterator[Question]:
    """Yields the questions of the similarities that are measured on request."""
    for each in SIMILARITIES.values():
        if not (each.always or each.directed):
            yield Question(
                name=carried_question(each),
                subject=each.name,
                of=SITE,
                words=f"carried by {each.title}",
                section=CARRIED,
                pages=(shipped_page("similarities"),),
                exhibits=exhibits,
                asked_for=True,
            )


MEASURE = Measure(
    name="swaps",
    title="what h and each skip group carry",
    parts=parts,
    needs=(MODEL,),
    parameters=(SAMPLES, EVERYWHERE, SIMILARITIES_OPTION, TOGETHER),
    refuses=refuses,
    cells={SWAP: cells},
    definitions={SWAP: 2},  # 2: nulls of as many unseen donors, what is not defined said
    summaries=(
        Summary(
            title="Which group carries what",
            text=(
                "What a swap in all steps carries over from the donor, minus what another donor"
                " gives, in structure, style, colour and identity. Bold: significant, with p times"
                " the number of sites at most 0.05. The last column names the largest; “=” where"
                " no order is known."
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
        *_further_questions(),
    ),
)
