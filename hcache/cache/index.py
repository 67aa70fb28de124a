"""``index.h5``: all shards of a run as one file, by reference, for xarray, HDF5 viewers and whatever reads HDF5."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np

from .files import commit_file
from .layout import INDEX, PARTIAL, SEED, SHARDS, TIMESTEP
from .reading import Run


def write_index(run: Run) -> Path | None:
    """Every dataset of every committed shard as one, by reference, with the axes named.

    Shards are named relative to it, so the run may be moved. Datasets that some shard holds in a wider dtype are given
    the widest. Nothing is written for a run without shards.
    """
    if not run.shards:
        return None
    final = run.folder / INDEX
    partial = final.with_name(f"{final.name}.{os.getpid()}{PARTIAL}")
    shapes = _shapes(run)
    with h5py.File(partial, "w", libver="v110", track_order=True) as index:
        with h5py.File(run.folder / SHARDS / run.shards[0].file, "r") as first:
            for name in (TIMESTEP, SEED):
                values = first[name][:] if name == TIMESTEP else [run.seed(int(s)) for s in run.sample_ids]
                index.create_dataset(name, data=np.asarray(values)).make_scale("step" if name == TIMESTEP else "sample")
        for name, (shape, dtype, axis, names) in shapes.items():
            layout = h5py.VirtualLayout(shape=shape, dtype=dtype)
            row = 0
            for shard in run.shards:
                count = shard.stop - shard.start
                part = list(shape)
                part[axis] = count
                source = h5py.VirtualSource(f"{SHARDS}/{shard.file}", name, shape=tuple(part), dtype=dtype)
                where = [slice(None)] * len(shape)
                where[axis] = slice(row, row + count)
                layout[tuple(where)] = source
                row += count
            dataset = index.create_virtual_dataset(name, layout)
            _name_axes(index, dataset, names)
    commit_file(partial, final)
    return final


def _shapes(run: Run) -> dict[str, tuple[tuple[int, ...], np.dtype, int, tuple[str, ...]]]:
    """Of every dataset that all shards hold: whole shape, widest dtype, the axis of samples, the names of the axes."""
    found: dict[str, tuple[tuple[int, ...], np.dtype, int, tuple[str, ...]]] = {}
    for number, shard in enumerate(run.shards):
        with h5py.File(run.folder / SHARDS / shard.file, "r") as file:
            here = {}
            file.visititems(
                lambda name, item, here=here: here.update({name: item}) if isinstance(item, h5py.Dataset) else None
            )
            for name, item in here.items():
                if name in (TIMESTEP, SEED):
                    continue
                names = tuple(dim.label for dim in item.dims)
                axis = names.index("sample") if "sample" in names else 0
                shape = list(item.shape)
                shape[axis] = len(run)
                dtype = np.promote_types(found[name][1], item.dtype) if name in found else item.dtype
                if number == 0 or name in found:
                    found[name] = (tuple(shape), dtype, axis, names)
            for name in set(found) - set(here):
                del found[name]
    return found


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    found: dict[str, h5py.Dataset] = {}
    file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return found


def _name_axes(index: h5py.File, dataset: h5py.Dataset, names: tuple[str, ...]) -> None:
    """Every axis gets a scale, as xarray wants it: steps and samples the real ones, the others a plain count."""
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
