"""One function a command: arguments in, text and data out."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from .. import jobs
from ..cache.layout import home_folder, run_folder, run_names, writable_home
from ..cache.plan import Plan, format_bytes, make_plan, site_bytes
from ..cache.reading import Run, open_run
from ..cards import default_spec, find_card, load_cards
from ..errors import CacheError, HcacheError, Interrupted, RunBusyError
from ..specs import FULL, POOLED, RunSpec, parse_store


@dataclass(frozen=True, kw_only=True)
class Result:
    text: str
    data: Any


def table(rows: Iterable[tuple[Any, ...]], header: tuple[str, ...]) -> str:
    """Columns as wide as they need to be; numbers, which look like ``12`` or ``3.4 MB``, to the right."""
    cells = [header, *[tuple(str(cell) for cell in row) for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]

    def show(row: tuple[str, ...]) -> str:
        parts = [c.rjust(w) if c[:1].isdigit() else c.ljust(w) for c, w in zip(row, widths, strict=True)]
        return "  ".join(parts).rstrip()

    return "\n".join(show(row) for row in cells)


def models(_: argparse.Namespace) -> Result:
    cards = load_cards().values()
    data = [
        {"name": c.name, "title": c.title, "summary": c.summary, "source": c.source, "licence": c.licence}
        for c in cards
    ]
    return Result(text=table([(c.name, c.summary) for c in cards], ("model", "what it is")), data=data)


def anatomy(arguments: argparse.Namespace) -> Result:
    """A model's sites, shapes and bytes, from its configuration."""
    from ..models.loading import load_anatomy

    card, found = find_card(arguments.model), load_anatomy(arguments.model)
    rows, sites = [], {}
    for site in found.sites:
        full, pooled = (site_bytes(found, site, policy, 2) for policy in (FULL, POOLED))
        shapes = [found.shape(member) for member in found.members(site)]
        sites[site] = {"shapes": shapes, "float16_bytes": full, "pooled_bytes": pooled}
        rows.append((site, " ".join("x".join(map(str, s)) for s in shapes), format_bytes(full), format_bytes(pooled)))
    head = f"{card.name}: {found.parameters / 1e6:.2f} M parameters, x {'x'.join(map(str, found.x))}\n"
    text = head + table(rows, ("site", "shapes", "full", "pooled")) + "\n(bytes a sample and step, in float16)"
    return Result(text=text, data={"model": card.name, "parameters": found.parameters, "x": found.x, "sites": sites})


def spec_of(arguments: argparse.Namespace) -> RunSpec:
    names = ("samples", "steps", "seed", "eta", "store_dtype", "dtype", "batch")
    changes = {name: getattr(arguments, name) for name in names}
    return default_spec(arguments.model, store=parse_store(arguments.store) if arguments.store else None, **changes)


def estimate(arguments: argparse.Namespace) -> Result:
    from ..models.loading import load_anatomy

    spec = spec_of(arguments)
    plan = make_plan(spec, load_anatomy(arguments.model))
    return Result(text=plan_text(spec, plan), data={"run": spec.name, "bytes": plan.parts, "total": plan.total})


def plan_text(spec: RunSpec, plan: Plan) -> str:
    rows = [(part, spec.store.get(part, ""), format_bytes(size)) for part, size in plan.parts.items()]
    body = table([*rows, ("total", "", format_bytes(plan.total))], ("part", "stored", "bytes"))
    return f"{spec.name}: {spec.samples} samples, {spec.steps} steps\n{body}"


def extract(arguments: argparse.Namespace) -> Result:
    """Extracts a run in this process, keeping its ``job.json``; a signal ends it after the current step."""
    spec = spec_of(arguments)
    home = writable_home(arguments.home)
    folder = home / "runs" / spec.name
    with interruptible() as stopped:
        from ..extract import extract as run_extraction
        from ..models.loading import load_model

        model = load_model(spec.model, device=arguments.device, dtype=spec.dtype)
        spec.check(model.anatomy)
        folder.mkdir(parents=True, exist_ok=True)
        job = jobs.JobFile(folder, spec.samples)
        with tqdm(total=spec.samples, unit="sample", desc=spec.name, file=sys.stderr, mininterval=0.5) as bar:

            def report(progress: Any) -> None:
                bar.n = round(progress.work, 2)
                bar.refresh() if progress.done == progress.total else bar.update(0)
                job.update(progress.done, progress.total, progress.work)

            try:
                run = run_extraction(model, spec, home, report, stopped)
            except Interrupted as error:
                job.finish(jobs.CANCELLED, str(error))
                raise
            except RunBusyError:
                raise  # job.json is the other process's to write
            except HcacheError as error:
                job.finish(jobs.FAILED, str(error))
                raise
        job.finish(jobs.DONE)
    return Result(
        text=f"{run.name}: {len(run)} samples, {format_bytes(run.bytes)} in {run.folder}", data=run_facts(run)
    )


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Within it SIGINT and SIGTERM raise a flag, to be asked for between steps, instead of ending the process."""
    asked: list[int] = []
    before = {s: signal.signal(s, lambda number, _: asked.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def runs(arguments: argparse.Namespace) -> Result:
    """All runs of the home; one that cannot be read is reported on standard error."""
    home = home_folder(arguments.home)
    found = []
    for name in run_names(home):
        try:
            found.append(run_facts(open_run(home / "runs" / name)))
        except CacheError as error:
            print(f"hcache: {error}", file=sys.stderr)
    rows = [(f["name"], f"{f['samples']}/{f['of']}", f["steps"], format_bytes(f["bytes"]), f["state"]) for f in found]
    text = table(rows, ("run", "samples", "steps", "bytes", "state")) if rows else f"no runs in {home}"
    return Result(text=text, data=found)


def info(arguments: argparse.Namespace) -> Result:
    """One run in full."""
    home = home_folder(arguments.home)
    run = open_run(run_folder(home, arguments.run_name))
    facts = run_facts(run)
    data = {**facts, "spec": run.spec.to_json(), "anatomy": run.anatomy.to_json(), "timesteps": run.timesteps,
            "provenance": run.provenance}  # fmt: skip
    store = ", ".join(f"{site} {policy}" for site, policy in run.spec.store.items())
    lines = [(key, str(value)) for key, value in facts.items() if key != "bytes"]
    lines += [("bytes", format_bytes(facts["bytes"])), ("stored", store), ("device", run.provenance["device"])]
    return Result(text="\n".join(f"{key:<10}{value}" for key, value in lines), data=data)


def run_facts(run: Run) -> dict[str, Any]:
    return {"name": run.name, "model": run.spec.model, "samples": len(run), "of": run.spec.samples,
            "steps": run.spec.steps, "bytes": run.bytes, "state": jobs.run_state(run.folder, run.complete),
            "folder": str(run.folder)}  # fmt: skip


def cancel(arguments: argparse.Namespace) -> Result:
    home = home_folder(arguments.home)
    job = jobs.cancel(run_folder(home, arguments.run_name))
    return Result(text=f"asked process {job.pid} to stop after its current step", data={"run": job.run, "pid": job.pid})
