"""Every name on disk and in HDF5, in one place.

    <home>/runs/<name>/
      run.json                the run and its provenance, written first
      shards/00000000.h5      immutable; named after its first sample
      manifest.jsonl          a line a committed shard
      index.h5                all shards as one, by reference, for other tools; replaced at every commit
      job.json, job.log       who is extracting, and what it said
      in_work.png             while it is extracted: the samples in work, as they are at this step; not part of it
      verify.json             what the last verification found
      prompts.txt             a prompt a sample, as the job was given them
      images/                 of an inversion: the real pictures, as the model was given them
      labels/<set>.csv        label sets made by hand or imported
      directions/<name>.h5    directions saved by name
      renders/<digest>.png    rendered cells, each with its recipe inside; the least recently used go first
      tasks/<id>.json, .log   background tasks: how far each is or what it came to, and what it said
      measures/*.json, *.png  results of measures, with their parameters and the samples that they are of; pictures
      projections/<site>.npz  every sample at every step on a few axes
      holder.json             who holds the lock, to be named to others

A shard holds samples ``start`` to ``stop`` of the run:

    h               (step, sample, c, h, w)         as computed, float16 unless it would overflow
    skip.<g>.<i>    (step, sample, c, h, w)         likewise; (step, sample, c) when pooled
    x               (step + 1, sample, c, h, w)     float32: a trajectory can be taken up again exactly
    x_0             (step, sample, height, width, 3)  uint8: predicted x_0, reduced to at most 64 pixels
    image           (sample, height, width, 3)      uint8
    seed (sample), timestep (step)                  the dimension scales; a flow's timesteps are not whole
    labels/<set>/<name>  (sample)                   float32, read off the image when it was made
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import platformdirs

from ..errors import HomeError, UnknownRunError, did_you_mean

SCHEMA = 2
"""1: shards were committed with their SHA-256."""

RUN_JSON, MANIFEST, JOB_JSON, JOB_LOG, LOCK = "run.json", "manifest.jsonl", "job.json", "job.log", "lock"
PROMPTS, VERIFY_JSON, HOLDER_JSON = "prompts.txt", "verify.json", "holder.json"
SHARDS, LABELS, IMAGES, DIRECTIONS, RENDERS = "shards", "labels", "images", "directions", "renders"
MEASURES, PROJECTIONS, TASKS = "measures", "projections", "tasks"
IN_WORK = "in_work.png"
INDEX = "index.h5"
PARTIAL = ".partial"

H, X, X_0, IMAGE, SEED, TIMESTEP = "h", "x", "x_0", "image", "seed", "timestep"

PREVIEW_SIZE = 64
"""Predicted x_0 are kept for looking at only, no larger than this on a side."""

RENDER_BYTES = 512 * 2**20
"""What the rendered cells of one run may take together."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def home_folder(home: str | Path | None = None) -> Path:
    """The home: as given, else ``HCACHE_HOME``, else the platform's user cache folder. It need not exist."""
    chosen = home or os.environ.get("HCACHE_HOME") or platformdirs.user_cache_dir("hcache", appauthor=False)
    try:
        return Path(chosen).expanduser()
    except RuntimeError as error:
        raise HomeError(
            f"the home {chosen} names no user's folder; choose another with --home or HCACHE_HOME"
        ) from error


def writable_home(home: str | Path | None = None) -> Path:
    """The home, made if need be.

    Raises:
        HomeError: it cannot be made or written to.
    """
    folder = home_folder(home)
    try:
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        probe = folder / "runs" / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise HomeError(
            f"the home {folder} cannot be written ({error.strerror}); choose another with --home or HCACHE_HOME"
        ) from error
    return folder


def run_names(home: Path) -> list[str]:
    """The runs of a home, newest first."""
    times: dict[str, float] = {}
    try:
        for folder in (home / "runs").iterdir():
            with contextlib.suppress(OSError):  # what is no run, or is being removed at this moment
                if _is_inside(home, folder.name) and (folder / RUN_JSON).is_file():
                    times[folder.name] = (folder / RUN_JSON).stat().st_mtime
    except OSError:
        return []
    return sorted(times, key=times.__getitem__, reverse=True)


def run_folder(home: Path, name: str) -> Path:
    """The folder of a run by name. The name may come from a URL: it cannot lead out of the home.

    Raises:
        UnknownRunError: there is no such run; the message names the nearest.
    """
    if not _is_inside(home, name) or not (home / "runs" / name / RUN_JSON).is_file():
        raise UnknownRunError(f"no run {name!r} in {home}{did_you_mean(name, run_names(home))}")
    return home / "runs" / name


def new_run_folder(home: Path, name: str) -> Path:
    """The folder that a run of that name has or would have. The name cannot lead out of the home.

    Raises:
        UnknownRunError: no run can have that name.
    """
    if not _is_inside(home, name):
        raise UnknownRunError(f"no run can be named {name!r}: it is not that of a folder in {home / 'runs'}")
    return home / "runs" / name


def _is_inside(home: Path, name: str) -> bool:
    """Whether a name is that of a folder in the home, and not of a link to elsewhere; none is longer than 255."""
    if len(name) > 255 or not _NAME.fullmatch(name):
        return False
    return os.path.realpath(home / "runs" / name) == os.path.join(os.path.realpath(home / "runs"), name)


def shard_name(start: int) -> str:
    return f"{start:08d}.h5"
