"""Runs a model over many samples and writes what passes the cut to shards."""

from __future__ import annotations

import dataclasses
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from .cache.files import write_json
from .cache.layout import LOCK, PARTIAL, RUN_JSON, SCHEMA, SHARDS
from .cache.manifest import Shard, missing_ranges, read_manifest
from .cache.plan import Plan, format_bytes, make_plan, preview_shape
from .cache.reading import Run, open_run
from .cache.shards import ShardWriter, explain_write_error
from .errors import HcacheError, Interrupted, NoSpaceError, RunBusyError
from .models.model import Model
from .readers import find_reader
from .sampling.loop import Step, denoise
from .sampling.schedule import make_schedule
from .specs import FULL, RunSpec


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
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0):
            return _extract_locked(model, spec, folder, report, stop)
    except Timeout as error:
        raise RunBusyError(f"another process is extracting {spec.name}; watch it with `hcache runs`") from error


def _extract_locked(
    model: Model, spec: RunSpec, folder: Path, report: Callable[[Progress], None], stop: Callable[[], bool]
) -> Run:
    spec = _describe_run(model, spec, folder)
    _sweep(folder)
    todo = missing_ranges(_whole_shards(folder), spec.samples, spec.batch)
    done = spec.samples - sum(stop_ - start for start, stop_ in todo)
    _check_space(make_plan(spec, model.anatomy), todo, folder)
    for start, end in todo:
        batch = Progress(done=done, total=spec.samples, steps=spec.steps, shard=end - start)
        _extract_shard(model, spec, folder, start, end, batch, report, stop)
        done += end - start
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
) -> None:
    seeds = [spec.seed + i for i in range(start, end)]
    timesteps = np.array(make_schedule(model.scheduler, spec.steps).timesteps)
    try:
        with ShardWriter(folder, start, np.array(seeds), timesteps, spec.store_dtype) as writer:
            for step in denoise(model, seeds, steps=spec.steps, eta=spec.eta):
                _write_step(writer, model, spec, step)
                report(dataclasses.replace(progress, step=step.index + 1))
                if stop():
                    raise Interrupted(f"stopped on request; {progress.done} of {spec.samples} samples are kept")
            writer.write_x(spec.steps, step.x_next.cpu().numpy())
            images = model.to_images(step.x_next).numpy()
            writer.write_images(images)
            if model.card.reader:
                writer.write_labels(model.card.reader, find_reader(model.card.reader)(images))
            writer.commit()
    except HcacheError:
        raise
    except OSError as error:
        raise explain_write_error(error, folder) from error


def _write_step(writer: ShardWriter, model: Model, spec: RunSpec, step: Step) -> None:
    for site, policy in spec.store.items():
        for member in model.anatomy.members(site):
            tensor = step.features[member]
            kept = tensor if policy == FULL else tensor.float().mean((2, 3))
            writer.write_activation(step.index, member, kept.float().cpu().numpy())
    writer.write_x(step.index, step.x_t.cpu().numpy())
    writer.write_x_0(step.index, _preview(model, step.x_0))


def _preview(model: Model, x_0: torch.Tensor) -> np.ndarray:
    """Predicted x_0 as small pictures (n, height, width, 3) uint8."""
    height, width, _ = preview_shape(model.anatomy.image)
    if x_0.shape[-2:] != (height, width):
        x_0 = torch.nn.functional.adaptive_avg_pool2d(x_0, (height, width))
    return model.to_images(x_0).numpy()


def _describe_run(model: Model, spec: RunSpec, folder: Path) -> RunSpec:
    """Writes run.json, or takes up the one that is there; returns the spec to go by."""
    path = folder / RUN_JSON
    if path.exists():
        earlier = open_run(folder).spec
        spec = dataclasses.replace(spec, batch=earlier.batch)
        if spec.samples <= earlier.samples:
            return spec
    schedule = make_schedule(model.scheduler, spec.steps)
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
    """What made the run: enough to see why two runs differ, and to make it again."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": model.card.name,
        "source": model.card.source,
        "reader": model.card.reader,
        "scheduler": {k: v for k, v in model.scheduler.config.items() if not k.startswith("_")},
        "alpha_bar": alpha_bar,
        "device": torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else platform.machine(),
        "python": sys.version.split()[0],
        "libraries": {name: version(name) for name in ("torch", "diffusers", "numpy", "h5py")},
    }


def _sweep(folder: Path) -> None:
    """Removes what an extraction that was killed left half written."""
    for path in (folder / SHARDS).glob(f"*{PARTIAL}"):
        path.unlink()


def _whole_shards(folder: Path) -> list[Shard]:
    """The committed shards whose files are there, as long as they were; the others are computed again."""
    paths = {shard: folder / SHARDS / shard.file for shard in read_manifest(folder)}
    return [shard for shard, path in paths.items() if path.is_file() and path.stat().st_size == shard.bytes]


def _check_space(plan: Plan, todo: list[tuple[int, int]], folder: Path) -> None:
    left = sum(end - start for start, end in todo)
    needed = plan.total * left // plan.samples
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise NoSpaceError(
            f"{folder} needs {format_bytes(needed)} more and the disk has {format_bytes(free)} free; "
            f"free {format_bytes(needed - free)}, store less (--store), or choose another --home"
        )
