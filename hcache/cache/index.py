"""``index.h5``: all shards of a run as one file, by reference, for xarray, HDF5 viewers and other
programs.

Every commit replaces it by a rename, so a program that has the old file open keeps reading it. No
shard is opened twice and no reference is made twice, so the cost of a commit does not grow with the
number of shards.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from ..atomic import flush_file, sync_folder
from ..errors import CacheError
from .array_places import structure_at
from .hdf5 import (
    MOST_OBJECTS,
    Malformed,
    hard_member,
    look_into,
    opened,
    place_of,
    read_array,
    replacing_hdf5,
)
from .layout import INDEX, SEED, SHARDS, TIMESTEP
from .manifest import Shard
from .reading import Run, unreadable
from .shards import axis_names


@dataclass(frozen=True, kw_only=True)
class _Column:
    """A dataset that every shard contains: its shape in one shard, its widest dtype, and the names
    of its axes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    names: tuple[str, ...]

    @property
    def axis(self) -> int:
        """The axis of samples, along which shards follow each other."""
        return self.names.index("sample") if "sample" in self.names else 0

    def of(self, samples: int) -> tuple[int, ...]:
        """Returns the shape for a number of samples."""
        return (*self.shape[: self.axis], samples, *self.shape[self.axis + 1 :])


class IndexWriter:
    """Writes the index, with every dataset of all shards as one dataset.

    The datasets refer to the shards, and their axes are named. Shards are named relative to the
    index, so the run can be moved. A dataset gets the widest dtype of any shard. Datasets that some
    shard does not contain are left out.
    """

    def __init__(self, folder: Path, first_seed: int, shards: Iterable[Shard] = ()) -> None:
        self.folder, self.first_seed = folder, first_seed
        self._shards: list[Shard] = []
        self._columns: dict[str, _Column] = {}
        self._references: dict[str, h5py.h5p.PropDCID] = {}
        self._timesteps = np.zeros(0)
        self._written = False
        for shard in shards:
            self.add(shard)

    def add(self, shard: Shard) -> None:
        """Adds a shard. Only this shard is opened."""
        self._written = False
        path = self.folder / SHARDS / shard.file
        try:
            with opened(path) as descriptor:
                places = structure_at(path, descriptor).places
                self._timesteps = read_array(descriptor, places[TIMESTEP])
        except (Malformed, FileNotFoundError, KeyError) as error:
            raise CacheError(
                f"the shard {path} is damaged ({error}); `python -m hcache repair"
                f" {self.folder.name}` repairs it"
            ) from error
        except OSError as error:
            raise unreadable(f"the shard {path}", error) from error
        found = {
            name: _Column(
                shape=place.shape, dtype=place.dtype, names=axis_names(name, len(place.shape))
            )
            for name, place in places.items()
            if name not in (TIMESTEP, SEED)
        }
        if self._shards:
            found = {
                name: replace(found[name], dtype=np.promote_types(found[name].dtype, column.dtype))
                for name, column in self._columns.items()
                if name in found
            }
        self._columns = found
        is_last = not self._shards or shard.start >= self._shards[-1].stop
        self._shards.append(shard)
        if is_last:
            self._refer(shard, len(self) - (shard.stop - shard.start))
            return
        self._shards.sort(key=lambda other: other.start)
        self._references.clear()  # the following shards have moved
        row = 0
        for other in self._shards:
            self._refer(other, row)
            row += other.stop - other.start

    def __len__(self) -> int:
        return sum(shard.stop - shard.start for shard in self._shards)

    def write(self, durable: bool = False) -> None:
        """Replaces ``index.h5``. Without shards it does nothing.

        The index can always be made again from the shards, so it is flushed to the disk only at the
        end (``durable``).
        """
        if not self._shards:
            return
        final = self.folder / INDEX
        if durable and self._written and final.is_file():
            flush_file(final)
            sync_folder(final.parent)
            return
        with replacing_hdf5(final, durable) as index:
            self._fill(index)
        self._written = True

    def _refer(self, shard: Shard, row: int) -> None:
        """Adds the shard to every dataset, as its samples from ``row`` on.

        It uses h5py's lower level, because a ``VirtualLayout`` is made again for every file, at
        seven times the cost.
        """
        count = shard.stop - shard.start
        for name, column in self._columns.items():
            source = h5py.h5s.create_simple(column.of(count))
            target = h5py.h5s.create_simple(column.of(row + count))
            at = [0] * len(column.shape)
            at[column.axis] = row
            target.select_hyperslab(tuple(at), column.of(count))
            references = self._references.setdefault(name, h5py.h5p.create(h5py.h5p.DATASET_CREATE))
            references.set_virtual(target, f"{SHARDS}/{shard.file}".encode(), name.encode(), source)

    def _fill(self, index: h5py.File) -> None:
        samples = np.concatenate([np.arange(shard.start, shard.stop) for shard in self._shards])
        index.create_dataset(TIMESTEP, data=self._timesteps).make_scale("step")
        index.create_dataset(SEED, data=self.first_seed + samples).make_scale("sample")
        for name, column in self._columns.items():
            parent, _, last = name.rpartition("/")
            group = index.require_group(parent) if parent else index
            h5py.h5d.create(
                group.id,
                last.encode(),
                h5py.h5t.py_create(column.dtype, logical=True),
                h5py.h5s.create_simple(column.of(len(samples))),
                dcpl=self._references[name],
            )
            _name_axes(index, index[name], column.names)


def write_index(run: Run) -> None:
    """Makes the index of a run again from all its shards."""
    IndexWriter(run.folder, run.spec.seed, run.shards).write(durable=True)


def index_is_behind(folder: Path, first_seed: int, shards: Iterable[Shard]) -> bool:
    """Returns whether the index must be made again.

    That is so if it does not contain the samples of these shards, or if hcache did not make it. Its
    writer may have been killed between a commit and the index, or the index came from elsewhere.
    """
    shards = list(shards)
    seeds = [first_seed + sample for shard in shards for sample in range(shard.start, shard.stop)]
    if not seeds:
        return False
    try:
        return index_problem(folder, shards) != "" or seeds_of_index(folder).tolist() != seeds
    except (OSError, Malformed):
        return True


def seeds_of_index(folder: Path) -> np.ndarray:
    """Returns the seeds of the samples that the index refers to.

    Raises:
        FileNotFoundError: there is no index.
        OSError: it cannot be read.
        Malformed: it is not an index.
    """
    with opened(folder / INDEX) as descriptor:
        size = os.fstat(descriptor).st_size
        return read_array(
            descriptor,
            look_into(descriptor, lambda file: place_of(hard_member(file, SEED), SEED, size)),
        )


def index_problem(folder: Path, shards: Iterable[Shard]) -> str:
    """Describes a part of the index that hcache did not make.

    The text is empty if hcache made all of it. Other programs follow the references of the index,
    so none may lead out of the run.

    Raises:
        FileNotFoundError: there is no index.
        OSError: it cannot be read.
    """
    known = {f"{SHARDS}/{shard.file}" for shard in shards}

    def look(file: h5py.File) -> None:
        """Goes through all groups and arrays, and raises Malformed at the first foreign one."""
        groups = [file]
        for group in groups:
            for name in group:
                item = hard_member(group, name)
                if isinstance(item, h5py.Group):
                    groups.append(item)
                elif not isinstance(item, h5py.Dataset):
                    raise Malformed(f"{name} is neither a group nor an array")
                else:
                    _check_references(item, known)
                if len(groups) > MOST_OBJECTS:
                    raise Malformed("it holds more groups than an index does")

    try:
        with opened(folder / INDEX) as descriptor:
            look_into(descriptor, look)
    except Malformed as error:
        return str(error)
    return ""


def _check_references(item: h5py.Dataset, known: set[str]) -> None:
    """Makes sure that a dataset is in the index itself, or consists of datasets of known shards."""
    plist = item.id.get_create_plist()
    if plist.get_external_count():
        raise Malformed("it refers to other files")
    if plist.get_layout() == h5py.h5d.VIRTUAL:
        for number in range(plist.get_virtual_count()):
            if (name := plist.get_virtual_filename(number)) not in known:
                raise Malformed(f"it refers to {name[:200]}, which is no shard of the run")


def _name_axes(index: h5py.File, dataset: h5py.Dataset, names: tuple[str, ...]) -> None:
    """Gives every axis a scale for xarray: the real steps and samples, and a plain count for the
    others.
    """
    for axis, label in enumerate(names or ("sample",)):
        label = label or "sample"
        if label == "sample":
            scale = index[SEED]
        elif label == "step":
            scale = index[TIMESTEP]
        else:
            name = f"{label}_{dataset.shape[axis]}"
            if name not in index:
                index.create_dataset(name, data=np.arange(dataset.shape[axis])).make_scale(name)
            scale = index[name]
        dataset.dims[axis].label = label
        dataset.dims[axis].attach_scale(scale)
