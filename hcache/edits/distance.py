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

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..cache.reading import Run
from ..directions.direction import Direction, Move, check_shape, in_sigmas, site_of
from ..errors import AnalysisError, UsageError
from ..features import Features
from ..recipes.edits import Acts, DirectionRef, Number, RecipeEdit, Tools, Whole, put
from ..recipes.masks import Mask
from ..recipes.widgets import AmountWidget, MaskWidget, StepWidget, Widget
from ..specs import is_place

if TYPE_CHECKING:
    import torch

    from ..models.taps import Passing
    from ..sampling.loop import Moment


class DistanceEdit(RecipeEdit, tag="distance", frozen=True, kw_only=True):
    """Puts h at a signed ``distance`` along a direction.

    h stands for the direction's own site.

    It acts at one ``step``, and the result does not depend on the distance before the edit.
    ``origin`` is the position of distance 0, measured from h = 0. It is stored, so that the picture
    stays the same when the run grows. Both are in the unit of strengths. ``resample`` has the same
    meaning as for a shift.

    The distances of the strip were measured on toyfaces-ddpm-64 (four samples, the boundary of yaw,
    t = 499). In asymmetric edits, pictures stay intact up to 4. At 8, a pair of glasses is lost,
    and skin and hair change. From 12 on there is noise. The edit reaches its effect at 1 to 2. In
    symmetric edits, the later steps undo it: pictures are intact at 16, and the attribute changes
    by less than a tenth of a spread. The samples themselves lie within 0.35 of the middle.
    """

    title: ClassVar[str] = "Move to distance d"
    help: ClassVar[str] = (
        "c + (d - c·n) n with c = h/σ, at one step. It moves every sample to the same distance"
        " along the direction (Zhu et al. 2023, Boundary Guided Learning-Free Semantic Control with"
        " Diffusion Models). Distance 0 is the mean of the run's samples."
    )
    link: ClassVar[str] = "put at distance d"
    amount: ClassVar[AmountWidget | None] = AmountWidget(
        name="distance",
        key="distance",
        symbol="d",
        low=-4.0,
        high=4.0,
        default=1.0,
        step=0.5,
        values=(-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0),
        unit=(
            "Distance 1 is as long as strength 1 at one step. It is measured from the mean of the"
            " run's samples. Every sample is moved to that distance, so distance 0 is not the"
            " unedited picture."
        ),
    )
    widgets: ClassVar[tuple[Widget, ...]] = (
        StepWidget(
            name="step",
            label="Step",
            help="Step 0 has the most noise. The paper uses t = 500.",
            key="distance-step",
            t=500.0,
        ),
        MaskWidget(),
    )
    constant: ClassVar[bool] = True

    direction: DirectionRef
    distance: Number
    origin: Number = 0.0
    step: Whole
    resample: bool = False
    mask: Mask | None = None

    def __post_init__(self) -> None:
        for name in ("distance", "origin"):
            put(self, name, float(getattr(self, name)))
            if not math.isfinite(getattr(self, name)):
                raise UsageError(
                    f"the {name} of an edit must be a finite number, got {getattr(self, name)}"
                )
        if self.step < 0:
            raise UsageError(f"the step of an edit is counted from 0, got {self.step}")

    def bind(self, tools: Tools) -> Acts:
        """Returns the function that moves h to the distance, at its step."""
        direction = one_direction(tools.move(self.direction, self.resample))
        check_shape(direction.delta.shape[1:], tools.model, site_of(direction))
        return ToDistance(direction, self.distance, self.origin, self.step, tools.model.device)

    @classmethod
    def prepared(cls, run: Run, move: Any, choices: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the position of distance 0: the middle of the run's samples."""
        return {"origin": origin_of(run, one_direction(move), choices["step"])}


class ToDistance:
    """Moves h of every row to a distance along a direction.

    The result is at ``distance`` from ``origin``. It acts only at ``step``.

    Args:
        direction: The direction, which defines n and σ.
        distance: d, signed. It is the same for every row.
        origin: The position of 0, from ``origin_of``.
        step: The step at which it acts.
        device: The model's device.
    """

    def __init__(
        self,
        direction: Direction,
        distance: float,
        origin: float,
        step: int,
        device: torch.device | str = "cpu",
    ) -> None:
        import torch

        normal, sigma = normal_at(direction, step)
        self.target, self.step = float(distance) + float(origin), step
        self._normal = torch.from_numpy(normal).to(device)
        self._along = torch.from_numpy(sigma * normal).to(device)
        self._weights = torch.from_numpy(in_sigmas(normal, sigma)).to(device) / normal.size
        self.site = site_of(direction)
        self.at_places = {self.site: self._at} if is_place(self.site) else {}

    def _at(self, moment: Moment) -> Passing | None:
        return (lambda x, _: self._placed(x)) if moment.index == self.step else None

    def __call__(self, features: Features, moment: Moment) -> Features:
        if moment.index != self.step or self.at_places:
            return features
        return features.replace({self.site: self._placed(features[self.site])})

    def _placed(self, h: torch.Tensor) -> torch.Tensor:
        import torch

        # float64 if available: a sum over all of h decides how far every value moves
        wide = torch.float32 if h.device.type == "mps" else torch.float64
        there = (h.to(wide) * self._weights.to(wide)).flatten(1).sum(1)
        missing = (self.target - there).to(torch.float32).view(-1, 1, 1, 1)
        return (h + missing * self._along).to(h.dtype)


def normal_at(direction: Direction, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a direction's vector at a step, and σ there.

    The vector is in units of σ and has root mean square 1. Both are (c, h, w) float32.

    Raises:
        AnalysisError: the direction has no length at this step.
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
    """Returns the distance of each sample along a direction.

    The distances are those of a run at a step, measured from h = 0: (n,) float64.
    """
    normal, sigma = normal_at(direction, step)
    weights = in_sigmas(normal, sigma).ravel().astype(np.float64) / normal.size
    blocks = run.blocks(site_of(direction), step)
    return np.concatenate([rows.astype(np.float64) @ weights for rows in blocks])


def origin_of(run: Run, direction: Direction, step: int) -> float:
    """Returns the origin of distances: the middle of a run's samples."""
    return float(distances_of(run, direction, step).mean())


def one_direction(move: Move) -> Direction:
    """Returns the move itself, if it is the same for every sample.

    Raises:
        AnalysisError: it moves each sample in its own direction, so there is no common distance.
    """
    if not isinstance(move, Direction):
        raise AnalysisError(
            "a distance is measured along one direction for all samples; a move of kind"
            f" {move.kind} differs from sample to sample. Shift along it instead, or choose"
            " another direction"
        )
    return move
