"""Samples that give their activations: of the recipient's own run, or of another run of the same
model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..cache.reading import Run, open_run
from ..features import Features
from ..models.model import Model
from ..recipes.donor_runs import check_donor
from ..recipes.edits import DonorRef
from ..sampling.loop import Moment
from .cached import cached_features
from .swap import Donor


def find_donor(
    ref: DonorRef, run: Run, model: Model, home: Path, places: Sequence[str] = ()
) -> Donor:
    """Finds a donor's features by moment.

    They are read once for all rows that ask for the same. ``places``: other places of the U-Net
    that the features must hold besides h and skips.

    Raises:
        UsageError: no such run or sample; or the run is of another model, or has other steps.
    """
    theirs = run if ref.run == run.name else open_run(home / "runs" / ref.run, home)
    theirs.position(ref.sample)
    check_donor(theirs, run)
    last: dict[Moment, Features] = {}

    def features(moment: Moment) -> Features:
        if moment not in last:
            held = cached_features(model, theirs, ref.sample, moment.index, moment.branch, places)
            if moment.index not in {m.index for m in last}:
                last.clear()
            last[moment] = held
        return last[moment]

    return features
