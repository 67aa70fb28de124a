"""Measures whether verdicts by texts or clicks agree with the toy reader's verdict.

    python -m hcache.toyfaces.verdicts RUN [--samples 16] [--nulls 19] [--positives 32]

RUN is a run of an embedded model, by its folder or its name in the home. Each way to read fits its
own directions to the samples at both ends of its own readings. All directions are tried on the
same samples, against the same random directions, as in ``measure --what directions``. Every
picture is rendered once and read in all ways. The readers are those of
:mod:`~hcache.toyfaces.read_back`.
"""

from __future__ import annotations

import argparse
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..analysis.controllability import controllability
from ..analysis.estimate import LEVEL
from ..cache.reading import Run, open_run
from ..directions.direction import Direction
from ..directions.supervised import both_ends, difference_direction
from ..errors import AnalysisError
from ..extraction.run import load_model_of
from ..measures.cell import Cell
from ..measures.cells import with_families
from ..measures.declared.directions import CONTROLLABLE
from ..measures.driver import SAMPLES, Driver, TrialGrid
from ..measures.responses import responses, tables_of
from ..measures.setting import STRENGTHS
from ..progress import drive_under_bar, part
from ..readers.clicks import PIXELS, fit_clicks
from ..readers.reader import Reader, digest_of
from ..readers.registry import find_reader
from ..recipes.window import Window
from .clip import FOLDER
from .factors import NAMES
from .read_back import by_texts

TOY, TEXTS = "toy reader", "texts"
CLICKS = {"clicks on pixels": PIXELS, "clicks on toyfaces-clip": str(FOLDER)}
WAYS = (TOY, TEXTS, *CLICKS)
REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer of one way for one factor.

    ``own``: the change of its own reading. ``toy``: the change of the toy reader's reading under
    the same direction. Both are cells of a verdict.
    """

    own: Cell
    toy: Cell

    @property
    def moves(self) -> bool:
        """Whether the direction moves its reading further than random directions do."""
        return moves(self.own)


def moves(cell: Cell) -> bool:
    """Returns whether a direction moves its reading beyond chance.

    It does if p, adjusted for all factors of the way, is at most 0.05.
    """
    return cell.family_p is not None and cell.family_p <= 1 - LEVEL + 1e-12


def readers_by_way(run: Run, positives: int) -> dict[str, dict[str, Reader]]:
    """Returns every way to read, as factor -> reader.

    A factor that a way cannot read is left out.
    """
    toy, texts = find_reader("toyfaces"), by_texts()
    ways = {TOY: dict.fromkeys(NAMES, toy), TEXTS: dict.fromkeys(NAMES, texts)}
    theirs = toy(run.images)
    for way, encoder in CLICKS.items():
        ways[way] = {}
        for name in NAMES:
            picked = np.full(len(run), np.nan)
            picked[np.argsort(theirs[name])[-positives:]] = 1
            try:
                head = fit_clicks(run.images, picked, name, encoder, device="cpu")
            except AnalysisError:
                continue
            ways[way][name] = head.open(f"{name} clicks", "cpu")
    return ways


def read_all(ways: Mapping[str, Mapping[str, Reader]], pictures: np.ndarray) -> dict[str, Any]:
    """Returns all readings of some pictures, as ``WAY/FACTOR`` -> (n,).

    Each reader reads them once.
    """
    found: dict[str, np.ndarray] = {}
    for way, readers in ways.items():
        once = {id(reader): reader for reader in readers.values()}
        read = {key: reader(pictures) for key, reader in once.items()}
        found |= {f"{way}/{name}": read[id(reader)][name] for name, reader in readers.items()}
    return found


def verdicts(
    run: Run,
    samples: int = 16,
    nulls: int = 19,
    positives: int = 32,
    strengths: Sequence[float] = STRENGTHS,
    chosen: Sequence[str] = WAYS,
) -> Generator[float, None, dict[str, dict[str, Answer]]]:
    """Returns what a verdict says, by way and then by factor.

    It yields the share done.

    Args:
        run: A run of an embedded model.
        samples: The number of samples that directions are tried on. Directions are fitted to the
            others.
        nulls: The number of random directions.
        positives: The number of samples that a reader from clicks is fitted to.
        strengths: The strengths of the directions. 0 must be among them.
        chosen: The ways whose directions are tried. The toy reader's are always tried.
    """
    ways = readers_by_way(run, positives)
    key = digest_of({way: [each.digest for each in of.values()] for way, of in ways.items()})
    driver = Driver(
        load_model_of(run, "cpu"), run, lambda pictures: read_all(ways, pictures), f"ways@{key}"
    )
    tried = run.sample_ids[:samples].tolist()
    whole = Window(first=0, last=run.spec.steps - 1)
    grid = TrialGrid(samples=tuple(tried), window=whole, strengths=tuple(strengths))
    shown = [way for way in WAYS if way == TOY or way in chosen]
    readings = read_all({way: ways[way] for way in shown}, run.images)
    moved = _directions(run, readings, tried)
    cells = {}
    for done, (name, move) in enumerate(moved.items()):
        work = _cells(driver, grid, name, move, nulls)
        cells |= yield from part(work, done / len(moved), 1 / len(moved))
    return {way: _answers(cells, way) for way in shown}


def _cells(
    driver: Driver, grid: TrialGrid, name: str, move: Direction, nulls: int
) -> Generator[float, None, dict[tuple[str, str], Cell]]:
    """What the direction of ``WAY/FACTOR`` does to its own reading and to the toy reader's, by
    direction and reading: as the verdict's "moved by its direction".
    """
    randoms = driver.randoms(nulls, SAMPLES, move, grid.samples)
    evidence = yield from part(responses(driver, move, grid), 0.0, 0.0)
    tables = yield from tables_of(driver, [move, *randoms], grid)
    gamma, zero = np.array(grid.strengths), grid.strengths.index(0)
    found = {}
    for reading in dict.fromkeys((name, f"{TOY}/{name.partition('/')[2]}")):
        change = tables[reading] - tables[reading][:, :, [zero]]
        slopes = change @ gamma / np.square(gamma).sum()
        control = controllability(slopes[0], slopes[1:], driver.spreads[reading])
        found[name, reading] = Cell(
            question=CONTROLLABLE,
            subject=name.partition("/")[2],
            estimate=control.change,
            null=control.random,
            p=control.p,
            unit="spreads a unit of strength",
            note="",
            evidence=evidence,
            drawn=control.drawn,
        )
    return found


def _directions(
    run: Run, readings: Mapping[str, np.ndarray], tried: Sequence[int]
) -> dict[str, Direction]:
    """Fits the direction of every reading to samples that are not tried, as ``Setting.ends``."""
    rest = max(2, (len(run) - len(tried)) // 4)
    found = {}
    for name, values in readings.items():
        known = values.astype(np.float64)
        known[[run.position(sample) for sample in tried]] = np.nan
        found[name] = difference_direction(run, *both_ends(run, known, rest))
    return found


def _answers(cells: Mapping[tuple[str, str], Cell], way: str) -> dict[str, Answer]:
    """Returns a way's answer for every factor that it reads. p is adjusted for all of them."""
    factors = [name.partition("/")[2] for name, _ in cells if name.partition("/")[0] == way]
    sides = {}
    for reader in (way, TOY):
        of = {
            (CONTROLLABLE, factor): cells[f"{way}/{factor}", f"{reader}/{factor}"]
            for factor in dict.fromkeys(factors)
        }
        sides[reader] = with_families(of)
    return {
        factor: Answer(own=sides[way][CONTROLLABLE, factor], toy=sides[TOY][CONTROLLABLE, factor])
        for factor in dict.fromkeys(factors)
    }


def table(found: Mapping[str, Mapping[str, Answer]]) -> str:
    """Writes a Markdown table, one row per factor, one column per way.

    A line below the table says how often ways agree.
    """
    lines = ["| factor | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for factor in NAMES:
        cells = [_cell(found[way].get(factor), way) for way in found]
        lines.append(f"| {factor.replace('_', ' ')} | " + " | ".join(cells) + " |")
    for way in list(found)[1:]:
        both = [name for name in NAMES if name in found[way]]
        same = sum(found[way][name].moves == found[TOY][name].moves for name in both)
        lines.append(f"{way}: the same answer for {same} of {len(both)} factors")
    return "\n".join(lines)


def _cell(answer: Answer | None, way: str) -> str:
    """``yes, 0.42 (0.30 to 0.55)``, and what the toy reader sees of the same direction."""
    if answer is None:
        return REFUSED
    said = f"{'yes' if answer.moves else 'no'}, {_short(answer.own)}"
    return said if way == TOY else f"{said}; toy reader {_short(answer.toy)}"


def _short(cell: Cell) -> str:
    found = cell.estimate
    return f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f}), p {cell.family_p:.2g}"


def main(argv: list[str] | None = None) -> None:
    """Runs the command: prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m hcache.toyfaces.verdicts", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument(
        "run", metavar="RUN", help="a run of an embedded model: its folder, or its name in the home"
    )
    parser.add_argument(
        "--samples", type=int, default=16, help="number of samples to edit (default: 16)"
    )
    parser.add_argument(
        "--nulls", type=int, default=19, help="number of random directions (default: 19)"
    )
    parser.add_argument(
        "--positives",
        type=int,
        default=32,
        help="number of positives for readers by clicks (default: 32)",
    )
    parser.add_argument(
        "--strengths",
        type=float,
        nargs="+",
        default=STRENGTHS,
        help="strengths of the edits, 0 included",
    )
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=WAYS, help="ways to read (default: all)"
    )
    args = parser.parse_args(argv)
    run, strengths = open_run(args.run), tuple(args.strengths)
    work = verdicts(run, args.samples, args.nulls, args.positives, strengths, args.ways)
    print(table(drive_under_bar(work, "measuring")))


if __name__ == "__main__":
    main()
