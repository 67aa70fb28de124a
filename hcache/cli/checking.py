"""The commands ``verify``, ``commit`` and ``repair``, which look after the files of a run."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..background import extractions as jobs
from ..background.kinds import Extraction, in_full
from ..cache.layout import (
    home_folder,
    home_of,
    run_folder,
)
from ..cache.reading import Run, open_run
from ..cache.verify import Difference, Report, keep_report, last_report
from ..cache.verify import verify as verify_run
from ..errors import UsageError
from ..extraction.repair import repair as repair_files
from ..extraction.sidecars import commit_finished
from ..specs import RunSpec
from .extraction import run_job
from .progress import drive_with_bar
from .result import Result, table
from .runs import run_facts


def verify(arguments: argparse.Namespace) -> Result:
    """Checks a run.

    With ``--rerun N`` it computes N of its samples again.
    """
    folder = run_folder(home_folder(arguments.home), arguments.run_name)
    report = drive_with_bar(verify_run(folder), f"verifying {folder.name}")
    if arguments.rerun:
        report = replace(
            report,
            rerun=_rerun(open_run(folder, broken=[]), report, arguments.rerun, arguments.device),
        )
        keep_report(folder, report)
    kept = last_report(folder)
    if kept is None or kept.when != report.when:
        print(
            f"hcache: {folder} cannot be written, so pages do not show this",
            file=sys.stderr,
        )
    rows = [(site, f"{d.largest:.2g}", f"{d.tolerance:.2g}") for site, d in report.rerun.items()]
    text = report.in_words() + (
        "\n" + table(rows, ("computed again", "differs by", "tolerance")) if rows else ""
    )
    return Result(text=text, data=report.to_json(), exit_code=report.exit_code)


def _rerun(run: Run, report: Report, count: int, device: str) -> dict[str, Difference]:
    from ..extraction.rerun import rerun
    from ..extraction.run import load_model_of

    bad = {sample for fault in report.faults for sample in range(fault.start, fault.stop)}
    whole = [int(sample) for sample in run.sample_ids if int(sample) not in bad]
    chosen = random.sample(whole, min(count, len(whole)))
    return drive_with_bar(rerun(load_model_of(run, device), run, chosen), "computing again")


def commit(arguments: argparse.Namespace) -> Result:
    """Takes shards that workers finished late into a run.

    These workers finished after their command had ended.
    """
    folder = run_folder(home_folder(arguments.home), arguments.run_name)
    count, run = commit_finished(folder), open_run(folder)
    text = f"{count} shards were taken in; {len(run)} of {run.spec.samples} samples are there"
    return Result(text=text, data={**run_facts(run), "committed": count})


def repair(arguments: argparse.Namespace) -> Result:
    """Moves damaged files aside and extracts their samples again."""
    folder = run_folder(home_folder(arguments.home), arguments.run_name)
    return repair_run(folder, arguments.device, lambda spec: _ask(folder, spec, arguments.yes))


def repair_run(folder: Path, device: str, agree: Callable[[RunSpec], None]) -> Result:
    """Repairs a run in this process, keeping its ``job.json``.

    Args:
        folder: The run's folder.
        device: The device to compute on.
        agree: See :func:`hcache.extraction.repair.repair`.
    """
    home = home_of(folder)

    def extract(spec: RunSpec) -> None:
        run_job(spec, home, device, folder=folder, locked=True)

    done = repair_files(folder, extract, agree, drive_with_bar)
    return Result(text=done.in_words(), data=done.to_json(), exit_code=done.exit_code)


def _ask(folder: Path, spec: RunSpec, yes: bool) -> None:
    """Asks before a run is extracted that this user did not begin on this machine.

    Raises:
        UsageError: the run came from elsewhere, and the answer is no or nobody can be asked.
    """
    if yes or jobs.is_from_here(folder, spec):
        return
    told = f"{folder.name} came from elsewhere, or an earlier version of hcache started it"
    if not sys.stdin.isatty():
        raise UsageError(
            f"{told}; repairing it runs the model {spec.model}. Look at it with `python -m hcache"
            f" info {folder.name}`, then say --yes"
        )
    print(f"{told}. Repairing does this:\n{in_full(Extraction(spec=spec))}", file=sys.stderr)
    if input("Agree, and start it? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was changed, because you did not agree")


def add_checking(command: Any) -> None:
    """Adds the commands that check and complete the files of a run."""
    child = command(
        "commit",
        commit,
        "Add shards that SLURM tasks finished after the extracting command had ended.",
    )
    child.add_argument("run_name", metavar="RUN")
    for name, run, text in (
        (
            "verify",
            verify,
            "Check the files, checksums and values of a run. The exit code is 3 if it is damaged.",
        ),
        (
            "repair",
            repair,
            "Move damaged shards of a run aside and extract their samples again.",
        ),
    ):
        child = command(name, run, text)
        child.add_argument("run_name", metavar="RUN")
        child.add_argument(
            "--device",
            default="auto",
            help="device of the computation (default: the best available)",
        )
        if name == "repair":
            child.add_argument(
                "--yes",
                action="store_true",
                help="do not ask before running the model of a run that came from elsewhere",
            )
        if name == "verify":
            child.add_argument(
                "--rerun",
                type=int,
                default=0,
                metavar="N",
                help="compute N random samples again and compare them",
            )
