"""Opens a shard's file for reading, after checking that it matches ``run.json`` and the manifest.

A shard may come from elsewhere, or from another run of the same shape. So these are checked before
anything is read: the structure of the file, the names, shapes and dtypes of its arrays, its run,
and its seeds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import specs
from ..specs import FULL, NONE, Anatomy, RunSpec
from .array_places import structure_at
from .hdf5 import ArrayPlace, FileStructure, Malformed, opened, read_array, read_row
from .label_files import SET_NAME
from .layout import IMAGE, LABELS, NULL_TEXT, PREVIEW_SIZE, SEED, TIMESTEP, X_0, X
from .manifest import Shard

FLOATS = (np.dtype(np.float16), np.dtype(np.float32))


@dataclass(frozen=True)
class ShardFile:
    """An open shard. Its methods raise KeyError for a missing array, and the errors of ``hdf5``."""

    descriptor: int
    places: Mapping[str, ArrayPlace]
    attributes: Mapping[str, Any]

    def step(self, name: str, step: int) -> np.ndarray:
        """Returns one step of an array for all samples: (samples, ...)."""
        return read_array(self.descriptor, self.places[name], step)

    def row(self, name: str, step: int, row: int) -> np.ndarray:
        """Returns one sample of the shard at one step."""
        return read_row(self.descriptor, self.places[name], step, row)

    def all(self, name: str) -> np.ndarray:
        """Returns a whole array."""
        return read_array(self.descriptor, self.places[name])

    def labels(self) -> dict[tuple[str, str], np.ndarray]:
        """Returns the labels that were read from the images.

        The result is (set, name) -> values (n,).
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
    """Opens a shard of a run during the block.

    Args:
        path: The file.
        shard: The entry in the manifest.
        spec: The spec in run.json.
        anatomy: The anatomy in run.json.
        checked: Files that were checked before. They are not checked again.

    Raises:
        Malformed: it does not match run.json and the manifest.
        FileNotFoundError: it is missing.
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
    """Makes sure that a shard's arrays match the run.

    They must have the right names, shapes and dtypes, and there must be no others.

    Raises:
        Malformed: they do not match.
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
        elif name == NULL_TEXT:
            fits, words = (
                _is_null_text(place, spec, n),
                f"({spec.steps}, {n}, tokens, channels), float32, of a null-text inversion",
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
    """Makes sure that a shard belongs to this run.

    It must also contain the samples that the manifest names.

    Raises:
        Malformed: it does not.
    """
    try:
        held = (int(file.attributes["start"]), int(file.attributes["stop"]))
        of = file.attributes.get("run") or json.loads(file.attributes.get("provenance", "{}")).get(
            "run"
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise Malformed("it does not say which samples it holds") from error
    if held != (shard.start, shard.stop):
        raise Malformed(
            f"it holds samples {held[0]} to {held[1] - 1}, not those that the manifest says"
        )
    if of not in (None, spec.name):
        raise Malformed(f"it belongs to another run, {str(of)[:100]!r}")
    if SEED in file.places:
        seeds = file.all(SEED)
        if not np.array_equal(seeds, spec.seed + np.arange(shard.start, shard.stop)):
            raise Malformed(
                f"it has other seeds, from {seeds[0]} on; expected {spec.seed + shard.start}"
            )


def _expected(
    spec: RunSpec, anatomy: Anatomy, n: int
) -> dict[str, tuple[tuple[int, ...], tuple[np.dtype, ...]]]:
    """Returns the shape and dtypes of every array of a shard of ``n`` samples, without labels and
    previews.
    """
    found = {
        X: ((spec.steps + 1, n, *anatomy.x), (np.dtype(np.float32),)),
        IMAGE: ((n, *anatomy.image), (np.dtype(np.uint8),)),
        SEED: ((n,), (np.dtype(np.int64),)),
        TIMESTEP: ((spec.steps,), (np.dtype(np.int64), np.dtype(np.int32), np.dtype(np.float64))),
    }
    for site in anatomy.storable:
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


def _is_null_text(place: ArrayPlace, spec: RunSpec, n: int) -> bool:
    fits = place.shape[:2] == (spec.steps, n) and len(place.shape) == 4 and min(place.shape) > 0
    return fits and place.dtype == np.float32 and spec.inversion == specs.NULL_TEXT


def _is_label(name: str, place: ArrayPlace, n: int) -> bool:
    top, *rest = name.split("/")
    fits = top == LABELS and len(rest) == 2 and all(SET_NAME.fullmatch(part) for part in rest)
    return fits and place.shape == (n,) and place.dtype == np.float32
