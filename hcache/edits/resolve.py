"""From edits as data to edits that act: donors are found, directions recalled, once for all rows
that share them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..cache.reading import Run
from ..directions.direction import Move
from ..directions.pullback import PixelMove
from ..errors import UsageError
from ..models.model import Model
from ..recipes.edits import FeatureEdit
from ..recipes.recipe import (
    AnyEdit,
    DistanceEdit,
    DonorRef,
    FreeUEdit,
    Recipe,
    ShiftEdit,
    SlerpEdit,
)
from ..sampling.loop import Edit, Nudge
from .compose import Chain, Masked
from .distance import ToDistance, one_direction
from .donors import find_donor
from .recipe_directions import fitted_to, recall_move
from .shift import Shift
from .slerp import Slerp
from .swap import Donor, Swap

if TYPE_CHECKING:
    from ..directions.direction import Mover


class Binder:
    """Makes the edits of one run act.

    Args:
        model: The run's model.
        run: The recipients' run.
        home: Where other runs lie.
        moves: Directions by digest that need not be looked up.
    """

    def __init__(self, model: Model, run: Run, home: Path, moves: Mapping[str, Move]) -> None:
        self.model, self.run, self.home, self.moves = model, run, home, dict(moves)
        self._donors: dict[DonorRef, Donor] = {}
        self._movers: dict[tuple[str, bool, bool], _Bound] = {}

    def __call__(self, edits: Sequence[AnyEdit]) -> Edit:
        """Several edits as one; FreeU, which is the network's, is left out."""
        bound = [self._masked(edit) for edit in edits if not isinstance(edit, FreeUEdit)]
        return bound[0] if len(bound) == 1 else Chain(bound)

    def nudge(self, recipes: Sequence[Recipe]) -> Nudge | None:
        """What a batch's edits do to x_t itself, row by row; None if nothing."""
        moved: dict[int, list[tuple[int, PixelMove, float]]] = {}
        for row, recipe in enumerate(recipes):
            for edit in recipe.edits:
                if isinstance(edit, ShiftEdit) and isinstance(move := self._move(edit), PixelMove):
                    weight = edit.window.weight(move.index)
                    moved.setdefault(move.index, []).append((row, move, weight * edit.strength))
        if not moved:
            return None

        def nudge(x: torch.Tensor, index: int) -> torch.Tensor:
            if index not in moved:
                return x
            nudged = x.clone()  # which keeps its layout in memory, on which rounding depends
            for row, move, strength in moved[index]:
                nudged[row : row + 1] = move.moved(nudged[row : row + 1], torch.tensor([strength]))
            return nudged

        return nudge

    def _masked(self, edit: FeatureEdit) -> Edit:
        if isinstance(edit, ShiftEdit) and isinstance(self._move(edit), PixelMove):
            if edit.mask is not None:
                raise UsageError("a direction in x_t takes no mask; fit it with a region instead")
            return lambda features, _: features  # it has acted on x_t already
        bound = self._bind(edit)
        return bound if edit.mask is None else Masked(bound, edit.mask)

    def _bind(self, edit: FeatureEdit) -> Edit:
        if isinstance(edit, DistanceEdit):
            direction = one_direction(self._move(edit))
            return ToDistance(direction, edit.distance, edit.origin, edit.step, self.model.device)
        if isinstance(edit, ShiftEdit):
            return Shift(self._mover(edit), [edit.strength], edit.window, self.model)
        donor = self._donor(edit.donor)
        if isinstance(edit, SlerpEdit):
            return Slerp(donor, edit.gamma, edit.window)
        members = dict.fromkeys(
            member for site in edit.sites for member in self.model.anatomy.members(site)
        )
        return Swap(list(members), donor, edit.alpha, edit.window)

    def _donor(self, ref: DonorRef) -> Donor:
        if ref not in self._donors:
            self._donors[ref] = find_donor(ref, self.run, self.model, self.home)
        return self._donors[ref]

    def _mover(self, edit: ShiftEdit) -> _Bound:
        key = (edit.direction.digest, edit.per_step, edit.resample)
        if key not in self._movers:
            self._movers[key] = _Bound(self._move(edit).bind(self.model))
        return self._movers[key]

    def _move(self, edit: ShiftEdit | DistanceEdit) -> Move:
        digest = edit.direction.digest
        if digest not in self.moves:
            self.moves[digest] = recall_move(edit.direction, self.run, self.model, self.home)
        return fitted_to(self.moves[digest], edit, self.run)


class _Bound:
    """A move that is bound already."""

    def __init__(self, mover: Mover) -> None:
        self.mover = mover

    def bind(self, model: Model) -> Mover:
        return self.mover
