"""Moves h. A direction adds its own γ Δh_t to every sample; other moves find each sample's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch

from ..features import Features
from ..models.model import Model
from ..recipes.window import Window
from ..sampling.loop import Moment

if TYPE_CHECKING:
    from ..directions.direction import Mover


class Bindable(Protocol):
    """A move, or one that is bound to its model already."""

    def bind(self, model: Model) -> Mover: ...


class Shift:
    """Moves h, row i of the batch with ``strengths[i]``. Strength 0 changes nothing, bit for bit.

    Under guidance both branches move alike.
    """

    def __init__(
        self, move: Bindable, strengths: Sequence[float], window: Window, model: Model
    ) -> None:
        self.mover = move.bind(model)
        self.strengths = torch.tensor(list(strengths), dtype=torch.float32, device=model.device)
        self.window = window
        self._idle = not bool(self.strengths.any())

    def __call__(self, features: Features, moment: Moment) -> Features:
        weight = self.window.weight(moment.index)
        if self._idle or weight == 0:
            return features
        moved = self.mover(features.h, moment, weight * self.strengths)
        return features.replace(
            {"h": torch.where(self.strengths.view(-1, 1, 1, 1) == 0, features.h, moved)}
        )
