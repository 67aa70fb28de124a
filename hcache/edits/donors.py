"""Samples that give their activations: of the recipient's own run, or of another run of the same model."""

from __future__ import annotations

from pathlib import Path

from ..cache.reading import Run, open_run
from ..errors import UsageError
from ..features import Features
from ..models.model import Model
from ..sampling.loop import Moment
from .cached import cached_features
from .recipe import DonorRef
from .swap import Donor


def find_donor(ref: DonorRef, run: Run, model: Model, home: Path) -> Donor:
    """A donor's features by moment, read once for all rows that ask for the same.

    Raises:
        UsageError: no such run or sample; or the run is of another model, or has other steps.
    """
    theirs = run if ref.run == run.name else open_run(home / "runs" / ref.run, home)
    theirs.position(ref.sample)
    check_donor(theirs, run)
    last: dict[Moment, Features] = {}

    def features(moment: Moment) -> Features:
        if moment not in last:
            held = cached_features(model, theirs, ref.sample, moment.index, moment.branch)
            if moment.index not in {m.index for m in last}:
                last.clear()
            last[moment] = held
        return last[moment]

    return features


def check_donor(donor: Run, recipient: Run) -> None:
    """Makes sure that what one run passed through means the same in another.

    Raises:
        UsageError: they differ in what decides that; the message says in what.
    """
    if (theirs := _model(donor)) != (ours := _model(recipient)):
        raise UsageError(
            f"the donor's run {donor.name} is of another model than {recipient.name}: {theirs}, not {ours}"
        )
    if donor.timesteps != recipient.timesteps:
        raise UsageError(
            f"the donor's run {donor.name} has other steps than {recipient.name}: {_steps(donor)}, not "
            f"{_steps(recipient)}; extract it again with --steps {recipient.spec.steps}"
        )


def is_donor(donor: Run, recipient: Run) -> bool:
    """Whether samples of one run can give to those of another."""
    return _model(donor) == _model(recipient) and donor.timesteps == recipient.timesteps


def _model(run: Run) -> str:
    parts = (run.spec.model, run.spec.weights[:12], run.provenance.get("revision", ""))
    return " ".join(part for part in parts if part)


def _steps(run: Run) -> str:
    return f"{run.spec.steps} from t = {run.timesteps[0]:g} to {run.timesteps[-1]:g}"
