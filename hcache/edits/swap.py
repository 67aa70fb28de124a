"""Puts a donor's activations in the place of the recipient's: b + α (a - b) at chosen sites and
steps.

Replacing one skip group at a time shows which of them carries what; "Training-Free Style and
Content Transfer by Leveraging U-Net Skip Connections in Stable Diffusion" (Schaerf, Alfarano,
Silvestri, Impett, 2025, https://arxiv.org/abs/2501.14524) does so with single members.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..errors import UsageError
from ..features import Features
from ..recipes.window import Window
from ..sampling.loop import Moment

Donor = Callable[[Moment], Features]
"""Step and guidance branch -> the donor's features there, one row."""


class Swap:
    """Blends a donor's tensors into every row of the batch.

    Args:
        members: What to take from the donor: ``h``, ``skip.2.0``, ...
        donor: Gives the donor's features at a step, in a branch of guidance: both branches are
            swapped.
        alpha: 1 replaces, 0 changes nothing, bit for bit.
        window: The steps in which it acts, and the share of alpha in each.
    """

    def __init__(self, members: Sequence[str], donor: Donor, alpha: float, window: Window) -> None:
        if not 0 <= alpha <= 1:
            raise UsageError(f"blend strength must lie in [0, 1], got {alpha}")
        self.members, self.donor, self.alpha, self.window = tuple(members), donor, alpha, window

    def __call__(self, features: Features, moment: Moment) -> Features:
        alpha = self.alpha * self.window.weight(moment.index)
        if alpha == 0:
            return features
        given = self.donor(moment)
        return features.replace(
            {member: _blend(given[member], features[member], alpha) for member in self.members}
        )


def _blend(a: torch.Tensor, b: torch.Tensor, alpha: float) -> torch.Tensor:
    a = a.to(b).expand_as(b)
    return a if alpha == 1 else b + alpha * (a - b)
