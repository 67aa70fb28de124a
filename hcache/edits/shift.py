"""Moves h along a direction: h + γ Δh_t."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..directions.direction import Direction
from ..features import Features
from ..sampling.loop import Moment
from .window import Window


class Shift:
    """Adds a direction to h, row i of the batch with ``strengths[i]``. Strength 0 changes nothing, bit for bit.

    Under guidance both branches move alike.
    """

    def __init__(self, direction: Direction, strengths: Sequence[float], window: Window, device: torch.device) -> None:
        self.delta = torch.from_numpy(np.ascontiguousarray(direction.delta)).to(device)
        self.strengths = torch.tensor(list(strengths), dtype=torch.float32, device=device)
        self.window = window
        self._idle = not bool(self.strengths.any())

    def __call__(self, features: Features, moment: Moment) -> Features:
        if self._idle or moment.index not in self.window:
            return features
        shift = self.strengths.view(-1, 1, 1, 1) * self.delta[moment.index]
        return features.replace({"h": features.h + shift.to(features.h.dtype)})
