"""Cached samples as tensors: a donor for swaps, a start for edits, features for previews."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..cache.reading import Run, open_run
from ..features import Features
from ..models.conditioners import COND
from ..models.model import Model
from ..recipes.donor_runs import check_donor
from ..recipes.edits import DonorRef
from ..sampling.conditions import conditions_of
from ..sampling.loop import Moment
from .swap import Donor


def cached_x(model: Model, run: Run, sample: int, index: int) -> torch.Tensor:
    """Returns a sample's x_t before step ``index``.

    It is (1, c, h, w) float32 on the model's device.
    """
    return torch.from_numpy(run.x(sample, index))[None].to(model.device)


def cached_features(
    model: Model,
    run: Run,
    sample: int,
    step: int,
    branch: str = COND,
    places: Sequence[str] = (),
) -> Features:
    """Returns a sample's features at a step, as one row.

    They are as stored. What is not stored is computed from the cached x_t. Under guidance a run
    stores the conditional branch; the other is always computed. ``places``: other places of the
    U-Net that are asked for besides h and skips, or the blocks of a transformer that are needed.
    """
    stored = run.features(sample, step)
    stored = replace(
        stored, others={name: stored.others[name] for name in places if name in stored.others}
    )
    missing = _lacks(stored, places)
    if branch == COND and not missing:
        return stored.map(lambda _, a: torch.from_numpy(a)[None].to(model.device))
    guided = conditions_of(model, run, [sample]).at(step)
    if branch not in guided.branches:  # a run without guidance can be the donor of one with it
        conditioning = run.spec.conditioning.rows([sample])
        guided = model.condition(replace(conditioning, guidance=2.0), 1)
    with torch.inference_mode():
        x, t = cached_x(model, run, sample, step), run.timesteps[step]
        condition = guided.branches[branch]
        whole = bool(places) or bool(model.anatomy.without)
        fresh = model.trace(x, t, condition, places)[0] if whole else model.encode(x, t, condition)
    if branch != COND:
        return fresh
    return fresh.replace(
        {name: torch.from_numpy(a)[None].to(fresh[name]) for name, a in stored.items()}
    )


def _lacks(stored: Features, places: Sequence[str]) -> bool:
    """Returns whether stored features lack h, a skip, or one of the other places.

    A transformer has only its blocks.
    """
    if stored.blocks:
        return not places or any(stored[place] is None for place in places)
    missing = stored.h is None or any(group is None for group in stored.skips)
    return missing or len(stored.others) < len(places)


def cached_branches(model: Model, run: Run, sample: int, step: int) -> dict[str, Features]:
    """Returns a sample's features at a step, in every branch.

    The branches are those of the run's guidance.
    """
    branches = model.condition(run.spec.conditioning.rows([sample]), 1).branches
    return {branch: cached_features(model, run, sample, step, branch) for branch in branches}


def find_donor(
    ref: DonorRef, run: Run, model: Model, home: Path, places: Sequence[str] = ()
) -> Donor:
    """Returns a donor's features by moment.

    They are read once for all rows that need the same. ``places`` names other places of the U-Net
    that the features must contain besides h and skips.

    Raises:
        UsageError: the run or the sample does not exist, or the run has another model or other
            steps.
    """
    theirs = run if ref.run == run.name else open_run(home / "runs" / ref.run, home)
    theirs.position(ref.sample)
    check_donor(theirs, run)
    last: dict[Moment, Features] = {}

    def features(moment: Moment) -> Features:
        """Returns the features at a moment. Those of the last step are remembered."""
        if moment not in last:
            held = cached_features(model, theirs, ref.sample, moment.index, moment.branch, places)
            if moment.index not in {m.index for m in last}:
                last.clear()
            last[moment] = held
        return last[moment]

    return features


def stacked(parts: Sequence[Features]) -> Features:
    """Concatenates features of one row each into one batch."""
    names = [name for name, _ in parts[0].items()]
    return parts[0].replace({name: torch.cat([part[name] for part in parts]) for name in names})
