"""Decides what a page starts by itself, and finds how fast a model was in its last extraction."""

from __future__ import annotations

from pathlib import Path

from ..background import extractions as jobs
from ..cache.layout import run_folder
from ..cache.reading import Run, open_run
from ..errors import HcacheError
from ..measures.costs import is_cheap


def step_seconds(home: Path, model: str) -> float | None:
    """Returns the seconds that one sample takes for one step.

    The rate is that of the last extraction of the model in this home, on its machine and in whole
    batches. It is None without such an extraction.
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
    """Returns the same for the model of a run."""
    return step_seconds(run.home, run.spec.model)


def starts_itself(run: Run, seconds: float | None) -> bool:
    """Returns whether a page starts work on a run by itself.

    It does if the work is cheap and the run is not being extracted.
    """
    job = jobs.read_job(run.folder)
    return is_cheap(seconds) and not (job and job.live)
