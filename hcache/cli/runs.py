"""The commands ``runs``, ``info``, ``tasks`` and ``cancel``, which watch runs."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from msgspec import structs

from ..background import extractions as jobs
from ..background import tasks
from ..cache.layout import (
    home_folder,
    linked_names,
    run_folder,
    run_names,
)
from ..cache.plan import format_bytes
from ..cache.provenance import changes_in_words, schedule_in_words
from ..cache.reading import Run, open_run
from ..errors import HcacheError
from .result import Result, table


def runs(arguments: argparse.Namespace) -> Result:
    """Lists all runs of the home.

    A run that cannot be read is reported on standard error.
    """
    home = home_folder(arguments.home)
    found = []
    for name in run_names(home):
        try:
            found.append(run_facts(open_run(home / "runs" / name)))
        except HcacheError as error:
            print(f"hcache: {error}", file=sys.stderr)
    for name in linked_names(home):
        print(
            f"hcache: {home / 'runs' / name} is a link, and links are not followed", file=sys.stderr
        )
    rows = [
        (f["name"], f"{f['samples']}/{f['of']}", f["steps"], format_bytes(f["bytes"]), f["state"])
        for f in found
    ]
    text = (
        table(rows, ("run", "samples", "steps", "bytes", "state")) if rows else f"no runs in {home}"
    )
    return Result(text=text, data=found)


def info(arguments: argparse.Namespace) -> Result:
    """Prints the details of one run."""
    home = home_folder(arguments.home)
    run = open_run(run_folder(home, arguments.run_name))
    facts = run_facts(run)
    data = {
        **facts,
        "spec": run.spec.to_json(),
        "anatomy": run.anatomy.to_json(),
        "timesteps": run.timesteps,
        "widened": run.widened,
        "provenance": run.provenance,
    }
    store = ", ".join(f"{site} {policy}" for site, policy in run.spec.store.items())
    if run.widened:
        store += f" ({', '.join(run.widened)} in float32, which would overflow float16)"
    lines = [(key, str(value)) for key, value in facts.items() if key != "bytes"]
    if changed := changes_in_words(run.provenance):
        lines.append(("since then", changed))
    lines += [
        ("bytes", format_bytes(facts["bytes"])),
        ("stored", store),
        ("schedule", schedule_in_words(run.spec.schedule, run.timesteps, run.provenance)),
        ("device", run.provenance.get("device", "unknown")),
    ]
    lines += [("lora", f"{lora.file}, scale {lora.scale:g}") for lora in run.spec.loras]
    if run.spec.scheduler:
        lines.append(("scheduler", f"stated: {dict(run.spec.scheduler)}"))
    return Result(text="\n".join(f"{key:<10}{value}" for key, value in lines), data=data)


def run_facts(run: Run) -> dict[str, Any]:
    """Returns the facts about a run for the list of runs."""
    return {
        "name": run.name,
        "model": run.spec.model,
        "samples": len(run),
        "of": run.spec.samples,
        "steps": run.spec.steps,
        "bytes": run.bytes,
        "state": jobs.run_state(run.folder, run.complete),
        "folder": str(run.folder),
    }


def cancel(arguments: argparse.Namespace) -> Result:
    """Stops a run's extraction, or a background task on it."""
    folder = run_folder(home_folder(arguments.home), arguments.run_name)
    found = tasks.cancel(folder, arguments.task) if arguments.task else jobs.cancel(folder)
    data = {"run": found.run, "pid": found.pid} | (
        {"task": arguments.task} if arguments.task else {}
    )
    return Result(text=f"asked process {found.pid} to stop after its current step", data=data)


def list_tasks(arguments: argparse.Namespace) -> Result:
    """Lists a run's background tasks, the latest first."""
    found = tasks.list_tasks(run_folder(home_folder(arguments.home), arguments.run_name))
    rows = [
        (task.id, task.title, task.state, f"{task.share:.0%}", task.message or task.stage)
        for task in found
    ]
    text = table(rows, ("task", "what", "state", "done", "")) if rows else "no tasks"
    return Result(text=text, data=[structs.asdict(task) for task in found])


def add_runs(command: Any) -> None:
    """Adds the command that lists runs."""
    command("runs", runs, "List the runs of the home.")


def add_watching(command: Any) -> None:
    """Adds the commands ``info``, ``tasks`` and ``cancel``."""
    for name, run, text in (
        ("info", info, "Describe one run."),
        (
            "cancel",
            cancel,
            "Stop a run's extraction, or a task on it, after its current step.",
        ),
    ):
        child = command(name, run, text)
        child.add_argument("run_name", metavar="RUN")
    child.add_argument(
        "--task",
        metavar="ID",
        help="cancel this background task of the run instead; `python -m hcache tasks RUN` lists"
        " them",
    )
    child = command(
        "tasks",
        list_tasks,
        "List the background tasks that the dashboard started on a run.",
    )
    child.add_argument("run_name", metavar="RUN")
