"""Makes the pictures of a figure from its description. Directions are fitted, cells are rendered,
and stored cells are reused. The functions are generators that yield the share that is done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..analysis.swaps import STRUCTURE
from ..cache.layout import H, run_folder
from ..cache.reading import Run, open_run
from ..directions.direction import Move, digest_of
from ..directions.fitting import METHODS, MODEL, Fit, fit, is_quick
from ..directions.store import list_moves, load_move
from ..edits.render_store import render_kept
from ..edits.rendered import Rendered
from ..edits.shift import ShiftEdit
from ..edits.swap import SwapEdit
from ..errors import AnalysisError
from ..progress import part
from ..readers.likeness import apart, samples_apart
from ..readers.reading import reader_of, readers_of
from ..recipes.donor_runs import check_donor
from ..recipes.edits import DirectionRef, DonorRef
from ..recipes.recipe import Recipe, recipe_of
from .captions import grid_caption, strip_caption, swap_caption
from .choices import SAVED, Choice, Grid, Strip, Swaps, fit_of, name_of
from .table import PictureRow, Table
from .ufigure import Swapped

if TYPE_CHECKING:
    from ..edits.batches import Renders
    from ..models.model import Model


Key = tuple[str, str, int, str]
"""A direction of a figure: the way, the label, the number of positives, the site.

Another direction may have the same key later, if a label or a saved direction has changed.
"""


class Moves(Protocol):
    """Fitted directions, each by the JSON of its :class:`~hcache.directions.fitting.Fit`."""

    def get(self, key: str, /) -> Move | None:
        """Returns a direction, or None if it was not fitted yet."""

    def __setitem__(self, key: str, move: Move, /) -> None:
        """Keeps a direction."""


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Makes figures of a run, and fits and renders what they need.

    It has the run, a function that loads its model when it is needed, and the directions that were
    fitted so far. ``renders`` computes the pictures of this run; None means this process.
    """

    run: Run
    load: Callable[[], Model]
    fitted: Moves = field(default_factory=dict)
    renders: Renders | None = None

    def make(self, choice: Choice) -> Generator[float, None, Swapped | Table]:
        """Returns the pictures of any of the three figures, and their caption."""
        if isinstance(choice, Swaps):
            self.run.anatomy.need_unet("a U-figure")
            return (yield from self._swaps(choice))
        if isinstance(choice, Strip):
            return (yield from self._strip(choice))
        return (yield from self._grid(choice))

    def _swaps(self, choice: Swaps) -> Generator[float, None, Swapped]:
        run, sites = self.run, self.run.anatomy.sites
        owner = run
        if choice.donor_run not in ("", run.name):
            owner = open_run(run_folder(run.home, choice.donor_run))
            check_donor(owner, run)
        donor = DonorRef(run=owner.name, sample=choice.donor)
        edits = [
            SwapEdit(sites=(site,), donor=donor, alpha=choice.alpha, window=choice.window)
            for site in sites
        ]
        recipes = [recipe_of(run, choice.recipient)] + [
            recipe_of(run, choice.recipient, [edit]) for edit in edits
        ]
        (a,) = yield from part(
            self._rendered([recipe_of(owner, choice.donor)], {}, owner), 0.0, 0.05
        )
        b, *cells = yield from part(self._rendered(recipes, {}), 0.05, 0.95)
        names = (f"sample {choice.donor}", f"sample {choice.recipient}")
        return Swapped(
            anatomy=run.anatomy,
            donor=a,
            recipient=b,
            cells=dict(zip(sites, cells, strict=True)),
            names=names,
            caption=swap_caption(run, choice),
        )

    def _strip(self, choice: Strip) -> Generator[float, None, Table]:
        keys = {way: (way, choice.label, choice.top, choice.site) for way in choice.ways}
        moves = yield from self._moves(list(keys.values()))
        recipes = [
            self._recipe(choice.sample, way, moves[key], strength, choice)
            for way, key in keys.items()
            for strength in choice.strengths
        ]
        cells = yield from part(self._rendered(recipes, moves), 0.5, 0.5)
        read, n = self._readings(cells, choice.label), len(choice.strengths)
        below = f"the reading of {name_of(choice.label)}" if read else ""
        if not read:
            read, below = self._kept(cells, choice.sample)
        rows = [
            PictureRow(
                label=name_of(way),
                cells=tuple(cells[i * n : (i + 1) * n]),
                notes=tuple(read[i * n : (i + 1) * n]),
            )
            for i, way in enumerate(choice.ways)
        ]
        return Table(
            title=f"Sample {choice.sample} edited along {name_of(choice.label) or 'directions'}",
            rows=tuple(rows),
            columns=tuple(f"{strength:g}" for strength in choice.strengths),
            corner="strength γ",
            caption=strip_caption(self.run, choice, below),
        )

    def _grid(self, choice: Grid) -> Generator[float, None, Table]:
        saved = choice.attributes[0].startswith(SAVED)
        ways = ("",) if saved else choice.ways
        wanted = {
            (w, a): (a, "", 0, H) if saved else (w, a, choice.top, choice.site)
            for w in ways
            for a in choice.attributes
        }
        moves = yield from self._moves(list(wanted.values()))
        recipes = []
        for sample in choice.samples:
            for way in ways:
                recipes.append(recipe_of(self.run, sample))
                for attribute in choice.attributes:
                    key = wanted[way, attribute]
                    recipes.append(
                        self._recipe(sample, key[0], moves[key], choice.strength, choice, key[1])
                    )
        cells = yield from part(self._rendered(recipes, moves), 0.5, 0.5)
        n = 1 + len(choice.attributes)
        rows = [
            PictureRow(
                group=f"sample {sample}",
                label=name_of(way),
                cells=tuple(cells[(i * len(ways) + k) * n : (i * len(ways) + k + 1) * n]),
            )
            for i, sample in enumerate(choice.samples)
            for k, way in enumerate(ways)
        ]
        columns = ("untouched", *map(name_of, choice.attributes))
        return Table(
            title="Samples edited along several attributes",
            rows=tuple(rows),
            columns=columns,
            caption=grid_caption(self.run, choice),
        )

    def _recipe(
        self,
        sample: int,
        way: str,
        move: Move,
        strength: float,
        choice: Strip | Grid,
        label: str = "",
    ) -> Recipe:
        """Returns the recipe of a cell. Strength 0 is the unedited sample."""
        if not strength:
            return recipe_of(self.run, sample)
        label = label or getattr(choice, "label", "")
        name = (
            way.removeprefix(SAVED)
            if way.startswith(SAVED)
            else " ".join(filter(None, (label, way)))
        )
        ref = DirectionRef(digest=digest_of(move), name=name, made_by=move.made_by)
        other = bool(move.timesteps) and tuple(move.timesteps) != tuple(
            map(float, self.run.timesteps)
        )
        shift = ShiftEdit(direction=ref, strength=strength, window=choice.window, resample=other)
        return recipe_of(self.run, sample, [shift], asymmetric=choice.asymmetric)

    def _rendered(
        self, recipes: Sequence[Recipe], moves: Mapping[Any, Move], run: Run | None = None
    ) -> Generator[float, None, list[Rendered]]:
        run = run or self.run
        known = {digest_of(move): move for move in moves.values()}
        place = self.renders if run is self.run else None
        return (yield from render_kept(self.load, run, recipes, run.home, known, place))

    def _moves(self, keys: Sequence[Key]) -> Generator[float, None, dict[Key, Move]]:
        """Returns the directions by their keys: saved, fitted before, or fitted now.

        Fits count as at most half of the work, and quick fits as hardly anything.
        """
        found: dict[Key, Move] = {}
        todo: dict[Key, Fit | None] = {}
        for key in dict.fromkeys(keys):
            what = None if key[0].startswith(SAVED) else fit_of(self.run, *key)
            if what is not None and (known := self.fitted.get(_frozen(what))) is not None:
                found[key] = known
            else:
                todo[key] = what
        slow = sum(not _is_quick(key[0]) for key in todo)
        done = 0.0
        for key, what in todo.items():
            length = 0.01 / len(todo) if _is_quick(key[0]) else 0.48 / slow
            found[key] = yield from part(self._move(key, what), done, length)
            done += length
        return {key: found[key] for key in keys}

    def _move(self, key: Key, what: Fit | None) -> Generator[float, None, Move]:
        """Returns a saved direction as it is now, or the result of a fit."""
        way, label, *_ = key
        if what is None:
            yield 0.0
            return load_move(self.run, way.removeprefix(SAVED))
        self.fitted[_frozen(what)] = move = yield from self._fitted(what, way, label)
        return move

    def _fitted(self, what: Fit, way: str, label: str) -> Generator[float, None, Move]:
        for entry in list_moves(self.run):
            if entry.made_by == what.to_json():
                return load_move(self.run, entry.name)
        try:
            found = yield from fit(
                what, self.run, self.load() if MODEL in METHODS[way].needs else None
            )
        except AnalysisError as error:
            raise AnalysisError(
                f"{name_of(way)}{f' for {label}' if label else ''}: {error}"
            ) from error
        return found[0]

    def _kept(self, cells: Iterable[Rendered], sample: int) -> tuple[list[str], str]:
        """Returns SSIM of each cell with the unedited sample, and its description, for labels
        without a reader. It returns nothing if the pictures are too small.
        """
        pictures = np.stack([cell.picture for cell in cells])
        found = apart(pictures, self.run.images[self.run.position(sample)], {})
        others = samples_apart(self.run, {})
        if STRUCTURE not in found or STRUCTURE not in others:
            return [], ""
        said = (
            "SSIM with the unedited sample (two different samples of the run:"
            f" {1 - others[STRUCTURE]:.2f})"
        )
        return [f"{1 - value:.2f}".replace("-", "−") for value in found[STRUCTURE]], said

    def _readings(self, cells: Iterable[Rendered], label: str) -> list[str]:
        """Returns a reader's values of a label in each cell, or nothing if no reader reads the
        label.
        """
        set_name, _, name = label.rpartition("/")
        names = [set_name] if set_name else readers_of(self.run)
        for reader_name in names if label else ():
            if reader_name in readers_of(self.run) and name in self.run.labels.get(reader_name, {}):
                reader = reader_of(self.run, reader_name)
                read = reader(np.stack([cell.picture for cell in cells])) if reader else {}
                return [f"{value:.2f}".replace("-", "−") for value in read.get(name, [])]
        return []


def _frozen(what: Fit) -> str:
    return json.dumps(what.to_json(), sort_keys=True)


def _is_quick(way: str) -> bool:
    """Returns whether a way to edit takes almost no time."""
    return way.startswith(SAVED) or is_quick(way)
