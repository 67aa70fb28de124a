"""Finds the direction of a recipe: as it was saved, or fitted again from its description."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..cache.layout import run_folder
from ..cache.reading import Run, open_run
from ..directions.direction import Direction, Move, Resamplable, digest_of
from ..directions.fitting import METHODS, Fit, fit
from ..directions.store import damaged_moves, find_move
from ..errors import AnalysisError, HcacheError, UsageError
from ..models.model import Model
from ..progress import drive
from ..recipes.edits import DirectionRef


def recall_move(ref: DirectionRef, run: Run, model: Model, home: Path) -> Move:
    """Returns the direction with a digest.

    It was saved with this run or with the run that it was fitted on, or it is fitted again.

    Raises:
        UsageError: it is not saved and cannot be fitted again, or the new fit differs. The message
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
        f"{what} is not saved. It was fitted again from its description, but the result differs"
        f" ({', '.join(digest_of(move) for move in moves)}): the run or a library has changed"
        " since"
    )


def _made_again(what: Fit, digest: str, run: Run, model: Model) -> tuple[Move, ...]:
    """Returns the result of a fit. If it differs, it also returns the results of the fit by earlier
    versions of its method, which had other defaults or fewer options.

    Raises:
        HcacheError: none of them can be made. The error is that of the fit as it is now.
    """
    moves: tuple[Move, ...] = ()
    wrong: HcacheError | None = None
    for former in ({}, *METHODS[what.method].before):
        options = {**former, **what.options}
        if former and options == what.options:
            continue
        try:
            moves += drive(fit(replace(what, options=options), run, model))
        except HcacheError as error:
            wrong = wrong or error
        if any(digest_of(move) == digest for move in moves):
            return moves
    if wrong is not None and not moves:
        raise wrong
    return moves


def fitted_to(
    move: Move, ref: DirectionRef, run: Run, resample: bool = False, per_step: bool = False
) -> Move:
    """Returns a direction in the form that an edit applies.

    Args:
        move: The direction.
        ref: The edit's reference to it, for messages.
        run: The run whose steps the result has.
        resample: Whether it may be interpolated from other steps.
        per_step: Whether it gets unit length at every step.

    Raises:
        AnalysisError: it was made with another model or on other steps, or its kind cannot be
            interpolated.
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
    """Returns the reference to a direction for a recipe."""
    return DirectionRef(digest=digest_of(move), name=name, made_by=move.made_by)


def _made_on(ref: DirectionRef, run: Run, home: Path) -> Run | None:
    """Returns the run that a direction was fitted on, if it is in this home."""
    name = ref.made_by.get("run", "")
    if name == run.name:
        return run
    try:
        return open_run(run_folder(home, str(name)), home) if name else None
    except HcacheError:
        return None
