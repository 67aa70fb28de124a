"""A recipe's direction back again: as it was saved, or fitted anew from what made it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..cache.reading import Run, open_run
from ..directions.direction import Direction, Move, Resamplable, digest_of
from ..directions.fitting import METHODS, Fit, fit
from ..directions.store import damaged_moves, find_move
from ..errors import AnalysisError, HcacheError, UsageError
from ..models.model import Model
from ..progress import drive
from ..recipes.edits import DirectionRef


def recall_move(ref: DirectionRef, run: Run, model: Model, home: Path) -> Move:
    """The direction of that digest.

    Saved with this run, or with the run it was fitted on, or fitted again.

    Raises:
        UsageError: it is nowhere, and cannot be made again, or comes out as another; the message
            says which.
    """
    made_on = _made_on(ref, run, home)
    for place in {found.name: found for found in (run, made_on) if found is not None}.values():
        if (move := find_move(place, ref.digest)) is not None:
            return move
    what = f"the direction {ref.name or ref.digest} ({ref.digest})"
    if made_on is None or "method" not in ref.made_by:
        damaged = ", ".join(damaged_moves(run))
        raise UsageError(
            f"{what} is not saved with run {run.name}, and the recipe does not say how to make it"
            f" again, or the run it was made on ({ref.made_by.get('run', 'unknown')}) is not here;"
            " import or save it there again"
            + (f" (files of saved directions that are damaged: {damaged})" if damaged else "")
        )
    try:
        moves = _made_again(Fit.from_json(ref.made_by), ref.digest, made_on, model)
    except HcacheError as error:
        raise UsageError(f"{what} is not saved, and cannot be fitted again: {error}") from error
    for move in moves:
        if digest_of(move) == ref.digest:
            return move
    raise UsageError(
        f"{what} is not saved, and was fitted again from what made it, but came out as another "
        f"({', '.join(digest_of(move) for move in moves)}): the run or a library has changed since"
    )


def _made_again(what: Fit, digest: str, run: Run, model: Model) -> tuple[Move, ...]:
    """What a fit makes; where that is another, what it made before its method had some of its
    options.
    """
    moves = drive(fit(what, run, model))
    former = METHODS[what.method].former
    if any(digest_of(move) == digest for move in moves) or not former.keys() - what.options.keys():
        return moves
    return moves + drive(fit(replace(what, options={**former, **what.options}), run, model))


def fitted_to(
    move: Move, ref: DirectionRef, run: Run, resample: bool = False, per_step: bool = False
) -> Move:
    """A direction as an edit of a run applies it.

    Args:
        move: The direction.
        ref: How the edit speaks of it, for messages.
        run: The run, on whose steps it is brought.
        resample: It may be brought from other steps to them.
        per_step: With unit length at every step by itself.

    Raises:
        AnalysisError: it was made on another model, or on other steps, or is of a kind that cannot
            be brought to them.
    """
    if move.model and move.model != run.spec.model:
        raise AnalysisError(
            f"the direction {ref.name or ref.digest} was fitted on"
            f" {move.model}, and run {run.name} is of {run.spec.model}; fit it on a run of that"
            " model"
        )
    steps = tuple(float(t) for t in run.timesteps)
    other_steps = bool(move.timesteps) and tuple(float(t) for t in move.timesteps) != steps
    if other_steps and not (resample and isinstance(move, Resamplable)):
        advice = (
            "resample it over t"
            if isinstance(move, Resamplable)
            else "fit it on a run of these steps"
        )
        raise AnalysisError(
            f"the direction {ref.name or ref.digest} was fitted on"
            f" {len(move.timesteps)} steps from t = {move.timesteps[0]:g}, and run {run.name} has"
            f" {len(steps)} from t = {steps[0]:g}; {advice}"
        )
    if isinstance(move, Direction) and not move.timesteps and len(move.delta) != len(steps):
        raise AnalysisError(
            f"this direction has {len(move.delta)} steps, and run {run.name} has {len(steps)}"
        )
    if other_steps and isinstance(move, Resamplable):
        move = move.resampled(run.timesteps)
    if not per_step:
        return move
    if not isinstance(move, Direction):
        raise AnalysisError(
            f"a direction of kind {move.kind} has no length at a step; leave per_step out"
        )
    return move.per_step()


def reference_to(move: Move, name: str = "") -> DirectionRef:
    """How a recipe speaks of a direction."""
    return DirectionRef(digest=digest_of(move), name=name, made_by=move.made_by)


def _made_on(ref: DirectionRef, run: Run, home: Path) -> Run | None:
    """The run that a direction was fitted on, if it is here."""
    name = ref.made_by.get("run", "")
    if name == run.name:
        return run
    try:
        return open_run(home / "runs" / str(name), home) if name else None
    except HcacheError:
        return None
