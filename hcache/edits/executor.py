"""The executor of edits, which strips, figures, measures and the page's preview all use.

It finds what edits need (directions, donors) once for all rows that share it, turns the edits into
functions, and takes samples of a run through the sampling loop from their cached x_t.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..cache.reading import Run
from ..directions.direction import Move
from ..directions.pullback import PixelMove
from ..errors import UsageError
from ..features import Features
from ..models.model import Model
from ..recipes.edits import DirectionRef, DonorRef, Pushes, RecipeEdit
from ..recipes.window import Window
from ..sampling.calibration import Calibrate, Calibration
from ..sampling.conditions import conditions_of
from ..sampling.loop import Edit, Moment, Nudge, Step, denoise, predict
from .cached import cached_branches, cached_x, find_donor, stacked
from .compose import Chain, Masked, PerRow, acts_at
from .recipe_directions import fitted_to, recall_move
from .shift import Shift, moves_x
from .swap import Donor

if TYPE_CHECKING:
    from ..directions.direction import Mover


@dataclass(frozen=True, kw_only=True)
class Change:
    """The change of a batch.

    It is an edit of the batch's features, a change of its x_t, or both. ``calibrate`` is
    InjectFusion's calibration of the edit.
    """

    edit: Edit | None = None
    nudge: Nudge | None = None
    calibrate: Calibrate | None = None


@dataclass(frozen=True, kw_only=True)
class Start:
    """A sample at a step, before any edit.

    ``features``: by branch of guidance; none for a transformer. ``x_t``: (1, c, h, w).
    ``predicted``: the picture of the predicted x_0, (height, width, 3) uint8.
    """

    sample: int
    step: int
    features: Mapping[str, Features]
    x_t: torch.Tensor
    predicted: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Starts:
    """Several samples at a step, before any edit.

    ``features``: by branch of guidance. ``x_t``: (n, c, h, w).
    """

    samples: tuple[int, ...]
    step: int
    features: Mapping[str, Features]
    x_t: torch.Tensor


class Executor:
    """Carries out edits on samples of one run.

    Args:
        model: The run's model.
        run: The recipients' run.
        home: The home of other runs. Default: the run's own home.
        moves: Directions by digest that are already loaded.
    """

    def __init__(
        self,
        model: Model,
        run: Run,
        home: Path | None = None,
        moves: Mapping[str, Move] | None = None,
    ) -> None:
        self.model, self.run = model, run
        self.home = run.home if home is None else home
        self.moves = dict(moves or {})
        self._donors: dict[tuple[DonorRef, tuple[str, ...]], Donor] = {}
        self._movers: dict[tuple[str, bool, bool], BoundMove] = {}
        self._starts: Starts | None = None

    def donor(self, ref: DonorRef, places: tuple[str, ...] = ()) -> Donor:
        """Returns a donor's features by moment.

        ``places`` names other places of the U-Net whose features are also returned.
        """
        key = (ref, places)
        if key not in self._donors:
            self._donors[key] = find_donor(ref, self.run, self.model, self.home, places)
        return self._donors[key]

    def move(self, ref: DirectionRef, resample: bool = False, per_step: bool = False) -> Move:
        """Returns a direction, saved or fitted again, on the run's steps."""
        if ref.digest not in self.moves:
            self.moves[ref.digest] = recall_move(ref, self.run, self.model, self.home)
        return fitted_to(self.moves[ref.digest], ref, self.run, resample, per_step)

    def mover(self, ref: DirectionRef, resample: bool = False, per_step: bool = False) -> BoundMove:
        """Returns a direction that is bound to the model once."""
        key = (ref.digest, per_step, resample)
        if key not in self._movers:
            move = self.move(ref, resample, per_step)
            self._movers[key] = BoundMove(move.bind(self.model), move.made_by)
        return self._movers[key]

    def bind(self, edits: Sequence[RecipeEdit]) -> Edit:
        """Returns several edits of one sample as one function.

        Edits of the network are left out.
        """
        bound = [self._masked(edit) for edit in edits if not edit.network]
        return bound[0] if len(bound) == 1 else Chain(bound)

    def change(self, rows: Sequence[Sequence[RecipeEdit]]) -> Change:
        """Returns the change of a batch by edits, row by row."""
        edit = PerRow([self.bind(edits) for edits in rows])
        acts = acts_at(edit) or not self.model.anatomy.without
        return Change(
            edit=edit if acts else None,
            nudge=self._nudge(rows),
            calibrate=_calibrate(rows, self.run.timesteps),
        )

    def moved(self, move: Move, strengths: Sequence[float], window: Window) -> Change:
        """Returns the change that moves a batch along a direction.

        It acts in h or in x_t, and moves row i with ``strengths[i]``.

        Raises:
            UsageError: a direction in x_t has its step outside the window.
        """
        if not isinstance(move, PixelMove):
            return Change(edit=Shift(move, strengths, window, self.model))
        if move.index not in window:
            raise UsageError(
                f"this direction moves x_t before step {move.index}, which is not among the steps"
                f" {window.first} to {window.last}; choose a window with it"
            )
        step, push = moves_x(move, strengths, window)
        return Change(nudge=lambda x, index: push(x) if index == step else x)

    def steps(
        self,
        samples: Sequence[int],
        change: Change,
        first: int,
        *,
        asymmetric: bool = False,
        t_boost: float | None = None,
        network: Sequence[RecipeEdit] = (),
    ) -> Iterator[Step]:
        """Takes samples through the loop under a change.

        They start from their cached x_t of step ``first``.

        Args:
            samples: The sample of each row.
            change: The change of the batch.
            first: The first step to take.
            asymmetric: The edited prediction enters P_t only.
            t_boost: Steps with t below it are taken with eta 1.
            network: Edits of the network.
        """
        run, spec, model = self.run, self.run.spec, self.model
        for edit in network:
            model = edit.change_model(model)
        boosted = [t_boost is not None and t < t_boost for t in run.timesteps]
        return denoise(
            model,
            [run.seed(sample) for sample in samples],
            spec.steps,
            [1.0 if boost else spec.eta for boost in boosted],
            change.edit,
            nudge=change.nudge,
            calibrate=change.calibrate,
            conditioning=conditions_of(self.model, run, samples),
            asymmetric=asymmetric,
            x_t=torch.cat([cached_x(self.model, run, sample, first) for sample in samples]),
            start=first,
            schedule=spec.schedule,
        )

    def pictures(
        self,
        samples: Sequence[int],
        change: Change,
        first: int,
        *,
        asymmetric: bool = False,
        t_boost: float | None = None,
        network: Sequence[RecipeEdit] = (),
    ) -> Generator[float, None, np.ndarray]:
        """Returns the final pictures of :meth:`steps`: (n, height, width, 3) uint8.

        It yields the share that is done.
        """
        total, x = self.run.spec.steps - first, None
        for step in self.steps(
            samples, change, first, asymmetric=asymmetric, t_boost=t_boost, network=network
        ):
            x = step.x_next
            yield (step.index + 1 - first) / total
        if x is None:  # there is no step to take
            x = torch.cat([cached_x(self.model, self.run, sample, first) for sample in samples])
        return self.model.to_images(x).numpy()

    def start(self, sample: int, step: int) -> Start:
        """Returns a sample at a step.

        Activations that are not stored are computed.
        """
        x_t = cached_x(self.model, self.run, sample, step)
        if self.model.anatomy.without:  # a transformer has nothing to decode from
            plain = next(self.steps([sample], Change(), step)).x_0
            picture = self.model.to_images(plain).numpy()[0]
            return Start(sample=sample, step=step, features={}, x_t=x_t, predicted=picture)
        features = cached_branches(self.model, self.run, sample, step)
        return Start(
            sample=sample,
            step=step,
            features=features,
            x_t=x_t,
            predicted=self._predicted(features, x_t, sample, step),
        )

    def starts(self, samples: Sequence[int], step: int) -> Starts:
        """Returns samples at a step as one batch.

        Features are as stored. Those that are not stored are computed. The last batch is kept.
        """
        kept = self._starts
        if kept is not None and (kept.samples, kept.step) == (tuple(samples), step):
            return kept
        each = [cached_branches(self.model, self.run, sample, step) for sample in samples]
        self._starts = Starts(
            samples=tuple(samples),
            step=step,
            features={branch: stacked([one[branch] for one in each]) for branch in each[0]},
            x_t=torch.cat([cached_x(self.model, self.run, sample, step) for sample in samples]),
        )
        return self._starts

    def moved_previews(self, start: Starts, delta: np.ndarray) -> np.ndarray:
        """Predicts x_0 of samples whose h is moved by Δh.

        Δh is (c, h, w). Only the decoder half runs.

        Returns:
            The pictures (n, height, width, 3) uint8.
        """
        shift = torch.from_numpy(np.ascontiguousarray(delta)).to(self.model.device)
        moved = {
            branch: part.replace({"h": part.h + shift.to(part.h.dtype)})
            for branch, part in start.features.items()
        }
        spec = self.run.spec
        found = predict(
            self.model,
            moved,
            start.x_t,
            start.step,
            spec.steps,
            conditions_of(self.model, self.run, start.samples),
        )
        return self.model.to_images(found).numpy()

    def preview(self, start: Start, edits: Sequence[RecipeEdit]) -> np.ndarray:
        """Predicts x_0 under edits with the decoder half alone.

        The picture is (height, width, 3) uint8. Edits at other places than h and skips also run the
        encoder half.
        """
        bound, t = self.bind(edits), self.run.timesteps[start.step]
        if acts_at(bound) or not start.features:
            step = next(self.steps([start.sample], Change(edit=bound), start.step))
            return self.model.to_images(step.x_0).numpy()[0]
        moved = {
            branch: bound(part, Moment(index=start.step, t=t, branch=branch))
            for branch, part in start.features.items()
        }
        return self._predicted(moved, start.x_t, start.sample, start.step)

    def _predicted(
        self, features: Mapping[str, Features], x_t: torch.Tensor, sample: int, step: int
    ) -> np.ndarray:
        steps, given = self.run.spec.steps, conditions_of(self.model, self.run, [sample])
        found = predict(self.model, features, x_t, step, steps, given)
        return self.model.to_images(found).numpy()[0]

    def _masked(self, edit: RecipeEdit) -> Edit:
        bound, mask = edit.bind(self), getattr(edit, "mask", None)
        if not acts_at(bound) and edit.push(self) is None:
            self.model.anatomy.need_unet(f"an edit of h or skips ({edit.kind})")
        return bound if mask is None else Masked(bound, mask)

    def _nudge(self, rows: Sequence[Sequence[RecipeEdit]]) -> Nudge | None:
        """Returns the change of x_t itself by a batch's edits, row by row, or None if there is
        none.
        """
        pushes: dict[int, list[tuple[int, Callable[[torch.Tensor], torch.Tensor]]]] = {}
        for row, edits in enumerate(rows):
            for edit in edits:
                found: Pushes | None = edit.push(self)
                if found is not None:
                    pushes.setdefault(found[0], []).append((row, found[1]))
        if not pushes:
            return None

        def nudge(x: torch.Tensor, index: int) -> torch.Tensor:
            if index not in pushes:
                return x
            nudged = x.clone()  # this keeps the layout in memory, on which rounding depends
            for row, push in pushes[index]:
                nudged[row : row + 1] = push(nudged[row : row + 1])
            return nudged

        return nudge


def _calibrate(
    rows: Sequence[Sequence[RecipeEdit]], timesteps: Sequence[float]
) -> Calibrate | None:
    """Returns the calibration of a batch's edits, row by row, or None if there is none.

    Raises:
        UsageError: two edits of a row are calibrated.
    """
    edits = [[edit for edit in row if edit.needs_asymmetric] for row in rows]
    if any(len(row) > 1 for row in edits):
        raise UsageError("one edit of a picture may be calibrated, not several")
    if not any(edits):
        return None

    def calibrate(index: int) -> Calibration | None:
        found = [row[0].calibration(index, timesteps[index]) if row else None for row in edits]
        if not any(found):
            return None
        numbers = torch.tensor([(0.0, 1.0) if each is None else each for each in found])
        return Calibration(omega=numbers[:, 0], dt_lambda=numbers[:, 1])

    return calibrate


class BoundMove:
    """A move that is already bound to its model."""

    def __init__(self, mover: Mover, made_by: Mapping[str, Any]) -> None:
        self.mover, self.made_by = mover, made_by

    def bind(self, model: Model) -> Mover:
        """Returns the same bound move for every model."""
        return self.mover
