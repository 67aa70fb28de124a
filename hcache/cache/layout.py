"""Every name on disk and in HDF5, in one place.

    <home>/runs/<name>/
      run.json                the run and its provenance, written first
      shards/00000000.h5      immutable; named after its first sample
      shards/*.partial        a shard in work; with *.finished beside it, whole and not taken in yet
      shards/*.working        kept fresh by a worker that outlives its command
      manifest.jsonl          one line for each committed shard
      index.h5                all shards as one, by reference, for other tools
      job.json, job.log       who is extracting, and what it said
      in_work.png             during extraction: the samples in work, as they are at this step
      verify.json             what the last verification found
      prompts.txt             one prompt for each sample, as the job was given them
      images/                 of an inversion: the real pictures, as the model was given them
      labels/<set>.csv        label sets made by hand or imported
      labels/<set>.json       which values hcache wrote into the set
      directions/<name>.h5    directions saved by name
      renders/<digest>.png    rendered cells, each with its recipe inside; the oldest go first
      tasks/<id>.json, .log   background tasks: how far each is, its result, and what it said
      measures/*.json, *.png  results of measures, with their parameters and samples; pictures
      projections/<site>.npz  every sample at every step on a few axes
  sparse/*.h5, *.checkpoint  dictionaries of sparse features; trainings that can go on
      projections/attention.<sample>.npz  to which token each place attends, by step
      readers/<set>.json      what read the label set of that name
      slurm/                  what SLURM tasks said
      .token                  while a cluster extracts: what every machine must be able to read
      lock, holder.json       the lock of who extracts or repairs, and the lease that names it
      lock.labels, ...        the same for who changes a folder

A shard holds samples ``start`` to ``stop`` of the run:

    h               (step, sample, c, h, w)         as computed, float16 unless it would overflow
    skip.<g>.<i>    (step, sample, c, h, w)         likewise; (step, sample, c) when pooled
    attention       (step, sample, token, h, w)     likewise; which token each place attends to
    x               (step + 1, sample, c, h, w)     float32: a trajectory can go on from it exactly
    x_0             (step, sample, height, width, 3)  uint8: predicted x_0, at most 64 pixels a side
    null_text       (step, sample, token, channel)  float32: optimised by null-text inversion
    image           (sample, height, width, 3)      uint8
    seed (sample), timestep (step)                  dimension scales; of a flow they are fractions
    labels/<set>/<name>  (sample)                   float32, read from the image when it was made
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

import platformdirs

from ..atomic import is_there, make_folder, partial_path, reason
from ..errors import FULL, HomeError, NoSpaceError, UnknownRunError, did_you_mean
from ..foreign import is_second_copy

SCHEMA = 2
"""The schema version. 1: shards were committed with their SHA-256."""

RUN_JSON, MANIFEST, JOB_JSON, JOB_LOG, LOCK = (
    "run.json",
    "manifest.jsonl",
    "job.json",
    "job.log",
    "lock",
)
PROMPTS, VERIFY_JSON, HOLDER_JSON = "prompts.txt", "verify.json", "holder.json"
STATED_JSON = "scheduler_config.json"
SHARDS, LABELS, IMAGES, DIRECTIONS, RENDERS = "shards", "labels", "images", "directions", "renders"
MEASURES, PROJECTIONS, TASKS, READERS = "measures", "projections", "tasks", "readers"
IN_WORK = "in_work.png"
TOKEN, SLURM_LOGS = ".token", "slurm"
FINISHED, WORKING = ".finished", ".working"
"""Suffixes of a shard's name: of the unfinished file, of its record once it is complete, and of the
mark of a worker that is computing it.
"""
INDEX, SPARSE = "index.h5", "sparse"
FOLDERS = (
    SHARDS,
    LABELS,
    IMAGES,
    DIRECTIONS,
    RENDERS,
    MEASURES,
    PROJECTIONS,
    TASKS,
    READERS,
    SPARSE,
)
"""The folders in a run's folder."""

H, X, X_0, IMAGE, SEED, TIMESTEP = "h", "x", "x_0", "image", "seed", "timestep"
NULL_TEXT = "null_text"

PREVIEW_SIZE = 64
"""The largest side of a stored predicted x_0, in pixels. They are stored for viewing only."""

RENDER_BYTES = 512 * 2**20
"""The largest total size of the rendered cells of one run, in bytes."""

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def home_folder(home: str | Path | None = None) -> Path:
    """Returns the home. It is the given one, or ``HCACHE_HOME``, or the user's cache folder, and
    need not exist.
    """
    chosen = (
        home
        or os.environ.get("HCACHE_HOME")
        or platformdirs.user_cache_dir("hcache", appauthor=False)
    )
    try:
        return Path(chosen).expanduser()
    except RuntimeError as error:
        raise HomeError(
            f"the home {chosen} names no user's folder; choose another with --home or HCACHE_HOME"
        ) from error


def writable_home(home: str | Path | None = None) -> Path:
    """Returns the home, and creates it if necessary.

    Raises:
        HomeError: it cannot be created or written to.
    """
    folder = home_folder(home)
    try:
        make_folder(folder / "runs")
        probe = partial_path(folder / "runs" / ".probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        if error.errno in FULL:
            raise NoSpaceError(
                f"no space left in the home {folder}: {reason(error)}; make space"
            ) from error
        raise HomeError(
            f"the home {folder} cannot be written ({reason(error)}); choose another with --home or"
            " HCACHE_HOME"
        ) from error
    return folder


def run_names(home: Path) -> list[str]:
    """Lists the runs of a home, newest first. Links are left out, because their targets are not in
    the home.

    Raises:
        HomeError: the home exists but cannot be read.
    """
    times: dict[str, float] = {}
    for name in names_in(home):
        if RUN_NAME.fullmatch(name) and not (home / "runs" / name).is_symlink():
            try:
                times[name] = os.lstat(home / "runs" / name / RUN_JSON).st_mtime
            except (
                FileNotFoundError,
                NotADirectoryError,
            ):  # not a run, or a run that is being removed
                continue
            except (
                OSError
            ):  # an unreadable folder counts as a run; the error appears when it is opened
                times[name] = 0.0
    return sorted(times, key=times.__getitem__, reverse=True)


def linked_names(home: Path) -> list[str]:
    """Lists the links in the folder of runs by name. A link is not a run of this home."""
    return sorted(name for name in names_in(home) if (home / "runs" / name).is_symlink())


def names_in(home: Path) -> list[str]:
    """Lists the names in the folder of runs.

    The list is empty if the home does not exist yet.

    Raises:
        HomeError: the home exists but cannot be read, is not a folder, or is a broken link.
    """
    try:
        return os.listdir(home / "runs")
    except FileNotFoundError as error:
        for path in (home, home / "runs"):
            if path.is_symlink():
                raise HomeError(
                    f"{path} is a link to {os.readlink(path)}, which is not there; mount its disk,"
                    " or choose another home with --home or HCACHE_HOME"
                ) from error
        return []
    except OSError as error:
        raise HomeError(
            f"the home {home} could not be read: {reason(error)}; make it readable, or choose"
            " another with --home or HCACHE_HOME"
        ) from error


def home_of(folder: Path) -> Path:
    """Returns the home that contains the folder of a run."""
    return folder.parent.parent


def run_folder(home: Path, name: str) -> Path:
    """Returns the folder of a run by name. The name may come from a URL; it cannot lead out of the
    home.

    Raises:
        UnknownRunError: there is no such run. The message names the nearest.
        HomeError: the home or the run cannot be read.
    """
    folder = home / "runs" / name if len(name) <= 255 and RUN_NAME.fullmatch(name) else None
    if folder is not None:
        refuse_link(folder)
        try:
            if is_there(folder / RUN_JSON):
                return folder
        except OSError as error:
            raise HomeError(
                f"the run {folder} could not be read: {reason(error)}; make it readable"
            ) from error
    raise UnknownRunError(f"no run {name!r} in {home}{did_you_mean(name, run_names(home))}")


def new_run_folder(home: Path, name: str) -> Path:
    """Returns the folder of a new or existing run by name. The name cannot lead out of the home.

    Raises:
        UnknownRunError: no run can have that name, or it is a link.
    """
    if len(name) > 255 or not RUN_NAME.fullmatch(name):
        raise UnknownRunError(
            f"no run can be named {name!r}: it is not the name of a folder in {home / 'runs'}"
        )
    refuse_link(home / "runs" / name)
    return home / "runs" / name


def refuse_link(folder: Path) -> None:
    """Makes sure that a run's folder is not a link. This holds for reading and writing: a link in
    files from somebody else could lead anywhere.

    Raises:
        UnknownRunError: it is a link.
    """
    if folder.is_symlink():
        raise UnknownRunError(
            f"no run: {folder} is a link, and links among runs are neither read nor written. Make"
            " the whole home a link, or choose a home on the other disk with --home or HCACHE_HOME"
        )


def shard_name(start: int) -> str:
    """Returns the file name of a shard."""
    return f"{start:08d}.h5"


_SHARD_NAME = re.compile(r"[0-9]{8,10}\.h5")


def is_shard_name(name: str) -> bool:
    """Returns whether a shard may have this file name."""
    return bool(_SHARD_NAME.fullmatch(name))


def second_copies(run: Path) -> list[str]:
    """Lists the second copies that sync clients made of run files.

    The names are relative to the run's folder.
    """
    found = []
    for folder in (run, *(run / name for name in FOLDERS)):
        with suppress(OSError):  # missing or unreadable folders are ignored
            found += [folder / name for name in os.listdir(folder) if is_second_copy(name)]
    return sorted(str(path.relative_to(run)) for path in found)
