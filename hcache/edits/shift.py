"""Moves h, or the activations at another site. A direction adds its own γ Δh_t to every sample.
Other moves compute a Δh for each sample. The site belongs to the direction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..directions.direction import Move, site_of
from ..directions.pullback import PixelMove
from ..errors import UsageError
from ..features import Features
from ..recipes.edits import Acts, DirectionRef, Number, Pushes, RecipeEdit, Tools, put
from ..recipes.masks import Mask
from ..recipes.widgets import AmountWidget, FlagWidget, MaskWidget, Widget, WindowWidget
from ..recipes.window import Window
from ..specs import is_place

if TYPE_CHECKING:
    import torch

    from ..directions.direction import Mover
    from ..models.model import Model
    from ..models.taps import Passing
    from ..sampling.loop import Moment


class Bindable(Protocol):
    """A move, possibly bound to its model already."""

    @property
    def made_by(self) -> Mapping[str, Any]:
        """How it was made, with its site."""
        ...

    def bind(self, model: Model) -> Mover:
        """Returns what moves h of a model."""
        ...


class ShiftEdit(RecipeEdit, tag="shift", frozen=True, kw_only=True):
    """Moves h, or the direction's own site, by ``strength`` times a direction.

    ``per_step``: the direction gets unit length at every step. ``resample``: a direction that was
    fitted on other steps is interpolated linearly in t.
    """

    title: ClassVar[str] = "Shift by γ"
    help: ClassVar[str] = "h + γ Δh, the same for every sample."
    link: ClassVar[str] = "shift by γ"
    amount: ClassVar[AmountWidget | None] = AmountWidget(
        name="strength",
        key="strength",
        symbol="γ",
        low=-8.0,
        high=8.0,
        default=2.0,
        step=0.5,
        values=(-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0),
        unit=(
            "At strength 1 the root mean square of Δh/σ over all steps, channels and places is 1."
        ),
    )
    widgets: ClassVar[tuple[Widget, ...]] = (
        WindowWidget(),
        MaskWidget(),
        FlagWidget(
            name="per_step",
            label="Unit length at every step",
            help="Off: each step keeps the length that the data give.",
            key="per-step",
            more=True,
            constant=True,
        ),
    )

    direction: DirectionRef
    strength: Number
    per_step: bool = False
    resample: bool = False
    window: Window
    mask: Mask | None = None

    def __post_init__(self) -> None:
        put(self, "strength", float(self.strength))
        if not math.isfinite(self.strength):
            raise UsageError(
                f"the strength of a direction must be a finite number, got {self.strength}"
            )

    def bind(self, tools: Tools) -> Acts:
        """Returns the function that moves h.

        It does nothing if the direction is one in x_t.
        """
        if isinstance(self._move(tools), PixelMove):
            if self.mask is not None:
                raise UsageError("a direction in x_t takes no mask; fit it with a region instead")
            return lambda features, _: features  # it has acted on x_t already
        mover = tools.mover(self.direction, self.resample, self.per_step)
        return Shift(mover, [self.strength], self.window, tools.model)

    def push(self, tools: Tools) -> Pushes | None:
        """Moves x_t itself before one step.

        It does so only if the direction is one in x_t.
        """
        move = self._move(tools)
        return moves_x(move, [self.strength], self.window) if isinstance(move, PixelMove) else None

    def _move(self, tools: Tools) -> Move:
        return tools.move(self.direction, self.resample, self.per_step)


def moves_x(
    move: PixelMove, strengths: Sequence[float], window: Window
) -> tuple[int, Callable[[Any], Any]]:
    """Returns the step at which a direction in x_t acts.

    It also returns the change of x_t there, row by row.
    """
    import torch

    weight = window.weight(move.index)
    weights = torch.tensor([weight * strength for strength in strengths], dtype=torch.float32)
    return move.index, lambda x: move.moved(x, weights)


class Shift:
    """Moves h, or the move's own site, of row i with ``strengths[i]``.

    Strength 0 changes nothing, bit for bit. Under guidance both branches are moved equally.
    """

    def __init__(
        self, move: Bindable, strengths: Sequence[float], window: Window, model: Model
    ) -> None:
        import torch

        self.mover = move.bind(model)
        self.strengths = torch.tensor(list(strengths), dtype=torch.float32, device=model.device)
        self.window, self.site = window, site_of(move)
        self.at_places = {self.site: self._at} if is_place(self.site) else {}
        self._idle = not bool(self.strengths.any())

    def _at(self, moment: Moment) -> Passing | None:
        if self._idle or self.window.weight(moment.index) == 0:
            return None
        return lambda x, rows: self._moved(x, moment, self.strengths[rows])

    def __call__(self, features: Features, moment: Moment) -> Features:
        if self._idle or self.at_places or self.window.weight(moment.index) == 0:
            return features
        moved = self._moved(features[self.site], moment, self.strengths)
        return features.replace({self.site: moved})

    def _moved(self, x: torch.Tensor, moment: Moment, strengths: torch.Tensor) -> torch.Tensor:
        idle = strengths.view(-1, 1, 1, 1) == 0
        moved = self.mover(x, moment, self.window.weight(moment.index) * strengths)
        return x.where(idle, moved)
