"""Directions saved by name beside their run: ``<run>/directions/<name>.h5``, one immutable file each.

A file holds the move's arrays, and in its attributes what kind it is, the model and timesteps it is for, and the JSON
of what made it.
"""

from __future__ import annotations

import importlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from ..cache.files import commit_file
from ..cache.layout import DIRECTIONS, PARTIAL
from ..cache.reading import Run
from ..errors import CacheError, UsageError, did_you_mean
from .direction import Move, digest_of

SCHEMA = 1
KINDS = {"shift": ("direction", "Direction"), "vae": ("vae", "VaeMove"), "local": ("local", "LocalMove"),
         "block": ("asyrp", "BlockMove"),
         "x": ("pullback", "PixelMove")}  # fmt: skip
"""Kind -> module and class; imported when one is met."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,79}")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of a saved direction without its arrays. ``samples``: those of its run when it was saved; 0: of an
    older file, which does not say."""

    name: str
    kind: str
    digest: str
    model: str
    steps: int
    made_by: dict[str, Any]
    bytes: int
    samples: int = 0

    @property
    def method(self) -> str:
        return str(self.made_by.get("method", self.kind))


def check_name(name: str) -> str:
    """Itself, if a direction may be called that.

    Raises:
        UsageError: it may not.
    """
    if not _NAME.fullmatch(name) or name.endswith((".", " ")):
        raise UsageError(
            f"a direction's name has 1 to 80 letters, digits, spaces, dots, dashes and underscores, and begins with a "
            f"letter or digit; got {name!r}"
        )
    return name


def save_move(run: Run, name: str, move: Move, replace: bool = False) -> Path:
    """Saves a move under a name: written aside, renamed when whole.

    Raises:
        UsageError: there is another of that name, and ``replace`` was not said.
    """
    folder = run.folder / DIRECTIONS
    final = folder / f"{check_name(name)}.h5"
    digest = digest_of(move)
    if final.exists() and not replace:
        if read_entry(final).digest == digest:
            return final
        raise UsageError(f"run {run.name} has another direction named {name!r}; choose another name, or replace it")
    folder.mkdir(exist_ok=True)
    partial = final.with_name(f"{final.name}.{os.getpid()}{PARTIAL}")
    with h5py.File(partial, "w") as file:
        file.attrs.update(schema=SCHEMA, kind=move.kind, digest=digest, model=move.model)
        file.attrs["timesteps"] = list(move.timesteps)
        file.attrs["samples"] = len(run)
        file.attrs["made_by"] = json.dumps(move.made_by)
        for key, array in move.arrays().items():
            file.create_dataset(key, data=array)
    commit_file(partial, final)
    return final


def list_moves(run: Run) -> list[Entry]:
    """The saved directions of a run, by name; files that are none are passed over."""
    found = []
    for path in sorted((run.folder / DIRECTIONS).glob("*.h5")):
        try:
            found.append(read_entry(path))
        except CacheError:
            continue
    return found


def load_move(run: Run, name: str) -> Move:
    """A saved direction, by name.

    Raises:
        UsageError: there is none of that name; the nearest are named.
        CacheError: its file is damaged.
    """
    names = [entry.name for entry in list_moves(run)]
    path = run.folder / DIRECTIONS / f"{name}.h5"
    if not _NAME.fullmatch(name) or not path.is_file():
        raise UsageError(f"run {run.name} has no direction {name!r}{did_you_mean(name, names)}")
    entry = read_entry(path)
    module, cls = KINDS[entry.kind]
    with h5py.File(path, "r") as file:
        arrays = {key: item[()] for key, item in _datasets(file).items()}
        timesteps = tuple(float(t) for t in file.attrs["timesteps"])
    kind = getattr(importlib.import_module(f".{module}", __package__), cls)
    move = kind.from_arrays(arrays, entry.made_by, entry.model, timesteps)
    if digest_of(move) != entry.digest:
        raise CacheError(f"{path} is damaged: what it holds is not what its digest says; fit or import it again")
    return move


def find_move(run: Run, digest: str) -> Move | None:
    """The saved direction of that digest, if there is one."""
    for entry in list_moves(run):
        if entry.digest == digest:
            return load_move(run, entry.name)
    return None


def delete_move(run: Run, name: str) -> Entry | None:
    """Takes a saved direction away, also one whose file is damaged.

    Returns what was known of it; None of a damaged one.

    Raises:
        UsageError: there is none of that name; the nearest are named.
    """
    path = run.folder / DIRECTIONS / f"{name}.h5"
    if not _NAME.fullmatch(name) or not path.is_file():
        names = [entry.name for entry in list_moves(run)]
        raise UsageError(f"run {run.name} has no direction {name!r}{did_you_mean(name, names)}")
    try:
        entry = read_entry(path)
    except CacheError:
        entry = None
    path.unlink()
    return entry


def read_entry(path: Path) -> Entry:
    """What a direction's file says of itself.

    Raises:
        CacheError: it is not one, or of a newer hcache.
    """
    try:
        with h5py.File(path, "r") as file:
            attrs = dict(file.attrs)
            if int(attrs["schema"]) > SCHEMA:
                raise CacheError(f"{path} was written by a newer hcache; update hcache")
            entry = Entry(
                name=path.stem,
                kind=str(attrs["kind"]),
                digest=str(attrs["digest"]),
                model=str(attrs["model"]),
                steps=len(attrs["timesteps"]),
                made_by=dict(json.loads(attrs["made_by"])),
                bytes=path.stat().st_size,
                samples=int(attrs.get("samples", 0)),
            )
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise CacheError(f"{path} is not a direction's file ({type(error).__name__}: {error})") from error
    if entry.kind not in KINDS:
        raise CacheError(f"{path} holds a direction of kind {entry.kind!r}; known are {', '.join(KINDS)}")
    return entry


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    found: dict[str, h5py.Dataset] = {}
    file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return found
