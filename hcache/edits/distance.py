r"""Puts h at a chosen distance along a direction's normal, wherever it was before: an absolute
edit, at one step.

    c ← c + (d - c·n) n,

with c = h/σ, n the unit vector of Δh/σ at that step, and d the distance to be at. A shift adds the
same to every sample; this leaves them all equally far on the positive side, so a sample that is
there already is hardly changed. Distances are counted in the unit of strengths: 1 is √D long in c,
with D values in h, as a direction of strength 1 is at one step.

References:
    Boundary Guided Learning-Free Semantic Control with Diffusion Models (Zhu, Wu, Deng,
    Russakovsky, Yan, 2023), https://arxiv.org/abs/2302.08357
"""

from __future__ import annotations

import numpy as np
import torch

from ..cache.reading import Run
from ..directions.direction import Direction, Move, in_sigmas
from ..errors import AnalysisError
from ..features import Features
from ..sampling.loop import Moment


class ToDistance:
    """Moves h of every row to ``distance`` from ``origin`` along a direction, at ``step`` alone.

    Args:
        direction: Gives n, and σ.
        distance: d, signed; the same for every row.
        origin: Where 0 is, as ``origin_of`` gives it.
        step: The one at which it acts.
        device: Of the model.
    """

    def __init__(
        self,
        direction: Direction,
        distance: float,
        origin: float,
        step: int,
        device: torch.device | str = "cpu",
    ) -> None:
        normal, sigma = normal_at(direction, step)
        self.target, self.step = float(distance) + float(origin), step
        self._normal = torch.from_numpy(normal).to(device)
        self._along = torch.from_numpy(sigma * normal).to(device)
        self._weights = torch.from_numpy(in_sigmas(normal, sigma)).to(device) / normal.size

    def __call__(self, features: Features, moment: Moment) -> Features:
        if moment.index != self.step:
            return features
        h = features.h
        # float64 where there is one: a sum over all of h decides how far every value moves
        wide = torch.float32 if h.device.type == "mps" else torch.float64
        there = (h.to(wide) * self._weights.to(wide)).flatten(1).sum(1)
        missing = (self.target - there).to(torch.float32).view(-1, 1, 1, 1)
        return features.replace({"h": (h + missing * self._along).to(h.dtype)})


def normal_at(direction: Direction, step: int) -> tuple[np.ndarray, np.ndarray]:
    """A direction's vector at a step, in units of σ and with root mean square 1, and σ there: (c,
    h, w) float32 each.

    Raises:
        AnalysisError: it has no length there.
    """
    z = in_sigmas(direction.delta[step], direction.sigma[step]).astype(np.float64)
    length = float(np.sqrt(np.square(z).mean()))
    if not length > 0:
        have = [k for k, size in enumerate(direction.profile) if size > 0]
        raise AnalysisError(
            f"this direction has no length at step {step}; it has at {', '.join(map(str, have))}"
        )
    return (z / length).astype(np.float32), direction.sigma[step].astype(np.float32)


def distances_of(run: Run, direction: Direction, step: int) -> np.ndarray:
    """How far each sample of a run is along a direction at a step, counted from h = 0: (n,)
    float64.
    """
    normal, sigma = normal_at(direction, step)
    weights = in_sigmas(normal, sigma).ravel().astype(np.float64) / normal.size
    return np.concatenate([rows.astype(np.float64) @ weights for rows in run.blocks("h", step)])


def origin_of(run: Run, direction: Direction, step: int) -> float:
    """Where distances of this project's edits are counted from: the middle of a run's samples."""
    return float(distances_of(run, direction, step).mean())


def one_direction(move: Move) -> Direction:
    """The move itself, if it is the same for every sample.

    Raises:
        AnalysisError: it finds each sample's own way, along which there is no common distance.
    """
    if not isinstance(move, Direction):
        raise AnalysisError(
            "a distance is measured along one direction for all samples; a move of kind"
            f" {move.kind} has each its own. Shift along it instead, or choose another direction"
        )
    return move
