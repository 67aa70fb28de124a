"""Extractions as processes of their own: start, watch, cancel. Knows specs and files only; no torch.

What a job says of itself lies in ``job.json`` beside the run.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .cache.files import write_json
from .cache.layout import IMAGES, JOB_JSON, JOB_LOG, PROMPTS
from .errors import RunBusyError, UsageError
from .processes import (
    CANCELLED,
    DIED,
    DONE,
    FAILED,
    LIVE,
    RUNNING,
    STARTING,
    ask_to_stop,
    is_alive,
    launch,
    of_the_dead,
    this_process,
    write_status,
)
from .specs import DIFFUSERS, RunSpec

__all__ = ["CANCELLED", "DIED", "DONE", "FAILED", "RUNNING", "STARTING", "Job", "JobFile", "cancel",
           "extract_arguments", "list_jobs", "read_job", "run_state", "start"]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is known of the extraction of a run. ``work`` counts samples, the shard in work by its share of steps."""

    run: str
    state: str
    pid: int
    process_started: float
    begun: float
    updated: float
    done: int = 0
    total: int = 0
    work: float = 0.0
    work_at_start: float = 0.0
    message: str = ""

    def check(self) -> None:
        """Makes sure that a job that was read from a file can be reckoned with."""
        counts = (self.pid, self.done, self.total)
        numbers = (self.process_started, self.begun, self.updated, self.work, self.work_at_start)
        fine = all(isinstance(text, str) for text in (self.run, self.state, self.message))
        fine = fine and all(type(count) is int and 0 <= count < 2**31 for count in counts)
        if not fine or not all(type(n) in (int, float) and abs(n) < 1e12 for n in numbers):
            raise ValueError(f"not a job: {self}")

    @property
    def live(self) -> bool:
        return self.state in LIVE

    @property
    def rate(self) -> float:
        """Samples a second since this job began."""
        return max(0.0, self.work - self.work_at_start) / max(1e-6, self.updated - self.begun)

    @property
    def remaining(self) -> float | None:
        """Seconds left at this rate; None as long as there is none."""
        return (self.total - self.work) / self.rate if self.rate > 0 and self.total else None


class JobFile:
    """The job's own side: keeps ``job.json`` up to date, a few times a second at most."""

    def __init__(self, folder: Path, total: int) -> None:
        self.path = folder / JOB_JSON
        now = time.time()
        self.job = Job(run=folder.name, state=RUNNING, begun=now, updated=now, total=total, **this_process())
        self._begun, self._written = False, 0.0

    def update(self, done: int, total: int, work: float) -> None:
        now = time.time()
        if not self._begun:
            self._begun = True
            self._change(work_at_start=work, begun=now)
        self._change(done=done, total=total, work=work, updated=now)
        if now - self._written > 0.25 or done == total:
            self._write()

    def finish(self, state: str, message: str = "") -> None:
        self._change(state=state, message=message, updated=time.time())
        self._write()

    def _change(self, **changes: Any) -> None:
        self.job = Job(**{**asdict(self.job), **changes})

    def _write(self) -> None:
        write_status(self.path, asdict(self.job))
        self._written = time.time()


def read_job(folder: Path) -> Job | None:
    """The job of a run, its state put right by whether the process lives; None if there never was one."""
    try:
        job = Job(**json.loads((folder / JOB_JSON).read_text(encoding="utf-8")))
        job.check()
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    if job.live and not is_alive(job.pid, job.process_started):
        if job.state == STARTING and job.message == CANCELLED:
            return Job(**{**asdict(job), "state": CANCELLED, "message": "cancelled before it began"})
        return Job(**{**asdict(job), "state": DIED, "message": of_the_dead(folder / JOB_LOG)})
    return job


def list_jobs(home: Path) -> list[Job]:
    """All jobs of a home, the latest first."""
    folders = (home / "runs").iterdir() if (home / "runs").is_dir() else ()
    jobs = [job for folder in folders if (job := read_job(folder))]
    return sorted(jobs, key=lambda job: job.begun, reverse=True)


def run_state(folder: Path, complete: bool) -> str:
    """``complete``, else what the run's job is doing or came to, else ``partial``."""
    job = read_job(folder)
    if job and job.live:
        return job.state
    if complete:
        return "complete"
    return job.state if job and job.state != DONE else "partial"


def extract_arguments(spec: RunSpec, home: Path) -> list[str]:
    """What to type after ``python -m hcache`` to extract this run."""
    folder, given = home / "runs" / spec.name, spec.conditioning
    if spec.images:
        arguments = ["invert", spec.model, *(str(folder / IMAGES / f"{digest}.png") for digest in spec.images)]
    else:
        arguments = ["extract", spec.model, "--samples", str(spec.samples), "--seed", str(spec.seed)]
        arguments += ["--eta", str(spec.eta)]
    arguments += ["--steps", str(spec.steps), "--batch", str(spec.batch or "auto"), "--dtype", spec.dtype]
    arguments += ["--store-dtype", spec.store_dtype, "--guidance", str(given.guidance)]
    if spec.schedule == DIFFUSERS:  # that of a run of before stands in its run.json
        arguments += ["--schedule", spec.schedule]
    if len(given.prompts) > 1:
        arguments += ["--prompts", str(folder / PROMPTS)]
    elif given.prompts:
        arguments += ["--prompt", given.prompts[0]]
    if given.negative_prompt:
        arguments += ["--negative-prompt", given.negative_prompt]
    if given.classes:
        arguments += ["--classes", ",".join(map(str, given.classes))]
    if given.null_class is not None:
        arguments += ["--null-class", str(given.null_class)]
    for site, policy in spec.store.items():
        arguments += ["--store", f"{site}={policy}"]
    if not spec.store:
        arguments += ["--store", "h=none"]
    return [*arguments, "--home", str(home)]


def start(spec: RunSpec, home: Path) -> Job:
    """Starts the extraction of a run in a process of its own, which outlives this one.

    Raises:
        RunBusyError: it is being extracted already.
    """
    folder = home / "runs" / spec.name
    folder.mkdir(parents=True, exist_ok=True)
    job = read_job(folder)
    if job and job.live:
        raise RunBusyError(f"{spec.name} is being extracted already, by process {job.pid}")
    if len(spec.conditioning.prompts) > 1:
        (folder / PROMPTS).write_text("".join(f"{prompt}\n" for prompt in spec.conditioning.prompts), encoding="utf-8")
    process = launch(extract_arguments(spec, home), folder / JOB_LOG, append=True)
    now = time.time()
    job = Job(run=spec.name, state=STARTING, begun=now, updated=now, total=spec.samples, **process)
    write_json(folder / JOB_JSON, asdict(job), durable=False)
    return job


def cancel(folder: Path) -> Job:
    """Asks the job of a run to stop after its current step; what it has committed is kept.

    Raises:
        UsageError: nothing is extracting that run.
    """
    job = read_job(folder)
    if not job or not job.live:
        raise UsageError(f"{folder.name} is not being extracted; there is nothing to cancel")
    ask_to_stop(folder / JOB_JSON, asdict(job), folder.name)
    return job
