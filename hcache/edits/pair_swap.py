"""Replaces a site's tensors by those of donors, row by row, or adds noise of the same size.

The activations of donors come from ``encode`` of their cached x_t, once per step for a whole batch
of pairs. Norm-matched noise is normal. In every tensor of every pair it is scaled to the norm of
A - B.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from ..cache.reading import Run
from ..features import Features
from ..models.model import Model
from ..models.taps import Passing
from ..recipes.window import Window
from ..sampling.conditions import conditions_of
from ..sampling.loop import Moment
from ..specs import is_place
from .cached import cached_x


class PairSwap:
    """Replaces tensors of one site, row i by ``donors[i]``.

    Instead, it can add noise with the norm of the difference.

    Args:
        model: The run's model.
        run: The run of recipients and donors.
        site: The site, or a place of the U-Net.
        donors: The donor of each row.
        window: The steps of the swap.
        noise: The seed of the noise. None means the donors' tensors.
    """

    def __init__(
        self,
        model: Model,
        run: Run,
        site: str,
        donors: Sequence[int],
        window: Window,
        noise: int | None = None,
    ) -> None:
        self.model, self.run = model, run
        self.donors, self.window, self.noise = list(donors), window, noise
        members = model.anatomy.members(site)
        self.places = tuple(member for member in members if is_place(member))
        self.members = tuple(member for member in members if not is_place(member))
        self.at_places = {place: partial(self._at, place) for place in self.places}

    def _at(self, place: str, moment: Moment) -> Passing | None:
        if moment.index not in self.window:
            return None
        given = self.donated(moment)[place]

        def change(x: torch.Tensor, rows: slice) -> torch.Tensor:
            a = given[rows].to(x)
            if self.noise is None:
                return a
            return x + self._noise_like(a - x, moment.index, 0, self.donors[rows])

        return change

    def __call__(self, features: Features, moment: Moment) -> Features:
        if moment.index not in self.window or not self.members:
            return features
        given = self.donated(moment)
        changes = {}
        for number, member in enumerate(self.members):
            a, b = given[member].to(features[member]), features[member]
            changes[member] = (
                a
                if self.noise is None
                else b + self._noise_like(a - b, moment.index, number, self.donors)
            )
        return features.replace(changes)

    def donated(self, moment: Moment) -> Features:
        """Returns the donors' features at a step, in a branch of guidance."""
        model, run = self.model, self.run
        guided = conditions_of(model, run, self.donors).at(moment.index)
        x = torch.cat([cached_x(model, run, sample, moment.index) for sample in self.donors])
        condition = guided.branches[moment.branch]
        if self.places:
            return model.trace(x, moment.t, condition, self.places)[0]
        return model.encode(x, moment.t, condition)

    def _noise_like(
        self, difference: torch.Tensor, index: int, number: int, donors: Sequence[int]
    ) -> torch.Tensor:
        """Returns normal noise, every row with the norm of the difference. It is the same in all
        branches of guidance.
        """
        rows = []
        for sample, row in zip(donors, difference, strict=True):
            rng = np.random.default_rng([self.noise, sample, index, number])
            noise = torch.from_numpy(rng.standard_normal(tuple(row.shape), np.float32)).to(row)
            rows.append(noise * (row.norm() / noise.norm()))
        return torch.stack(rows)
