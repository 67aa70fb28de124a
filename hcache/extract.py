"""Runs a model over many samples and writes what passes the cut to shards."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from .cache.files import write_json
from .cache.index import IndexWriter, index_is_behind
from .cache.layout import HOLDER_JSON, IMAGES, INDEX, LOCK, PARTIAL, RUN_JSON, SCHEMA, SHARDS
from .cache.manifest import Shard, missing_ranges, read_manifest
from .cache.plan import Plan, format_bytes, make_plan, preview_shape
from .cache.provenance import environment
from .cache.reading import Run, open_run
from .cache.shards import ShardWriter, explain_write_error
from .cards import check_weights
from .errors import HcacheError, Interrupted, ModelError, NoSpaceError, RunBusyError
from .models.conditioners import COND
from .models.loading import load_model
from .models.model import Model
from .pictures import load_prepared
from .readers import find_reader
from .sampling.inversion import invert
from .sampling.loop import Step, denoise
from .sampling.schedule import schedule_of
from .specs import FULL, NONE, Conditioning, RunSpec


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far an extraction is: samples committed, of how many, and steps done of the shard in work."""

    done: int
    total: int
    step: int = 0
    steps: int = 0
    shard: int = 0

    @property
    def work(self) -> float:
        """Samples, counting the shard in work by its share of steps."""
        return self.done + (self.shard * self.step / self.steps if self.steps else 0)


def extract(
    model: Model,
    spec: RunSpec,
    home: Path,
    report: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Extracts what is missing of a run, shard by shard; what was committed before is kept as it is.

    Args:
        model: The loaded model that ``spec`` names.
        spec: The run; :func:`hcache.cards.pin_weights` has put the weights' digest in.
        home: A writable home.
        report: Called after every step.
        stop: Asked after every step; True ends the extraction there.

    Raises:
        Interrupted: ``stop`` said so; what is committed is kept and the same call goes on from there.
        RunBusyError: another process is extracting this run.
        NoSpaceError: the disk has not the space that is still needed.
    """
    folder = home / "runs" / spec.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK, timeout=0):  # the system gives it up when its holder dies, however it dies
            holder = {
                "pid": os.getpid(),
                "host": platform.node(),
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            write_json(folder / HOLDER_JSON, holder, durable=False)
            return _extract_locked(model, spec, folder, report, stop)
    except Timeout as error:
        raise RunBusyError(
            f"{spec.name} is being extracted by {_holder(folder)}; watch it with `hcache runs`"
        ) from error
    except HcacheError:
        raise
    except OSError as error:
        raise explain_write_error(error, folder, _bytes_left(model, spec, folder)) from error


def _holder(folder: Path) -> str:
    """Who holds the lock of a run, in words."""
    try:
        found = json.loads((folder / HOLDER_JSON).read_text(encoding="utf-8"))
        return f"process {found['pid']} on {found['host']} since {found['since']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"


def _extract_locked(
    model: Model, spec: RunSpec, folder: Path, report: Callable[[Progress], None], stop: Callable[[], bool]
) -> Run:
    spec = _describe_run(model, spec, folder)
    _sweep(folder)
    whole = _whole_shards(folder)
    todo = missing_ranges(whole, spec.samples, spec.batch)
    done = spec.samples - sum(stop_ - start for start, stop_ in todo)
    _check_space(make_plan(spec, model.anatomy), todo, folder)
    if todo or index_is_behind(folder, spec.seed, whole):
        index = IndexWriter(folder, spec.seed, whole)
        try:
            for start, end in todo:
                passes = 2 if spec.images else 1
                batch = Progress(done=done, total=spec.samples, steps=passes * spec.steps, shard=end - start)
                index.add(_extract_shard(model, spec, folder, start, end, batch, report, stop))
                index.write()
                done += end - start
        except Interrupted:
            index.write(durable=True)
            raise
        index.write(durable=True)
    report(Progress(done=done, total=spec.samples))
    return open_run(folder)


def _extract_shard(
    model: Model,
    spec: RunSpec,
    folder: Path,
    start: int,
    end: int,
    progress: Progress,
    report: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> Shard:
    seeds = [spec.seed + i for i in range(start, end)]
    timesteps = np.array(schedule_of(model, spec.steps).timesteps)
    conditioning = spec.conditioning.rows(range(start, end))

    def tick(step: int) -> None:
        report(dataclasses.replace(progress, step=step))
        if stop():
            raise Interrupted(f"stopped on request; {progress.done} of {spec.samples} samples are kept")

    with ShardWriter(folder, start, np.array(seeds), timesteps, spec.store_dtype) as writer:
        writer.describe(_provenance(model, []) | {"run": spec.name, "conditioning": asdict(conditioning)})
        originals, x_t = None, None
        if spec.images:
            originals = np.stack([load_prepared(folder / IMAGES, digest) for digest in spec.images[start:end]])
            x_t = _invert(model, spec, originals, conditioning, tick)
        for step in denoise(model, seeds, spec.steps, spec.eta, conditioning=conditioning, x_t=x_t):
            _write_step(writer, model, spec, step)
            tick(progress.steps - spec.steps + step.index + 1)
        writer.write_x(spec.steps, step.x_next.cpu().numpy())
        images = model.to_images(step.x_next).numpy()
        writer.write_images(images)
        if originals is not None:
            writer.write_labels("inversion", {"reconstruction_error": reconstruction_error(originals, images)})
        if model.card.reader:
            writer.write_labels(model.card.reader, find_reader(model.card.reader)(images))
        return writer.commit()


def _invert(
    model: Model, spec: RunSpec, pictures: np.ndarray, conditioning: Conditioning, tick: Callable[[int], None]
) -> torch.Tensor:
    """x_T of pictures (n, height, width, 3) uint8."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(model.device).float() / 127.5 - 1
    x = model.codec.encode(pixels)[:, : model.anatomy.x[0]]
    noise = x
    for step, noise in enumerate(invert(model, x, spec.steps, conditioning), 1):  # noqa: B007 - the last is the result
        tick(step)
    return noise


def reconstruction_error(originals: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Root mean square difference of pictures (n, height, width, 3) uint8, as a share of the full range: (n,)."""
    difference = (originals.astype(np.float32) - images.astype(np.float32)) / 255
    return np.sqrt(np.square(difference).mean((1, 2, 3)))


def _write_step(writer: ShardWriter, model: Model, spec: RunSpec, step: Step) -> None:
    for site in model.anatomy.sites:
        policy = spec.policy(site)
        for member in model.anatomy.members(site) if policy != NONE else ():
            tensor = step.features[member]
            kept = tensor if policy == FULL else tensor.float().mean((2, 3))
            writer.write_activation(step.index, member, kept.float().cpu().numpy())
    writer.write_x(step.index, step.x_t.cpu().numpy())
    writer.write_x_0(step.index, _preview(model, step.x_0))


def _preview(model: Model, x_0: torch.Tensor) -> np.ndarray:
    """Predicted x_0 as small pictures (n, height, width, 3) uint8."""
    height, width, _ = preview_shape(model.anatomy.image)
    return model.to_previews(x_0, height, width).numpy()


def load_model_of(run: Run, device: str = "auto") -> Model:
    """The model that a run was extracted from, with the weights and at the commit it had then.

    Raises:
        ModelError: it has changed since.
    """
    check_weights(run.spec)
    model = load_model(run.spec.model, device, run.spec.dtype)
    check_revision(model, run)
    return model


def check_revision(model: Model, run: Run) -> None:
    """Makes sure that a hub model is at the commit that a run was extracted from.

    Raises:
        ModelError: it has moved on.
    """
    then = run.provenance.get("revision", "")
    if then and model.revision != then:
        raise ModelError(
            f"{run.name} was extracted from commit {then} of {run.spec.model}, which is at {model.revision} now; give "
            f"{run.spec.model.partition('@')[0]}@{then} to have that one, or extract into a new run"
        )


def _describe_run(model: Model, spec: RunSpec, folder: Path) -> RunSpec:
    """Writes run.json, or takes up the one that is there; returns the spec to go by."""
    path = folder / RUN_JSON
    if path.exists():
        check_revision(model, open_run(folder))
        earlier = open_run(folder).spec
        spec = dataclasses.replace(spec, batch=earlier.batch)
        if spec.samples <= earlier.samples:
            return spec
    schedule = schedule_of(model, spec.steps)
    description = {
        "schema": SCHEMA,
        "name": spec.name,
        "spec": spec.check(model.anatomy).to_json(),
        "anatomy": model.anatomy.to_json(),
        "timesteps": list(schedule.timesteps),
        "provenance": _provenance(model, schedule.alpha_bar.tolist()),
    }
    write_json(path, description)
    return spec


def _provenance(model: Model, alpha_bar: list[float]) -> dict[str, Any]:
    """What made the run."""
    return {
        **environment(),
        "model": model.card.name,
        "source": model.card.source,
        "revision": model.revision,
        "branch": COND,
        "prediction_type": model.scheduler.config.get("prediction_type", "flow"),
        "reader": model.card.reader,
        "scheduler": {k: v for k, v in model.scheduler.config.items() if not k.startswith("_")},
        "alpha_bar": alpha_bar,
        "device": torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else platform.machine(),
    }


def _sweep(folder: Path) -> None:
    """Removes what an extraction that was killed left half written."""
    for path in (folder / SHARDS).glob(f"*{PARTIAL}"):
        path.unlink()
    (folder / (INDEX + PARTIAL)).unlink(missing_ok=True)


def _whole_shards(folder: Path) -> list[Shard]:
    """The committed shards whose files are there, as long as they were; the others are computed again."""
    paths = {shard: folder / SHARDS / shard.file for shard in read_manifest(folder)}
    return [shard for shard, path in paths.items() if path.is_file() and path.stat().st_size == shard.bytes]


def _bytes_left(model: Model, spec: RunSpec, folder: Path) -> int:
    """What is still to be written of a run."""
    left = missing_ranges(_whole_shards(folder), spec.samples, spec.batch)
    return _bytes_of(make_plan(spec, model.anatomy), left)


def _bytes_of(plan: Plan, todo: list[tuple[int, int]]) -> int:
    return plan.total * sum(end - start for start, end in todo) // plan.samples


def _check_space(plan: Plan, todo: list[tuple[int, int]], folder: Path) -> None:
    needed = _bytes_of(plan, todo)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise NoSpaceError(
            f"{folder} needs {format_bytes(needed)} more and the disk has {format_bytes(free)} free; "
            f"free {format_bytes(needed - free)}, store less (--store), or choose another --home"
        )
