"""Puts a donor's activations in the place of the recipient's: b + α (a - b) at chosen sites and steps.

Replacing one skip group at a time shows which of them carries what; "Training-Free Style and Content Transfer by
Leveraging U-Net Skip Connections in Stable Diffusion" (Schaerf, Alfarano, Silvestri, Impett, 2025,
https://arxiv.org/abs/2501.14524) does so with single members.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..errors import UsageError
from ..features import Features
from ..sampling.loop import Edit, Moment
from .window import Window

Donor = Callable[[Moment], Features]
"""Step and guidance branch -> the donor's features there, one row."""


class Swap:
    """Blends a donor's tensors into every row of the batch.

    Args:
        members: What to take from the donor: ``h``, ``skip.2.0``, ...
        donor: Gives the donor's features at a step, in a branch of guidance: both branches are swapped.
        alpha: 1 replaces, 0 changes nothing, bit for bit.
        window: The steps in which it acts.
    """

    def __init__(self, members: Sequence[str], donor: Donor, alpha: float, window: Window) -> None:
        if not 0 <= alpha <= 1:
            raise UsageError(f"blend strength must lie in [0, 1], got {alpha}")
        self.members, self.donor, self.alpha, self.window = tuple(members), donor, alpha, window

    def __call__(self, features: Features, moment: Moment) -> Features:
        if self.alpha == 0 or moment.index not in self.window:
            return features
        given = self.donor(moment)
        return features.replace({member: self._blend(given[member], features[member]) for member in self.members})

    def _blend(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        a = a.to(b).expand_as(b)
        return a if self.alpha == 1 else b + self.alpha * (a - b)


class PerRow:
    """A different edit for every row of the batch, so that a whole figure is one pass through the loop."""

    def __init__(self, edits: Sequence[Edit]) -> None:
        self.edits = tuple(edits)

    def __call__(self, features: Features, moment: Moment) -> Features:
        if len(features.h) != len(self.edits):
            raise UsageError(f"{len(self.edits)} edits were given for {len(features.h)} samples; give one a sample")
        rows = [features.rows(i, i + 1) for i in range(len(self.edits))]
        edited = [edit(row, moment) for edit, row in zip(self.edits, rows, strict=True)]
        if all(after is before for after, before in zip(edited, rows, strict=True)):
            return features
        return Features.join(edited, torch.cat)
