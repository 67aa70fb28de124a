"""Background extractions of runs. Each run has one, which is the task ``extract`` with its status
in ``job.json``.

This module uses specs and files only, and no torch.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..atomic import make_folder, write_bytes
from ..cache.layout import PROMPTS, STATED_JSON, names_in
from ..errors import RunBusyError, UsageError
from ..noise_schedules import name_of
from ..specs import RunSpec
from . import kinds, tasks
from .kinds import EXTRACT, Extraction
from .origin import is_ours
from .processes import CANCELLED, DIED, DONE, FAILED, RUNNING, STARTING, UNKNOWN
from .tasks import Task

__all__ = [
    "CANCELLED",
    "DIED",
    "DONE",
    "FAILED",
    "RUNNING",
    "STARTING",
    "UNKNOWN",
    "Job",
    "cancel",
    "extract_arguments",
    "is_from_here",
    "list_jobs",
    "read_job",
    "run_state",
    "start",
]

Job = Task
"""The task of a run's extraction."""


def read_job(folder: Path) -> Job | None:
    """Returns the job of a run, or None if it had none.

    Its state is corrected if the process no longer lives.
    """
    return tasks.read_task(folder, EXTRACT)


def list_jobs(home: Path) -> list[Job]:
    """Returns all jobs of a home, the latest first.

    Raises:
        HomeError: the home exists but cannot be read.
    """
    folders = [home / "runs" / name for name in names_in(home)]
    jobs = [job for folder in folders if (job := read_job(folder))]
    return sorted(jobs, key=lambda job: job.begun, reverse=True)


def run_state(folder: Path, complete: bool) -> str:
    """Returns the state of a run's extraction.

    It is ``complete``, or the state of the run's job, or ``partial``.
    """
    job = read_job(folder)
    if job and job.live:
        return job.state
    if complete:
        return "complete"
    return job.state if job and job.state != DONE else "partial"


def is_from_here(folder: Path, spec: RunSpec) -> bool:
    """Returns whether this user started a run's extraction on this machine.

    Otherwise the run came from elsewhere.
    """
    job, work = tasks.load_task(folder, EXTRACT), Extraction(spec=spec)
    return job is not None and is_ours(job.seal, work.run, work.kind, tasks.identity(work))


def extract_arguments(spec: RunSpec, home: Path) -> list[str]:
    """Returns the words after ``python -m hcache`` that extract this run."""
    command, *others = kinds.extract_arguments(spec, str(home / "runs" / spec.name))
    return [command, f"--home={home}", *others]


def start(spec: RunSpec, home: Path, folder: Path | None = None) -> Job:
    """Starts the extraction of a run in its own process.

    The process may outlive this one.

    Args:
        spec: The run.
        home: The home of its folder.
        folder: The folder of an existing run, which a user may have renamed.

    Raises:
        RunBusyError: the run is already being extracted.
    """
    folder = folder or home / "runs" / spec.name
    job = read_job(folder)
    if job and job.live:
        raise RunBusyError(f"{folder.name} is being extracted already, by process {job.pid}")
    if len(spec.conditioning.prompts) > 1:  # for the command on the Extract page
        make_folder(folder)
        _write_prompts(folder / PROMPTS, spec)
    if spec.scheduler and not name_of(spec.scheduler):  # for the command on the Extract page
        make_folder(folder)
        write_bytes(folder / STATED_JSON, json.dumps(dict(spec.scheduler), indent=2).encode())
    return tasks.start(folder, Extraction(spec=spec))


def cancel(folder: Path) -> Job:
    """Asks the job of a run to stop after its current step.

    Committed samples are kept.

    Raises:
        UsageError: nothing is extracting that run, or not on this machine.
    """
    job = read_job(folder)
    if not job or not (job.live or job.state == UNKNOWN):
        raise UsageError(f"{folder.name} is not being extracted; there is nothing to cancel")
    return tasks.cancel(folder, EXTRACT)


def _write_prompts(path: Path, spec: RunSpec) -> None:
    write_bytes(path, "".join(f"{prompt}\n" for prompt in spec.conditioning.prompts).encode())
