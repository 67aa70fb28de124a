"""Directions saved by name beside their run: ``<run>/directions/<name>.h5``, one immutable file
each.

A file contains the move's arrays. Its attributes are the kind of the move, its model and timesteps,
and the JSON of its description.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import flush_file, is_there, make_folder, partial_path, put_in_place, sweep
from ..cache.hdf5 import FileStructure, Malformed, Output, opened, read_array, structure_of
from ..cache.layout import DIRECTIONS
from ..cache.locks import part_lock
from ..cache.reading import Run, unreadable
from ..errors import CacheError, UsageError, did_you_mean
from ..foreign import is_foreign, same_but_for_case
from .direction import Move, digest_of, site_of
from .fitting import kind_of_move, kinds_of_moves

SCHEMA = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,79}")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The description of a saved direction, without its arrays.

    ``samples``: the number of samples of its run when it was saved. ``of``: the number of
    directions from the same fit; 0 for an older file, which does not contain it.
    """

    name: str
    kind: str
    digest: str
    model: str
    steps: int
    made_by: dict[str, Any]
    bytes: int
    samples: int = 0
    of: int = 0

    @property
    def method(self) -> str:
        """The method that made the direction."""
        return str(self.made_by.get("method", self.kind))

    @property
    def site(self) -> str:
        """The site that the direction acts at."""
        return site_of(self)


def check_name(name: str) -> str:
    """Returns the name, if a direction may have it.

    Raises:
        UsageError: it is not allowed.
    """
    if not _NAME.fullmatch(name) or name.endswith((".", " ")):
        raise UsageError(
            "a direction's name has 1 to 80 letters, digits, spaces, dots, dashes and underscores,"
            f" and begins with a letter or digit; got {name!r}"
        )
    return name


def save_move(run: Run, name: str, move: Move, replace: bool = False) -> Path:
    """Saves a move under a name, atomically.

    Raises:
        UsageError: another direction has that name, and ``replace`` is false.
        OSError: it cannot be written. An existing file is unchanged.
    """
    return save_moves(run, {check_name(name): move}, replace)[0]


def save_moves(run: Run, moves: Mapping[str, Move], replace: bool = False) -> list[Path]:
    """Saves all moves of one fit by name.

    All are written to temporary files before the first gets its name. If an earlier try of the same
    fit was killed between two names, its files are replaced.

    Raises:
        The errors of :func:`save_move`. Then nothing was saved.
    """
    folder = run.folder / DIRECTIONS
    make_folder(folder, parents=False)
    finals = {name: folder / f"{check_name(name)}.h5" for name in moves}
    partials: dict[Path, Path] = {}
    with part_lock(folder):
        for name, move in moves.items():
            if other := same_but_for_case(name, [path.stem for path in folder.glob("*.h5")]):
                raise UsageError(
                    f"run {run.name} has a direction {other!r}, and many disks do not tell {name!r}"
                    " from it; choose another name"
                )
            if (
                is_there(finals[name])
                and not replace
                and not is_same_fit(read_entry(finals[name]), move)
            ):
                raise UsageError(
                    f"run {run.name} has another direction named {name!r}; choose another name, or"
                    " replace it"
                )
        try:
            for name, move in moves.items():
                # a replaced move may have the same effect and another description
                if replace or not (is_there(finals[name]) and _is_saved(finals[name], move)):
                    sweep(finals[name])
                    partials[finals[name]] = partial = partial_path(finals[name])
                    _write(partial, move, len(run), len(moves))
            for final, partial in partials.items():
                put_in_place(partial, final)
        except BaseException:
            for partial in partials.values():
                with suppress(OSError):
                    partial.unlink(missing_ok=True)
            raise
    return list(finals.values())


def is_same_fit(entry: Entry, move: Move) -> bool:
    """Returns whether a saved direction is that move.

    A direction of the same fit that was not saved completely also counts.
    """
    return entry.digest == digest_of(move) or (
        entry.of > 1 and entry.made_by == json.loads(json.dumps(move.made_by))
    )


def interrupted(entries: Sequence[Entry], name: str, made_by: Mapping[str, Any]) -> bool:
    """Returns whether the directions under a fit's name are incomplete.

    Some of ``name``, ``name.0``, ... are then saved, but not all, because the process was killed
    while it saved them.

    Args:
        entries: All saved directions of the run.
        name: The name of the fit.
        made_by: The description of the fit. ``component`` is ignored.
    """
    plain = {
        key: value for key, value in json.loads(json.dumps(made_by)).items() if key != "component"
    }
    found = [entry for entry in entries if entry.name == name or entry.name.startswith(f"{name}.")]
    same = all(
        {k: v for k, v in entry.made_by.items() if k != "component"} == plain for entry in found
    )
    return bool(found) and same and all(entry.of > len(found) for entry in found)


def _is_saved(path: Path, move: Move) -> bool:
    """Returns whether a file contains that move completely."""
    try:
        return digest_of(_load(path)[1]) == digest_of(move)
    except CacheError:
        return False


def _write(path: Path, move: Move, samples: int, of: int) -> None:
    output = Output(path)
    try:
        attrs = output.file.attrs
        attrs.update(schema=SCHEMA, kind=move.kind, digest=digest_of(move), model=move.model)
        attrs["timesteps"] = list(move.timesteps)
        attrs["samples"], attrs["of"] = samples, of
        attrs["made_by"] = json.dumps(move.made_by)
        for key, array in move.arrays().items():
            output.file.create_dataset(key, data=array)
    except BaseException:
        with suppress(OSError):
            output.close()
        raise
    output.close()
    flush_file(path)


def list_moves(run: Run) -> list[Entry]:
    """Lists the saved directions of a run by name.

    :func:`damaged_moves` lists the unusable files.
    """
    return _look(run)[0]


def damaged_moves(run: Run) -> dict[str, str]:
    """Lists a run's direction files that cannot be used.

    The result is name -> reason.
    """
    return _look(run)[1]


def _look(run: Run) -> tuple[list[Entry], dict[str, str]]:
    found, damaged = [], {}
    for path in sorted((run.folder / DIRECTIONS).glob("*.h5")):
        if is_foreign(path.name):
            continue
        try:
            found.append(read_entry(path))
        except CacheError as error:
            if os.path.lexists(path):  # otherwise the file was removed meanwhile
                damaged[path.stem] = str(error)
    return found, damaged


def load_move(run: Run, name: str) -> Move:
    """Loads a saved direction by name.

    Raises:
        UsageError: there is no direction of that name. The message names the nearest.
        CacheError: its file is damaged.
    """
    path = run.folder / DIRECTIONS / f"{name}.h5"
    if not _NAME.fullmatch(name) or not os.path.lexists(path):
        names = [entry.name for entry in list_moves(run)]
        raise UsageError(f"run {run.name} has no direction {name!r}{did_you_mean(name, names)}")
    entry, move = _load(path)
    if digest_of(move) != entry.digest:
        raise CacheError(
            f"{path} is damaged: what it holds is not what its digest says; fit or import it again"
        )
    return move


def _load(path: Path) -> tuple[Entry, Move]:
    """Reads a direction's whole file."""
    entry, structure, arrays = _read(path, arrays=True)
    kind = kind_of_move(entry.kind)
    if kind is None:  # a package was removed after the listing
        raise _unknown(path, entry.kind)
    try:
        timesteps = tuple(float(t) for t in structure.attributes["timesteps"])
        return entry, kind.from_arrays(arrays, entry.made_by, entry.model, timesteps)
    except _ODD as error:
        raise CacheError(
            f"{path} is damaged: it does not hold what a direction does ({type(error).__name__}:"
            f" {error}); fit or import it again"
        ) from error


def find_move(run: Run, digest: str) -> Move | None:
    """Returns the saved direction with a digest, if there is one."""
    for entry in list_moves(run):
        if entry.digest == digest:
            return load_move(run, entry.name)
    return None


def delete_move(run: Run, name: str) -> Entry | None:
    """Deletes a saved direction, even if its file is damaged.

    Returns its entry, or None for a damaged file.

    Raises:
        UsageError: there is no direction of that name. The message names the nearest.
    """
    path = run.folder / DIRECTIONS / f"{name}.h5"
    with part_lock(path.parent):
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
    """Reads the description in a direction's file.

    Raises:
        CacheError: it is not a direction's file, or is from a newer hcache, or could not be read.
            The message says which.
    """
    return _read(path)[0]


_ODD = (
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    RecursionError,
    OverflowError,
    MemoryError,
)
"""The errors that wrong contents of a readable file can cause."""


def _read(path: Path, arrays: bool = False) -> tuple[Entry, FileStructure, dict[str, np.ndarray]]:
    """Returns the description and the contents of one and the same file, even if another file
    replaces it meanwhile.
    """
    try:
        with opened(path) as descriptor:
            structure = structure_of(descriptor)
            places = structure.places.items() if arrays else ()
            held = {key: read_array(descriptor, place) for key, place in places}
            size = os.fstat(descriptor).st_size
        attrs = structure.attributes
        if int(attrs["schema"]) > SCHEMA:
            raise CacheError(f"{path} was written by a newer hcache; update hcache")
        entry = Entry(
            name=path.stem,
            kind=str(attrs["kind"]),
            digest=str(attrs["digest"]),
            model=str(attrs["model"]),
            steps=len(attrs["timesteps"]),
            made_by=dict(json.loads(attrs["made_by"])),
            bytes=size,
            samples=int(attrs.get("samples", 0)),
            of=int(attrs.get("of", 0)),
        )
    except CacheError:
        raise
    except FileNotFoundError as error:
        raise CacheError(f"{path} is gone") from error
    except Malformed as error:
        raise CacheError(
            f"{path} is not a direction's file ({error}); fit or import it again"
        ) from error
    except _ODD as error:
        raise CacheError(
            f"{path} is not a direction's file ({type(error).__name__}: {error})"
        ) from error
    except OSError as error:
        raise unreadable(str(path), error) from error
    if kind_of_move(entry.kind) is None:
        raise _unknown(path, entry.kind)
    return entry, structure, held


def _unknown(path: Path, kind: str) -> CacheError:
    return CacheError(
        f"{path} holds a direction of kind {kind[:100]!r}, which none of the methods here makes;"
        f" known are {', '.join(kinds_of_moves())}"
    )
