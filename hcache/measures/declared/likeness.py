"""Likeness: how much of a picture an edit keeps, without reading any attribute."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...analysis.estimate import Contrast, Estimate
from ...analysis.swaps import STRUCTURE
from ...cache.reading import Run
from ...cache.records import Record
from ...similarities.registry import SIMILARITIES
from ...similarities.similarity import Similarity
from ...specs import FULL
from ..cell import Cell
from ..evidence import Evidence
from ..exhibits import Bar, Bars, Exhibit
from ..kinds import LIKENESS
from ..measure import (
    DISENTANGLED,
    MODEL,
    WHOLE,
    Measure,
    Part,
    Question,
    Runs,
    Work,
    later,
    shipped_page,
)
from ..of_reader import is_of
from ..setting import NULL, NULLS, SAMPLES, TOGETHER, Setting
from ..setting import SIMILARITIES as SIMILARITIES_OPTION
from ..similar import further_of, question_of

if TYPE_CHECKING:
    from ...directions.direction import Move

KEEPS, IDENTITY = "likeness", "identity"
KEEPS_FREE, IDENTITY_FREE = "likeness along a component", "identity along a component"
ALONG = " along a component"
COMPONENT = "component 1"
COMPONENTS = 3
"""The number of principal components of h to try if no label gives a direction. Otherwise one is
tried.
"""

EMBEDDING = "embedding"
"""The prefix of the names of image encoders' distances."""


def refuses(setting: Setting) -> str:
    """Says why nothing can be moved. The text is empty if moves are possible."""
    run = setting.run
    if run.spec.store.get("h") != FULL:
        return "directions in h need a run that stores h in full: extract with --store h=full"
    left = len(run) - len(setting.tried)
    if len(setting.tried) < 2 or left < 4:
        return (
            f"edits are tried on 2 samples or more and fitted to 4 others; of {len(run)} samples"
            f" {len(setting.tried)} are tried"
        )
    return ""


def parts(setting: Setting) -> Iterator[Part]:
    """Yields the directions whose likeness is to be measured.

    These are the direction of every label, and the first component of h. If no label has a
    direction, there are more components.
    """
    count = 1 if setting.movable else COMPONENTS
    names = [*setting.movable, *(f"component {k + 1}" for k in range(count))]
    alone = float(len(setting.tried) * (len(setting.strengths) - 1))
    for number, name in enumerate(names):
        beside = setting[NULLS] if number == 0 and not setting.readable else 0
        rendered = name in setting.readable  # measured by "directions", with the random ones
        yield Part(
            title=f"likeness along {name}",
            passes=0.0 if rendered else alone * (1 + beside),
            work=later(lambda name=name: _likeness(setting, name)),
        )


def _likeness(setting: Setting, name: str) -> Work:
    from ..edit_likeness import likeness_of

    move, grid = (yield from _move(setting, name)), setting.grid()
    work = likeness_of(
        setting.driver,
        move,
        grid,
        name=name,
        nulls=setting[NULLS],
        null=setting[NULL],
        groups=setting.groups,
    )
    return (yield from work)


def _move(setting: Setting, name: str) -> Generator[float, None, Move]:
    """Returns the direction of a label, or a component of h."""
    if name in setting.movable:
        return setting.movable[name]()
    from ...directions.pca import pca_directions
    from ...progress import part

    found = yield from part(pca_directions(setting.run, COMPONENTS), 0.0, 0.0)
    return found[int(name.rpartition(" ")[2]) - 1]


def cells(record: Record, run: Run) -> list[Cell]:
    """Answers how similar an edited picture is to the unedited one.

    The answers are SSIM, and the cosine of the pictures' embeddings if there is an encoder.
    """
    name, strength = record.parameters["name"], record.result["strength"]
    if name.startswith("component") and name != COMPONENT:
        return []
    found = _contrasts(record)
    asked = (KEEPS_FREE, IDENTITY_FREE) if name == COMPONENT else (KEEPS, IDENTITY)
    made = []
    for quantity, contrast in found.items():
        further = further_of(quantity)
        if further is not None and further.directed and not _towards(quantity, name):
            continue
        if further is not None:
            made.append(_further(further, quantity, contrast, record))
            continue
        if quantity == STRUCTURE:
            question, unit = asked[0], "SSIM with the unedited picture"
        elif quantity.startswith(EMBEDDING):
            question, unit = asked[1], f"cosine with the unedited picture's {quantity}"
        else:
            continue
        made.append(
            Cell(
                question=question,
                subject=name,
                estimate=_kept(contrast.measured),
                null=1 - contrast.null.value if contrast.null.defined else None,
                p=contrast.p,
                unit=f"{unit}, at strength {strength:g}",
                note=_others(found),
                evidence=record,
            )
        )
    if not any(cell.question == asked[1] for cell in made):
        made.append(_without_encoder(asked[1], name, record))
    return made


def _towards(quantity: str, name: str) -> bool:
    """Returns whether a directed quantity uses the texts of a direction's own label."""
    return quantity.partition(" ")[2].rpartition(" ")[0] == name


def _further(similarity: Similarity, quantity: str, contrast: Contrast, record: Record) -> Cell:
    """Returns the answer by a requested similarity: its own value, not 1 - distance."""
    name, strength = record.parameters["name"], record.result["strength"]
    of = "towards the texts (1), or away (-1)" if similarity.directed else "from the unedited one"
    question = question_of(similarity)
    return Cell(
        question=f"{question}{ALONG}" if name == COMPONENT else question,
        subject=name,
        estimate=contrast.measured,
        null=contrast.null.value if contrast.null.defined else None,
        p=contrast.p,
        unit=f"{quantity}, {of}, at strength {strength:g}",
        note=similarity.rewards,
        evidence=record,
    )


def _without_encoder(question: str, name: str, record: Record) -> Cell:
    """Returns the answer without an encoder: undefined, with advice."""
    why = (
        "there was no image encoder; read the run by texts, or give `--encoder MODEL` to `python"
        " -m hcache measure`"
    )
    return Cell(
        question=question,
        subject=name,
        estimate=Estimate.undefined(why, len(record.parameters["grid"]["samples"])),
        null=None,
        p=None,
        unit="cosine with the unedited picture's embedding",
        note="",
        evidence=record,
    )


def _kept(distance: Estimate) -> Estimate:
    """Returns 1 - a distance."""
    return Estimate(
        value=1 - distance.value, low=1 - distance.high, high=1 - distance.low, n=distance.n
    )


def _others(found: Mapping[str, Contrast]) -> str:
    """Returns the distances that have no question of their own: ``pixels 0.081 (random
    0.064), …``.
    """
    return ", ".join(
        f"{name} {each.measured.value:.3f}"
        + (f" (random {each.null.value:.3f})" if each.null.defined else "")
        for name, each in found.items()
        if name != STRUCTURE and not name.startswith(EMBEDDING) and further_of(name) is None
    )


def _contrasts(record: Record) -> dict[str, Contrast]:
    return {name: Contrast.from_json(each) for name, each in record.result["changed"].items()}


def _bars(evidence: Evidence, name: str) -> dict[str, Bar]:
    """Returns how far a label's direction moves pictures, in every distance. For components, all
    are returned.
    """
    wanted = [f"component {k + 1}" for k in range(COMPONENTS)] if name == COMPONENT else [name]
    found = {}
    for each in wanted:
        records = [r for r in evidence.of_kind(LIKENESS) if is_of(r, each)]
        record = max(records, key=lambda r: (r.samples, len(r.result["changed"])), default=None)
        for quantity, contrast in ({} if record is None else _contrasts(record)).items():
            label = f"{each}, {quantity}" if len(wanted) > 1 else quantity
            null = contrast.null if contrast.null.defined else None
            found[label] = Bar(measured=contrast.measured, null=null)
    return found


def exhibits(name: str, runs: Runs) -> list[Exhibit]:
    """Shows all distances between edited and unedited pictures, beside random directions."""
    name = name or COMPONENT
    found = {run: bars for run, each in runs.items() if (bars := _bars(each, name))}
    if not found:
        return []
    shown = Bars(
        runs=found,
        axis="distance from the unedited picture (0: the same)",
        null="random directions of the same length",
    )
    title = f"How far the direction of {name.replace('_', ' ')} moves pictures"
    return [Exhibit(title=title, shown=shown)]


def _question(name: str, words: str, of: str | None = None, further: bool = False) -> Question:
    kind: dict[str, Any] = {} if of is None else {"of": of, "subject": COMPONENT}
    return Question(
        name=name,
        words=words,
        section=DISENTANGLED,
        pages=(shipped_page("similarities" if further else "likeness"),),
        exhibits=exhibits,
        asked_for=further,
        **kind,
    )


def _further_questions() -> Iterator[Question]:
    """Yields the questions of the similarities that are measured on request."""
    for each in SIMILARITIES.values():
        if not each.always:
            words = f"edit changes {each.title}" if not each.directed else f"edit by {each.title}"
            yield _question(question_of(each), words, further=True)
            if not each.directed:
                along = words.replace("edit", "edit along a component", 1)
                yield _question(f"{question_of(each)}{ALONG}", along, WHOLE, further=True)


MEASURE = Measure(
    name="likeness",
    title="how much of the picture each edit keeps; needs no reader",
    parts=parts,
    needs=(MODEL,),
    parameters=(SAMPLES, NULLS, NULL, SIMILARITIES_OPTION, TOGETHER),
    refuses=refuses,
    cells={LIKENESS: cells},
    questions=(
        _question(KEEPS, "edit keeps the structure"),
        _question(IDENTITY, "edit keeps the identity"),
        _question(KEEPS_FREE, "edit along a component keeps the structure", WHOLE),
        _question(IDENTITY_FREE, "edit along a component keeps the identity", WHOLE),
        *_further_questions(),
    ),
)
