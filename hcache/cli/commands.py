"""The functions of the commands: arguments in, text and data out."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from ..atomic import is_there, make_folder
from ..background import extractions as jobs
from ..background import tasks
from ..background.kinds import Extraction, in_full
from ..background.status import StatusFile
from ..cache.export import export_run
from ..cache.labels import accept_labels, export_labels, import_labels
from ..cache.layout import (
    IMAGES,
    RUN_JSON,
    home_folder,
    linked_names,
    refuse_link,
    run_folder,
    run_names,
    writable_home,
)
from ..cache.plan import Plan, fit_budget, format_bytes, make_plan, parse_bytes, site_bytes
from ..cache.provenance import changes_in_words, schedule_in_words
from ..cache.reading import Run, open_run
from ..cache.verify import Difference, Report, keep_report, last_report
from ..cache.verify import verify as verify_run
from ..cards import default_spec, find_card, load_cards
from ..errors import HcacheError, Interrupted, RunBusyError, UsageError
from ..extraction.in_work import InWorkFile
from ..extraction.repair import repair as repair_files
from ..extraction.sidecars import commit_finished
from ..progress import ProgressBar
from ..specs import (
    DDIM,
    FULL,
    NONE,
    NULL_TEXT,
    POOLED,
    Conditioning,
    RunSpec,
    parse_store,
)
from ..starting import without_collection
from ..texts import read_text
from .progress import drive_with_bar, extraction_status, interruptible
from .where import place_of

if TYPE_CHECKING:
    from ..extraction.places import Place

NEGATIVE_PROMPT = "negative-prompt"
INVERSIONS = DDIM, NEGATIVE_PROMPT, NULL_TEXT
"""How pictures are inverted: plainly, or so that the result survives guidance."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a command prints: a text, or ``data`` as JSON."""

    text: str
    data: Any
    exit_code: int = 0


def table(rows: Iterable[tuple[Any, ...]], header: tuple[str, ...]) -> str:
    """Formats a table with columns of the needed width.

    A column of numbers such as ``12`` or ``3.4 MB`` is right-aligned.
    """
    body = [tuple(str(cell) for cell in row) for row in rows]
    cells = [header, *body]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    numbers = [all(row[i][:1].isdigit() for row in body if row[i]) for i in range(len(header))]

    def show(row: tuple[str, ...]) -> str:
        parts = [
            c.rjust(w) if right and c[:1].isdigit() else c.ljust(w)
            for c, w, right in zip(row, widths, numbers, strict=True)
        ]
        return "  ".join(parts).rstrip()

    return "\n".join(show(row) for row in cells)


def models(_: argparse.Namespace) -> Result:
    """Lists the models that have a name."""
    cards = load_cards().values()
    names = ("name", "title", "kind", "summary", "source", "get", "licence")
    data = [{name: getattr(card, name) for name in names} for card in cards]
    return Result(
        text=table([(c.name, c.kind, c.summary) for c in cards], ("model", "kind", "what it is")),
        data=data,
    )


def anatomy(arguments: argparse.Namespace) -> Result:
    """Prints a model's sites, shapes and bytes, from its configuration."""
    from ..models.loading import load_anatomy

    card, found = find_card(arguments.model), load_anatomy(arguments.model, **added(arguments))
    rows, sites = [], {}
    for site in found.storable:
        full, pooled = (site_bytes(found, site, policy, 2) for policy in (FULL, POOLED))
        shapes = [found.shape(member) for member in found.members(site)]
        sites[site] = {"shapes": shapes, "float16_bytes": full, "pooled_bytes": pooled}
        rows.append(
            (
                site,
                " ".join("x".join(map(str, s)) for s in shapes),
                format_bytes(full),
                format_bytes(pooled),
            )
        )
    head = (
        f"{card.name}: {found.parameters / 1e6:.2f} M parameters, x {'x'.join(map(str, found.x))}\n"
    )
    text = (
        head
        + table(rows, ("site", "shapes", "full", "pooled"))
        + "\n(bytes per sample and step, in float16)"
    )
    if found.without:
        text += f"\nno h-space: {found.without}"
    data = {
        "model": card.name,
        "parameters": found.parameters,
        "x": found.x,
        "image": found.image,
        "sites": sites,
        "without": found.without,
    }
    return Result(text=text, data=data)


def spec_of(arguments: argparse.Namespace, **more: Any) -> RunSpec:
    """Returns the spec of the arguments of ``extract``, ``estimate`` and ``invert``."""
    names = ("samples", "steps", "seed", "eta", "store_dtype", "dtype", "batch", "schedule")
    changes = {name: getattr(arguments, name, None) for name in names}
    changes["store"] = parse_store(arguments.store) if arguments.store else None
    changes["conditioning"] = conditioning_of(arguments)
    changes |= {"loras": added(arguments)["lora"], "scheduler": added(arguments)["scheduler"]}
    if getattr(arguments, "inversion", DDIM) == NULL_TEXT:
        changes["inversion"] = NULL_TEXT
    spec = default_spec(arguments.model, **{**changes, **more})
    if arguments.budget is None:
        return spec
    if arguments.store:
        raise UsageError("--budget chooses what to store; leave --store out")
    from ..models.loading import load_anatomy

    anatomy = load_anatomy(spec.model, lora=spec.loras, scheduler=spec.scheduler)
    spec, chosen = fit_budget(spec, anatomy, parse_bytes(arguments.budget))
    print("\n".join(chosen), file=sys.stderr)
    return spec


def added(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the LoRAs and the schedule that the arguments add.

    They are in the form for ``load_model``.
    """
    from ..loras import find_lora
    from ..noise_schedules import find_schedule

    stated = arguments.scheduler
    return {
        "lora": tuple(find_lora(text) for text in arguments.lora or ()),
        "scheduler": find_schedule(stated) if stated else {},
    }


def conditioning_of(arguments: argparse.Namespace) -> Conditioning:
    """Returns the card's conditioning, overridden by the arguments."""
    found = find_card(arguments.model).conditioning
    if arguments.prompts is not None:
        found = replace(found, prompts=read_prompts(arguments.prompts))
    if arguments.prompt is not None:
        found = replace(found, prompts=(arguments.prompt,))
    if arguments.negative_prompt is not None:
        found = replace(found, negative_prompt=arguments.negative_prompt)
    if arguments.classes is not None:
        try:
            found = replace(
                found, classes=tuple(int(part) for part in arguments.classes.split(","))
            )
        except ValueError as error:
            raise UsageError(
                f"--classes takes whole numbers separated by commas, got {arguments.classes!r}"
            ) from error
    if arguments.null_class is not None:
        found = replace(found, null_class=arguments.null_class)
    if arguments.guidance is not None:
        found = replace(found, guidance=arguments.guidance)
    by_prompt = getattr(arguments, "inversion", DDIM) == NEGATIVE_PROMPT
    return found.inverted_by_prompt() if by_prompt else found


def read_prompts(path: str) -> tuple[str, ...]:
    """Reads one prompt per line. Empty lines do not count."""
    lines = read_text(Path(path), f"the prompts in {path}").splitlines()
    prompts = tuple(line.strip() for line in lines if line.strip())
    if not prompts:
        raise UsageError(f"{path} holds no prompts; expected one per line")
    return prompts


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


def convert_adm(arguments: argparse.Namespace) -> Result:
    """Converts a guided-diffusion checkpoint to a diffusers folder."""
    from ..models.adm import convert_adm as convert
    from ..models.adm_flags import Flags, preset_of

    out = Path(arguments.out)
    given = {
        name: value
        for name in Flags.__dataclass_fields__
        if (value := getattr(arguments, name)) is not None
    }
    flags = Flags(**given)
    if arguments.preset:
        flags = flags.over(preset_of(arguments.preset))
    found = convert(
        Path(arguments.checkpoint),
        out,
        order=arguments.attention_order,
        flags=flags,
        weights=arguments.weights,
    )
    return _converted(
        out, found.structure.widths, found.structure.resnets, found.notes, asdict(found.structure)
    )


def convert_ddpm(arguments: argparse.Namespace) -> Result:
    """Converts a checkpoint of the original DDPM network to a diffusers folder."""
    from ..models.ddpm import convert_ddpm as convert

    out = Path(arguments.out)
    found = convert(Path(arguments.checkpoint), out, arguments.image_size, arguments.weights)
    return _converted(
        out, found.structure.widths, found.structure.resnets, found.notes, asdict(found.structure)
    )


def _converted(
    out: Path, widths: tuple[int, ...], depth: int, notes: Iterable[str], data: dict[str, Any]
) -> Result:
    notes = list(notes)
    text = "\n".join([f"{out}: {len(widths)} levels of {depth}, channels {widths}", *notes])
    return Result(text=text, data={"folder": str(out), **data, "notes": notes})


def _without_reader(run: Run) -> str:
    """Says what to do next with a run that no reader has read. Otherwise the text is empty."""
    from ..readers.reading import attribute_set_of, readers_of

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
    home = folder.parent.parent

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


def labels_import(arguments: argparse.Namespace) -> Result:
    """Imports labels from a CSV, as a whole or not at all."""
    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    names = import_labels(run, Path(arguments.file), arguments.set)
    return Result(
        text=f"{arguments.set}: {', '.join(names)}", data={"set": arguments.set, "labels": names}
    )


def labels_accept(arguments: argparse.Namespace) -> Result:
    """Accepts a label set with the present contents of its file."""
    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    names = accept_labels(run, arguments.set)
    text = f"{arguments.set}: accepted as it is, with {', '.join(names)}"
    return Result(
        text=text
        if names
        else f"{arguments.set}: its file is missing, and hcache no longer expects it",
        data={"set": arguments.set, "labels": names},
    )


def labels_export(arguments: argparse.Namespace) -> Result:
    """Prints labels as CSV."""
    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    text = export_labels(run, arguments.set)
    return Result(text=text.rstrip("\n"), data={"csv": text})


def export(arguments: argparse.Namespace) -> Result:
    """Writes a table of labels and pooled activations, or a projector's folder."""
    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    out = export_run(run, Path(arguments.out), arguments.format, arguments.site, arguments.step)
    return Result(text=str(out), data={"out": str(out), "samples": len(run)})


def _rerun(run: Run, report: Report, count: int, device: str) -> dict[str, Difference]:
    from ..extraction.rerun import rerun
    from ..extraction.run import load_model_of

    bad = {sample for fault in report.faults for sample in range(fault.start, fault.stop)}
    whole = [int(sample) for sample in run.sample_ids if int(sample) not in bad]
    chosen = random.sample(whole, min(count, len(whole)))
    return drive_with_bar(rerun(load_model_of(run, device), run, chosen), "computing again")


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
