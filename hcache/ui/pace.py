"""What a page starts by itself, and how fast a model was when it last ran here."""

from __future__ import annotations

from pathlib import Path

from ..background import extractions as jobs
from ..cache.layout import run_folder
from ..cache.reading import Run, open_run
from ..errors import HcacheError
from ..measures.costs import is_cheap


def step_seconds(home: Path, model: str) -> float | None:
    """Seconds that one sample takes for one step.

    At the rate of the last extraction of a model in a home.

    None if no extraction of the model has measured it. The rate is of the machine that extracted,
    in whole batches.
    """
    for job in jobs.list_jobs(home):
        if job.rate <= 0:
            continue
        try:
            spec = open_run(run_folder(home, job.run)).spec
        except (HcacheError, OSError):
            continue
        if spec.model == model:
            return 1 / (job.rate * spec.steps)
    return None


def step_seconds_of(run: Run) -> float | None:
    """The same for the model of a run."""
    return step_seconds(run.home, run.spec.model)


def starts_itself(run: Run, seconds: float | None) -> bool:
    """Whether a page starts work on a run by itself.

    It is cheap, and the run is not being extracted.
    """
    job = jobs.read_job(run.folder)
    return is_cheap(seconds) and not (job and job.live)
