"""The commands ``estimate``, ``extract`` and ``invert``, which plan and make runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import is_there, make_folder
from ..background import extractions as jobs
from ..background.status import StatusFile
from ..cache.layout import (
    IMAGES,
    RUN_JSON,
    refuse_link,
    writable_home,
)
from ..cache.plan import Plan, format_bytes, make_plan
from ..cache.provenance import changes_in_words
from ..cache.reading import Run, open_run
from ..errors import Interrupted, RunBusyError
from ..extraction.in_work import InWorkFile
from ..progress import ProgressBar
from ..specs import DDIM, NONE, RunSpec
from ..starting import without_collection
from .progress import extraction_status, interruptible
from .result import Result, table
from .runs import run_facts
from .spec_options import INVERSIONS, MODEL, add_run_options, added, spec_of
from .where import place_of

if TYPE_CHECKING:
    from ..extraction.places import Place


def estimate(arguments: argparse.Namespace) -> Result:
    """Prints the size of a run. It refuses the same models as ``extract``."""
    from ..models.loading import check_conditioning, load_anatomy

    spec = spec_of(arguments)
    check_conditioning(spec.model, spec.conditioning)
    plan = make_plan(spec, load_anatomy(spec.model, lora=spec.loras, scheduler=spec.scheduler))
    return Result(
        text=plan_text(spec, plan),
        data={"run": spec.name, "bytes": plan.parts, "total": plan.total},
    )


def stored_as(spec: RunSpec, part: str) -> str:
    """Returns the policy of a site. Parts that are always stored have none."""
    policy = spec.policy(part)
    return "" if policy == NONE else policy


def plan_text(spec: RunSpec, plan: Plan) -> str:
    """Returns a plan as a table."""
    rows = [(part, stored_as(spec, part), format_bytes(size)) for part, size in plan.parts.items()]
    body = table([*rows, ("total", "", format_bytes(plan.total))], ("part", "stored", "bytes"))
    return f"{spec.name}: {spec.samples} samples, {spec.steps} steps\n{body}"


def extract(arguments: argparse.Namespace) -> Result:
    """Extracts a run in this process."""
    place = place_of(arguments)
    return run_job(
        spec_of(arguments),
        writable_home(arguments.home),
        arguments.device,
        arguments.devices,
        place=place,
    )


def invert(arguments: argparse.Namespace) -> Result:
    """Prepares real pictures, inverts them and extracts their run."""
    from ..images.pictures import prepare_picture
    from ..models.loading import load_anatomy

    home, place = writable_home(arguments.home), place_of(arguments)
    height, width, _ = load_anatomy(arguments.model, **added(arguments)).image
    prepared = [prepare_picture(Path(path), path, height, width) for path in arguments.images]
    for path, picture in zip(arguments.images, prepared, strict=True):
        if picture.notes:
            print(f"{path}: {', '.join(picture.notes)}", file=sys.stderr)
    digests = tuple(picture.digest for picture in prepared)
    spec = spec_of(arguments, samples=len(digests), images=digests)
    refuse_link(home / "runs" / spec.name)
    for picture in prepared:
        picture.save(home / "runs" / spec.name / IMAGES)
    result = run_job(spec, home, arguments.device, arguments.devices, place=place)
    found = open_run(home / "runs" / spec.name).labels
    # before, the errors of plain inversion had a set of their own
    errors = {**found["inversion"], **found.get("plain-inversion", {})}
    told = {name: [float(error) for error in errors[name]] for name in _ERRORS if name in errors}
    columns = [[f"{error:.4f}" for error in each] for each in told.values()]
    rows = zip([Path(path).name for path in arguments.images], *columns, strict=True)
    head = ("picture", *(_ERRORS[name] for name in told))
    return Result(text=f"{result.text}\n{table(rows, head)}", data={**result.data, **told})


_ERRORS = {
    "reconstruction_error": "reconstruction error (root mean square, of 1)",
    "plain_reconstruction_error": "of plain DDIM inversion",
}


def _without_reader(run: Run) -> str:
    """Says what to do next with a run that no reader has read. Otherwise the text is empty."""
    from ..readers.reading import readers_of
    from ..readers.texts import attribute_set_of

    if run.labels or readers_of(run):
        return ""
    return (
        f"\nNo reader has read its attributes yet. Next: python -m hcache read {run.name} --reader"
        f" texts:openai/clip-vit-base-patch32 --attributes {attribute_set_of(run) or 'faces'}"
    )


def run_job(
    spec: RunSpec,
    home: Path,
    device: str,
    devices: str | None = None,
    folder: Path | None = None,
    locked: bool = False,
    place: Place | None = None,
) -> Result:
    """Extracts a run in this process, keeping its ``job.json``.

    A signal ends it after the current step. With ``devices`` (``cuda:0,cuda:1``), one process per
    device computes and this one writes. ``folder``: the run's folder, if its name differs from the
    run's. ``locked``: whether its lock is held already. ``place``: where to compute, if not here or
    on ``devices``.
    """
    folder = folder or home / "runs" / spec.name
    refuse_link(folder)
    with interruptible() as stopped:
        with without_collection():
            from ..allocator import keep_freed_memory
            from ..extraction.run import extract as run_extraction
            from ..extraction.workers import parse_devices
            from ..models.loading import load_for

        keep_freed_memory()
        several = parse_devices(devices) if devices else [device]
        known = open_run(folder, broken=[]).provenance if is_there(folder / RUN_JSON) else {}
        model = load_for(spec, several[0] if len(several) == 1 and not place else "cpu", known)
        spec.check(model.anatomy)
        model.condition(
            spec.conditioning.rows([0]), 1
        )  # refuses what the model does not take, before anything is made
        say_what_changed(folder)
        make_folder(folder)
        job, in_work = extraction_status(folder, spec), InWorkFile(folder, spec.steps)
        with _told(spec, job, in_work) as report:
            run = run_extraction(
                model, spec, home, report, stopped, several, in_work.show, folder, locked, place
            )
    if run.widened:
        print(
            f"stored in float32, because float16 would overflow: {', '.join(run.widened)}",
            file=sys.stderr,
        )
    return Result(
        text=f"{run.name}: {len(run)} samples, {format_bytes(run.bytes)} in {run.folder}"
        + _without_reader(run),
        data=run_facts(run),
    )


@contextmanager
def _told(spec: RunSpec, job: StatusFile, in_work: InWorkFile) -> Iterator[Callable[[Any], None]]:
    """Reports progress and end of an extraction, by a bar and in ``job.json``."""
    with ProgressBar(total=spec.samples, unit="sample", title=spec.name) as bar:

        def report(progress: Any) -> None:
            if progress.devices > 1:
                bar.set_postfix_str(f"{progress.devices} devices", refresh=False)
            bar.n = round(progress.work, 2)
            bar.refresh() if progress.done == progress.total else bar.update(0)
            job.count(progress.done, progress.total, progress.work)

        try:
            yield report
        except Interrupted as error:
            job.finish(jobs.CANCELLED, str(error))
            raise
        except RunBusyError:
            raise  # job.json is the other process's to write
        except Exception as error:
            job.finish(jobs.FAILED, str(error) or type(error).__name__)
            raise
        finally:
            in_work.remove()
    job.finish(jobs.DONE)


def say_what_changed(folder: Path) -> None:
    """Says which libraries have changed since a run began.

    It does so for a run that exists already.
    """
    if is_there(folder / RUN_JSON) and (changed := changes_in_words(open_run(folder).provenance)):
        print(f"{folder.name} was started with other libraries: {changed}", file=sys.stderr)


def add_extraction(command: Any) -> None:
    """Adds the commands that plan and make runs."""
    for name, run, text in (
        (
            "estimate",
            estimate,
            "Print how many bytes an extraction would take. Nothing runs.",
        ),
        (
            "extract",
            extract,
            "Extract h-space and skips into a run. The same command continues an interrupted"
            " extraction.",
        ),
    ):
        child = command(name, run, text)
        child.add_argument("model", metavar="MODEL", help=MODEL)
        child.add_argument(
            "--samples", type=int, help="number of samples (default: that of the model card)"
        )
        child.add_argument(
            "--seed",
            type=int,
            help="seed of the first sample; the seeds of the others follow (default: 0)",
        )
        child.add_argument(
            "--eta", type=float, help="0: deterministic DDIM; 1: the variance of DDPM (default: 0)"
        )
        add_run_options(child)
    child = command("invert", invert, "Invert real pictures by DDIM into a run.")
    child.add_argument("model", metavar="MODEL", help=MODEL)
    child.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="picture files; their centre is cropped, and the output says so",
    )
    child.add_argument(
        "--inversion",
        choices=INVERSIONS,
        default=DDIM,
        help=(
            "what survives guidance: with negative-prompt, the prompt is the negative prompt, too;"
            " with null-text, the text of the branch without the prompt is optimised for every"
            " picture and step (default: ddim)"
        ),
    )
    add_run_options(child)
