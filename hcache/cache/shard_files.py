"""A shard's file, opened to be read: once it has been found to be what ``run.json`` and the
manifest say.

A shard may come from elsewhere, or from another run of the same shape. So before anything is read
of it: its structure, the names, shapes and dtypes of its arrays, which run it is of, and which
seeds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..specs import FULL, NONE, Anatomy, RunSpec
from .array_places import structure_at
from .hdf5 import ArrayPlace, FileStructure, Malformed, opened, read_array, read_row
from .label_files import SET_NAME
from .layout import IMAGE, LABELS, PREVIEW_SIZE, SEED, TIMESTEP, X_0, X
from .manifest import Shard

FLOATS = (np.dtype(np.float16), np.dtype(np.float32))


@dataclass(frozen=True)
class ShardFile:
    """An open shard. What reads it raises KeyError for an array that it has not, and what
    ``hdf5`` raises.
    """

    descriptor: int
    places: Mapping[str, ArrayPlace]
    attributes: Mapping[str, Any]

    def step(self, name: str, step: int) -> np.ndarray:
        """One step of an array, of all samples of the shard.

        (samples, ...).
        """
        return read_array(self.descriptor, self.places[name], step)

    def row(self, name: str, step: int, row: int) -> np.ndarray:
        """One sample of the shard at one step."""
        return read_row(self.descriptor, self.places[name], step, row)

    def all(self, name: str) -> np.ndarray:
        """All of an array."""
        return read_array(self.descriptor, self.places[name])

    def labels(self) -> dict[tuple[str, str], np.ndarray]:
        """The labels that were read off the images.

        (set, name) -> values (n,).
        """
        names = [name.split("/") for name in self.places if name.startswith(f"{LABELS}/")]
        return {
            (label_set, label): self.all("/".join((top, label_set, label)))
            for top, label_set, label in names
        }


@contextmanager
def open_shard(
    path: Path, shard: Shard, spec: RunSpec, anatomy: Anatomy, checked: dict[str, FileStructure]
) -> Iterator[ShardFile]:
    """A shard of a run, for as long as the block lasts.

    Args:
        path: The file.
        shard: What the manifest says of it.
        spec: What run.json says.
        anatomy: Likewise.
        checked: What was found right before, by file; it is not checked again.

    Raises:
        Malformed: it is not what run.json and the manifest say.
        FileNotFoundError: it is gone.
        OSError: it cannot be read.
    """
    with opened(path) as descriptor:
        found = structure_at(path, descriptor)
        file = ShardFile(descriptor=descriptor, places=found.places, attributes=found.attributes)
        if checked.get(shard.file) is not found:
            check_shapes(found, shard, spec, anatomy)
            check_identity(file, shard, spec)
            checked[shard.file] = found
        yield file


def check_shapes(found: FileStructure, shard: Shard, spec: RunSpec, anatomy: Anatomy) -> None:
    """Makes sure that a shard holds what the run says.

    Arrays of its names, shapes and dtypes, and no others.

    Raises:
        Malformed: it does not.
    """
    n = shard.stop - shard.start
    expected = _expected(spec, anatomy, n)
    for name, place in found.places.items():
        if name in expected:
            shape, dtypes = expected[name]
            fits = place.shape == shape and place.dtype.newbyteorder("=") in dtypes
            words = f"{shape}, {' or '.join(map(str, dtypes))}"
        elif name == X_0:
            fits, words = (
                _is_preview(place, spec.steps, n),
                f"({spec.steps}, {n}, up to {PREVIEW_SIZE}, ..., 3), uint8",
            )
        else:
            fits, words = (
                _is_label(name, place, n),
                "no array of that name, or a float32 label a sample",
            )
        if not fits:
            raise Malformed(
                f"{name[:100]} is of shape {place.shape} and dtype {place.dtype}; expected {words}"
            )


def check_identity(file: ShardFile, shard: Shard, spec: RunSpec) -> None:
    """Makes sure that a shard is of this run.

    And of the samples that the manifest says.

    Raises:
        Malformed: it is not.
    """
    try:
        held = (int(file.attributes["start"]), int(file.attributes["stop"]))
        of = file.attributes.get("run") or json.loads(file.attributes.get("provenance", "{}")).get(
            "run"
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise Malformed("it does not say of which samples it is") from error
    if held != (shard.start, shard.stop):
        raise Malformed(
            f"it holds samples {held[0]} to {held[1] - 1}, not those that the manifest says"
        )
    if of not in (None, spec.name):
        raise Malformed(f"it is of another run, {str(of)[:100]!r}")
    if SEED in file.places:
        seeds = file.all(SEED)
        if not np.array_equal(seeds, spec.seed + np.arange(shard.start, shard.stop)):
            raise Malformed(
                f"it is of other seeds, from {seeds[0]} on; expected {spec.seed + shard.start}"
            )


def _expected(
    spec: RunSpec, anatomy: Anatomy, n: int
) -> dict[str, tuple[tuple[int, ...], tuple[np.dtype, ...]]]:
    """Shape and dtypes of every array that a shard of ``n`` samples may have, but for labels and
    previews.
    """
    found = {
        X: ((spec.steps + 1, n, *anatomy.x), (np.dtype(np.float32),)),
        IMAGE: ((n, *anatomy.image), (np.dtype(np.uint8),)),
        SEED: ((n,), (np.dtype(np.int64),)),
        TIMESTEP: ((spec.steps,), (np.dtype(np.int64), np.dtype(np.int32), np.dtype(np.float64))),
    }
    for site in anatomy.all_sites:
        policy = spec.policy(site)
        for member in anatomy.members(site) if policy != NONE else ():
            shape = anatomy.shape(member)
            found[member] = ((spec.steps, n, *(shape if policy == FULL else shape[:1])), FLOATS)
    return found


def _is_preview(place: ArrayPlace, steps: int, n: int) -> bool:
    if len(place.shape) != 5 or place.dtype != np.uint8:
        return False
    sizes = place.shape[2:4]
    return place.shape == (steps, n, *sizes, 3) and 0 < min(sizes) and max(sizes) <= PREVIEW_SIZE


def _is_label(name: str, place: ArrayPlace, n: int) -> bool:
    top, *rest = name.split("/")
    fits = top == LABELS and len(rest) == 2 and all(SET_NAME.fullmatch(part) for part in rest)
    return fits and place.shape == (n,) and place.dtype == np.float32
