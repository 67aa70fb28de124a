"""Decides which runs can be donors for another run: those of the same model with the same steps. It
uses no torch.
"""

from __future__ import annotations

from pathlib import Path

from ..cache.layout import run_names
from ..cache.reading import Run, open_run
from ..errors import HcacheError, UsageError


def check_donor(donor: Run, recipient: Run) -> None:
    """Makes sure that a run can be the donor of another.

    Activations of one run must mean the same in the other.

    Raises:
        UsageError: they differ in the model or in the steps. The message names the difference.
    """
    if (theirs := _model(donor)) != (ours := _model(recipient)):
        raise UsageError(
            f"the donor's run {donor.name} comes from another model than {recipient.name}:"
            f" {theirs}, not {ours}"
        )
    if donor.timesteps != recipient.timesteps:
        raise UsageError(
            f"the donor's run {donor.name} has other steps than {recipient.name}: {_steps(donor)},"
            f" not {_steps(recipient)}; extract it again with --steps {recipient.spec.steps}"
        )


def donor_runs(run: Run, home: Path) -> list[str]:
    """Lists the runs of a home that can be donors.

    The run itself comes first, then the others, newest first.
    """
    found = [run.name]
    for name in run_names(home):
        try:
            other = open_run(home / "runs" / name)
            if name != run.name and len(other):
                check_donor(other, run)
                found.append(name)
        except HcacheError:
            continue
    return found


def _model(run: Run) -> str:
    parts = (run.spec.model, run.spec.weights[:12], run.provenance.get("revision", ""))
    return " ".join(part for part in parts if part)


def _steps(run: Run) -> str:
    return f"{run.spec.steps} from t = {run.timesteps[0]:g} to {run.timesteps[-1]:g}"
