"""Runs a model over many samples, and writes the activations to shards."""

from __future__ import annotations

import dataclasses
import logging
import math
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import PARTIAL, is_left_over, is_there, make_folder
from ..cache.description import MOST_BYTES
from ..cache.files import read_json, write_json
from ..cache.index import IndexWriter, index_is_behind
from ..cache.layout import (
    FOLDERS,
    HOLDER_JSON,
    INDEX,
    JOB_JSON,
    LOCK,
    RUN_JSON,
    SCHEMA,
    SHARDS,
    refuse_link,
)
from ..cache.locks import check_run_lock, run_lock
from ..cache.manifest import Shard, missing_ranges, read_manifest, shard_ranges
from ..cache.plan import Plan, format_bytes, make_plan
from ..cache.provenance import environment
from ..cache.reading import Run, open_run
from ..cache.shards import Finished, commit_shard, explain_write_error, gone
from ..cards import check_weights
from ..errors import HcacheError, Interrupted, ModelError, NoSpaceError, UsageError
from ..models.conditioners import COND, ByText
from ..models.loading import load_for
from ..models.model import Model
from ..sampling.null_text import check_null_text
from ..sampling.schedule import check_eta, schedule_of, schedules_agree
from ..specs import ATTENTION, BATCH, BEFORE, NONE, NULL_TEXT, RunSpec
from .batch_size import find_batch
from .here import Here
from .places import Place, Ranges
from .shard import Progress, Show, show_nothing
from .sidecars import forget, in_other_hands, take_finished
from .workers import Pool


def extract(
    model: Model,
    spec: RunSpec,
    home: Path,
    report: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    devices: Sequence[str] = (),
    show: Show = show_nothing,
    folder: Path | None = None,
    locked: bool = False,
    place: Place | None = None,
) -> Run:
    """Extracts the missing samples of a run, shard by shard.

    Committed shards are kept unchanged.

    Args:
        model: The loaded model that ``spec`` names.
        spec: The run, with the weights' digest from :func:`hcache.cards.pin_weights`.
        home: A writable home.
        report: Called after every step.
        stop: Called after every step. If it returns True, the extraction ends.
        devices: If there are two or more, one process runs on each and loads the model that
            ``spec`` names. The arrays equal those of one device. Otherwise ``model`` computes
            everything in this process.
        show: Receives the predicted x_0 of every step, except with several devices.
        folder: The folder of the run, if somebody has renamed it.
        locked: Whether the caller already holds the run's lock.
        place: The place of the computation, if it is Ray or SLURM.

    Raises:
        Interrupted: ``stop`` returned True. Committed shards are kept, and the same call continues.
        RunBusyError: another process is extracting this run.
        NoSpaceError: the disk does not have the space that is still needed.
    """
    folder = folder or home / "runs" / spec.name
    refuse_link(folder)
    here = Here(model=model, show=show)
    where: Place = place or (Pool(devices=devices) if len(devices) > 1 else here)
    if not spec.batch:
        # an existing run has its own batch size, and other devices cannot be tested here
        known = is_there(folder / RUN_JSON) or where is not here
        spec = dataclasses.replace(spec, batch=BATCH if known else find_batch(model, spec))
    try:
        make_folder(folder)
        with nullcontext() if locked else run_lock(folder):
            return _extract_locked(model, spec, folder, report, stop, where)
    except HcacheError:
        raise
    except OSError as error:
        raise explain_write_error(error, folder, _bytes_left(model, spec, folder)) from error


def _extract_locked(
    model: Model,
    spec: RunSpec,
    folder: Path,
    report: Callable[[Progress], None],
    stop: Callable[[], bool],
    place: Place,
) -> Run:
    _check_additions(model, spec)
    if spec.inversion == NULL_TEXT:
        check_null_text(model, spec.conditioning)
    spec = _describe_run(model, spec, folder, place.device)
    try:
        return _extract_described(model, spec, folder, report, stop, place)
    except BaseException:
        _tidy_up(folder)
        raise


def _extract_described(
    model: Model,
    spec: RunSpec,
    folder: Path,
    report: Callable[[Progress], None],
    stop: Callable[[], bool],
    place: Place,
) -> Run:
    take_finished(folder, partial(commit_shard, folder))
    _sweep(folder)
    whole = _whole_shards(folder)
    todo = shard_ranges(spec.samples, spec.batch, whole)
    _check_space(make_plan(spec, model.anatomy), todo, folder)
    if todo:
        _raise_schema(folder / RUN_JSON)
    if todo or index_is_behind(folder, spec.seed, whole):
        commit = _Commit(folder, spec, whole)
        try:
            ranges = Ranges(
                spec=spec,
                folder=folder,
                todo=tuple(todo),
                provenance=_provenance(model, [], place.device),
            )
            if todo:
                place.compute(ranges, commit, report, stop)
        except Interrupted as error:
            commit.index.write(durable=True)
            raise Interrupted(
                f"stopped on request; {commit.done} of {spec.samples} samples are kept"
            ) from error
        commit.index.write(durable=True)
    report(Progress(done=spec.samples, total=spec.samples))
    return open_run(folder)


class _Commit:
    """Adds finished shards to the run: files, manifest, index. Only the process that holds the lock
    does this.

    Holding the lock ``whole`` guarantees a consistent run.

    Raises:
        CacheError: the run was removed, renamed or replaced meanwhile, or another process has its
            lock.
    """

    def __init__(self, folder: Path, spec: RunSpec, whole: Sequence[Shard]) -> None:
        self._of = (folder / RUN_JSON).stat().st_ino
        self.folder, self.index = folder, IndexWriter(folder, spec.seed, whole)
        self.whole = threading.Lock()
        self.done = spec.samples - sum(
            stop - start for start, stop in missing_ranges(whole, spec.samples, spec.batch)
        )

    def __call__(self, finished: Finished) -> None:
        with self.whole:
            self._check()
            shard = commit_shard(self.folder, finished)
            self.index.add(shard)
            self.index.write()
            self.done += shard.stop - shard.start

    def _check(self) -> None:
        """Makes sure that the run still exists and still belongs to this process."""
        if (
            not is_there(self.folder / RUN_JSON)
            or (self.folder / RUN_JSON).stat().st_ino != self._of
        ):
            raise gone(self.folder)
        check_run_lock(self.folder)


def load_model_of(run: Run, device: str = "auto") -> Model:
    """Loads the model that a run was extracted from.

    It loads the same weights and commit.

    Raises:
        ModelError: the model has changed since.
    """
    check_weights(run.spec)
    model = load_for(run.spec, device, run.provenance)
    check_revision(model, run)
    return model


def check_revision(model: Model, run: Run) -> None:
    """Makes sure that a hub model is at a run's commit.

    It is the commit that the run was extracted from.

    Raises:
        ModelError: the model is at another commit.
    """
    then = run.provenance.get("revision", "")
    if then and model.revision != then:
        raise ModelError(
            f"{run.name} was extracted from commit {then} of {run.spec.model}, which is at"
            f" {model.revision} now; give {run.spec.model.partition('@')[0]}@{then} to use that"
            " one, or extract into a new run"
        )


def _describe_run(model: Model, spec: RunSpec, folder: Path, device: str) -> RunSpec:
    """Writes run.json, or reads an existing one. Returns the spec to use."""
    path = folder / RUN_JSON
    if is_there(path):
        earlier = open_run(folder)
        check_revision(model, earlier)
        spec = dataclasses.replace(spec, batch=earlier.spec.batch, schedule=earlier.spec.schedule)
        _check_schedule(model, earlier)
        if spec.samples <= earlier.spec.samples:
            return spec
    schedule = schedule_of(model, spec.steps, spec.schedule)
    check_eta(schedule, [spec.eta])
    description = {
        "schema": SCHEMA,
        "name": spec.name,
        "spec": spec.check(model.anatomy).to_json(),
        "anatomy": model.anatomy.to_json(),
        "timesteps": list(schedule.timesteps),
        "provenance": _provenance(model, schedule.alpha_bar.tolist(), device)
        | _tokens(model, spec),
    }
    write_json(path, description)
    return spec


def _tokens(model: Model, spec: RunSpec) -> dict[str, Any]:
    """Returns the tokens of every prompt by place, if attention maps are stored."""
    known = model.conditioner.tokens if isinstance(model.conditioner, ByText) else None
    if spec.policy(ATTENTION) == NONE or known is None:
        return {}
    prompts = dict.fromkeys(spec.conditioning.prompts)
    return {"tokens": {prompt: {str(k): v for k, v in known(prompt).items()} for prompt in prompts}}


def _check_additions(model: Model, spec: RunSpec) -> None:
    """Makes sure that the model was loaded with the LoRAs and the schedule of its run.

    Raises:
        UsageError: it was loaded with others.
    """
    ours, theirs = ([lora.content for lora in given] for given in (model.loras, spec.loras))
    if ours != theirs:
        raise UsageError(
            f"the model was loaded with the LoRAs {ours}, and the run names {theirs}; give both"
            " the same (load_model(..., lora=...), RunSpec(loras=...))"
        )
    if spec.scheduler and dict(model.stated) != dict(spec.scheduler):
        raise UsageError(
            f"the run states the noise schedule {dict(spec.scheduler)}, and the model was loaded"
            f" with {dict(model.stated) or 'its own'}; give both the same"
        )


def _check_schedule(model: Model, run: Run) -> None:
    """Makes sure that a run continues with its own timesteps, and says so if its steps do not end
    at the next timestep.

    Raises:
        ModelError: the timesteps from the model's configuration have changed.
    """
    now = schedule_of(model, run.spec.steps, run.spec.schedule).timesteps
    if not np.allclose(now, run.timesteps, rtol=0, atol=1e-3):
        raise ModelError(
            f"{run.name} was denoised at other timesteps (from {run.timesteps[0]:g} to"
            f" {run.timesteps[-1]:g}) than {run.spec.model} is now (from {now[0]:g} to"
            f" {now[-1]:g}); extract into a new run, with another --seed or --home"
        )
    if run.spec.schedule == BEFORE and not schedules_agree(model, run.spec.steps):
        logging.getLogger(__name__).warning(
            "%s was started with diffusers' steps, which end at other noise levels than the next"
            " ones begin at. It continues with them. For steps that meet, extract into a new run,"
            " with another --seed or --home",
            run.name,
        )


def _raise_schema(path: Path) -> None:
    """Marks a continued older run, so that older versions of hcache do not read it any more."""
    description = read_json(path, MOST_BYTES)
    if description["schema"] < SCHEMA:
        write_json(path, {**description, "schema": SCHEMA})


def _provenance(model: Model, alpha_bar: list[float], device: str) -> dict[str, Any]:
    """Returns the provenance of the run."""
    return {
        **environment(),
        "model": model.card.name,
        "source": model.card.source,
        "revision": model.revision,
        "branch": COND,
        "prediction_type": model.scheduler.config.get("prediction_type", "flow"),
        "reader": model.card.reader,
        "loras": [dataclasses.asdict(lora) for lora in model.loras],
        "schedule_stated": bool(model.stated),
        "scheduler": _settings(model.scheduler.config),
        "alpha_bar": alpha_bar,
        "device": device,
    }


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a scheduler's settings. Infinite values, which JSON cannot contain, are defaults
    without effect and are left out.
    """
    return {k: v for k, v in config.items() if not k.startswith("_") and v != -math.inf}


def _sweep(folder: Path) -> None:
    """Deletes files that killed processes left half written.

    Among the shards these are all files except those that a worker is writing or has finished,
    because other writers would hold the lock. Elsewhere they are files that nobody writes any more.
    """
    for path in (folder / SHARDS).glob(f"*{PARTIAL}"):
        if not in_other_hands(folder, path):
            path.unlink(missing_ok=True)
            forget(path)
    (folder / (INDEX + PARTIAL)).unlink(missing_ok=True)  # of an older version of hcache
    for place in (folder, *(folder / name for name in FOLDERS if name != SHARDS)):
        for path in place.glob(f"*{PARTIAL}"):
            if is_left_over(path):
                path.unlink(missing_ok=True)


def _tidy_up(folder: Path) -> None:
    """Deletes the folder of a run that was removed while it was extracted."""
    with suppress(OSError):
        if is_there(folder / RUN_JSON) or any(
            is_there(folder / name) for name in FOLDERS if name != SHARDS
        ):
            return
        for path in (folder / SHARDS).glob(f"*{PARTIAL}"):
            path.unlink(missing_ok=True)
        if is_there(folder / SHARDS):
            (folder / SHARDS).rmdir()
        for name in (INDEX, HOLDER_JSON, LOCK, JOB_JSON):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _whole_shards(folder: Path) -> list[Shard]:
    """Returns the committed shards whose files exist with their full size. The others are computed
    again.

    Raises:
        OSError: a file could not be examined, which does not mean damage.
    """
    return [
        shard
        for shard in read_manifest(folder)
        if size_on_disk(folder / SHARDS / shard.file) == shard.bytes
    ]


def size_on_disk(path: Path) -> int:
    """Returns the bytes of a file. They are -1 if it does not exist."""
    return path.stat().st_size if is_there(path) else -1


def _bytes_left(model: Model, spec: RunSpec, folder: Path) -> int:
    """Returns the bytes still to be written for a run, or all of them if the rest is unknown."""
    whole: list[Shard] = []
    with suppress(OSError):
        whole = _whole_shards(folder)
    left = missing_ranges(whole, spec.samples, spec.batch)
    return _bytes_of(make_plan(spec, model.anatomy), left)


def _bytes_of(plan: Plan, todo: list[tuple[int, int]]) -> int:
    return plan.total * sum(end - start for start, end in todo) // plan.samples


def _check_space(plan: Plan, todo: list[tuple[int, int]], folder: Path) -> None:
    needed = _bytes_of(plan, todo)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise NoSpaceError(
            f"{folder} needs {format_bytes(needed)} more and the disk has {format_bytes(free)}"
            f" free; free {format_bytes(needed - free)}, store less (--store), or choose another"
            " --home"
        )
