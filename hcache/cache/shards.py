"""Writes one shard step by step, and commits it.

The file grows under a temporary name, is flushed and renamed, and only then entered in the
manifest. A reader thus never sees a partly written file, and a crash loses at most the current
shard. Any process may write the file up to the flush (``finish``). Only the process that holds the
run's lock renames it and writes the manifest (``commit_shard``). A worker whose master died
therefore changes nothing except its own temporary file.

The layout is contiguous. In an immutable file of fixed shape this serves both uses, all samples at
one step (one read) and one sample at all steps (one read per step), and no chunk has to be decoded.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from ..atomic import PARTIAL, flush_file, host_mark, is_there, make_folder, put_in_place
from ..errors import FULL, CacheError, NoSpaceError
from .files import checksum_of
from .half_floats import has_infinite
from .hdf5 import Output
from .layout import (
    IMAGE,
    LABELS,
    NULL_TEXT,
    RUN_JSON,
    SCHEMA,
    SEED,
    SHARDS,
    TIMESTEP,
    X_0,
    X,
    shard_name,
)
from .manifest import Shard, append_to_manifest
from .plan import format_bytes

_AXES = {
    3: ("step", "sample", "channel"),
    5: ("step", "sample", "channel", "height", "width"),
}


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A complete and flushed shard that is not committed yet.

    It still has its temporary name ``partial`` and is in no manifest.
    """

    shard: Shard
    partial: str


class ShardWriter:
    """Writes the samples ``start`` to ``stop`` of a run. Use it as a context manager, then
    ``commit``.

    The shard covers ``steps`` steps.
    """

    def __init__(
        self, run: Path, start: int, seeds: np.ndarray, timesteps: np.ndarray, store_dtype: str
    ) -> None:
        self.run, self.start, self.stop = run, start, start + len(seeds)
        self.steps, self.store_dtype = len(timesteps), np.dtype(store_dtype)
        self.widened: set[str] = set()
        self._final = run / SHARDS / shard_name(start)
        self._partial = self._final.with_name(partial_name(start))
        self._finished = False
        self._datasets: dict[str, h5py.Dataset] = {}
        make_folder(
            self._final.parent, parents=False
        )  # do not re-create a run that was removed meanwhile
        self._output = Output(self._partial)
        self._file = self._output.file
        self._file.attrs.update(schema=SCHEMA, start=self.start, stop=self.stop)
        for name, values in ((TIMESTEP, timesteps), (SEED, np.asarray(seeds, np.int64))):
            self._file.create_dataset(name, data=values).make_scale(name)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(
            OSError
        ):  # closing fails too on a full disk; the first error is the one to report
            self._output.close()
        if not self._finished:
            with contextlib.suppress(OSError):
                self._partial.unlink(missing_ok=True)

    def describe(self, provenance: Mapping[str, Any]) -> None:
        """Stores the provenance of the shard in the shard itself.

        It then describes itself, even without its run.
        """
        self._file.attrs["provenance"] = json.dumps(provenance, default=str)
        if "run" in provenance:
            self._file.attrs["run"] = str(provenance["run"])

    def write_activation(
        self,
        step: int,
        member: str,
        values: np.ndarray,
        wide: Callable[[], np.ndarray] | None = None,
    ) -> None:
        """Writes the tensor of one site at one step.

        The tensor is (n, c, h, w) or pooled (n, c), in the storage dtype if it fits.

        Args:
            step: Its index.
            member: ``h``, ``skip.2.0``, ...
            values: The tensor. With ``wide``, the tensor after narrowing to the storage dtype.
            wide: Returns the tensor before narrowing. It is called only if narrowing may have made
                values infinite.
        """
        if wide is None:
            whole, wide = values, lambda: whole
            with np.errstate(over="ignore"):
                values = values.astype(self.store_dtype, copy=False)
        if member in self.widened or _overflows(values, wide):
            values = wide()
            self._widen(member, values.dtype)
        self._write_row(
            self._dataset(member, (self.steps, *values.shape), values.dtype), step, values
        )

    def write_x(self, index: int, values: np.ndarray) -> None:
        """Writes x_t of all samples before a step, or the last x."""
        self._write_row(
            self._dataset(X, (self.steps + 1, *values.shape), np.dtype(np.float32)), index, values
        )

    def write_x_0(self, step: int, pictures: np.ndarray) -> None:
        """Writes the predicted pictures of a step, uint8."""
        self._write_row(
            self._dataset(X_0, (self.steps, *pictures.shape), np.dtype(np.uint8)), step, pictures
        )

    def write_null_text(self, texts: np.ndarray) -> None:
        """Writes optimised texts of the unconditional branch, (steps, n, tokens, channels)."""
        for step, values in enumerate(texts):
            dataset = self._dataset(NULL_TEXT, texts.shape, np.dtype(np.float32))
            self._write_row(dataset, step, values)

    def write_images(self, pictures: np.ndarray) -> None:
        """Writes the finished pictures, uint8."""
        self._dataset(IMAGE, pictures.shape, np.dtype(np.uint8))[:] = pictures
        self._output.check()

    def write_labels(self, label_set: str, labels: Mapping[str, np.ndarray]) -> None:
        """Writes named values (n,), one per sample, as float32."""
        group = self._file.create_group(f"{LABELS}/{label_set}", track_order=True)
        for name, values in labels.items():
            group.create_dataset(name, data=np.asarray(values, np.float32))
        self._output.check()

    def close(self) -> Callable[[], Finished]:
        """Closes the file. Nothing can be written afterwards.

        The attribute ``widened`` names the tensors that did not fit the storage dtype and were
        stored in a wider one.

        Returns:
            A function that flushes the file and computes its checksum. It does not use HDF5, which
            does one thing at a time.
        """
        self._file.attrs["widened"] = sorted(self.widened)
        self._output.close()
        self._finished = True
        return self._seal

    def finish(self) -> Finished:
        """Closes the file and flushes it."""
        return self.close()()

    def commit(self) -> Shard:
        """Makes the shard part of the run: ``finish``, then ``commit_shard``."""
        return commit_shard(self.run, self.finish())

    def _seal(self) -> Finished:
        try:
            size = self._partial.stat().st_size
            with ThreadPoolExecutor(max_workers=1, thread_name_prefix="hcache-flush") as aside:
                flushed = aside.submit(flush_file, self._partial)
                checksum = checksum_of(self._partial)
            flushed.result()
        except BaseException:
            with contextlib.suppress(OSError):
                self._partial.unlink(missing_ok=True)
            raise
        shard = Shard(
            start=self.start, stop=self.stop, file=self._final.name, bytes=size, checksum=checksum
        )
        return Finished(shard=shard, partial=self._partial.name)

    def _write_row(self, dataset: h5py.Dataset, row: int, values: np.ndarray) -> None:
        """Sets ``dataset[row] = values``, at half the cost for small tensors, because no index is
        parsed.
        """
        place = dataset.id.get_space()
        place.select_hyperslab((row, *[0] * values.ndim), (1, *dataset.shape[1:]))
        dataset.id.write(h5py.h5s.create_simple(values.shape), place, np.ascontiguousarray(values))
        self._output.check()

    def _dataset(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> h5py.Dataset:
        """Creates the dataset at the first call and remembers it. h5py takes longer to find it
        again than to write a small tensor.
        """
        if name not in self._datasets:
            dataset = self._datasets[name] = self._file.create_dataset(
                name, shape=shape, dtype=dtype
            )
            for axis, label in enumerate(axis_names(name, len(shape))):
                dataset.dims[axis].label = label
                if label in ("step", "sample"):
                    dataset.dims[axis].attach_scale(
                        self._file[TIMESTEP if label == "step" else SEED]
                    )
        return self._datasets[name]

    def _widen(self, member: str, dtype: np.dtype) -> None:
        """Stores a tensor in its own dtype from the first step that overflows half precision."""
        self.widened.add(member)
        if member in self._datasets and self._datasets[member].dtype != dtype:
            so_far = self._datasets.pop(member)[:]
            del self._file[member]
            self._dataset(member, so_far.shape, dtype)[:] = so_far


def _overflows(narrow: np.ndarray, wide: Callable[[], np.ndarray]) -> bool:
    """Returns whether a finite value became infinite when it was narrowed."""
    if narrow.dtype != np.float16:
        return False
    if not has_infinite(narrow):
        return False
    return bool((np.isinf(narrow) & np.isfinite(wide())).any())


def partial_name(start: int, pid: int | None = None, host: str | None = None) -> str:
    """Returns the temporary name of the shard that begins at a sample.

    Each process on each host has its own name (``pid`` and ``host``; default: this process).
    """
    pid, host = os.getpid() if pid is None else pid, host_mark() if host is None else host
    return f"{shard_name(start)}.{host}-{pid}{PARTIAL}"


def commit_shard(run: Path, finished: Finished) -> Shard:
    """Makes a finished shard part of the run.

    It gets its final name, then a line in the manifest. Only the holder of the run's lock may call
    this.
    """
    partial = run / SHARDS / finished.partial
    try:
        put_in_place(partial, run / SHARDS / finished.shard.file)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    try:
        append_to_manifest(run, finished.shard)
    except OSError:
        with contextlib.suppress(OSError):
            (run / SHARDS / finished.shard.file).unlink()  # it is in no manifest, and takes space
        raise
    return finished.shard


def axis_names(name: str, ndim: int) -> tuple[str, ...]:
    """Returns the names of the axes of a shard's array."""
    if name == X:
        return ("time", *_AXES[5][1:])
    if name == NULL_TEXT:
        return ("step", "sample", "token", "channel")
    if name == X_0:
        return ("step", "sample", "row", "column", "colour")
    if name == IMAGE:
        return ("sample", "row", "column", "colour")
    return _AXES.get(ndim, ("sample",) if ndim == 1 else ("",) * ndim)


def explain_write_error(error: OSError, run: Path, needed: int) -> CacheError:
    """Explains a failed write in words that help.

    ``needed`` is the number of bytes still to be written.
    """
    full = error.errno in FULL
    if not full and not any(
        words in str(error) for words in ("No space left", "quota exceeded", "File too large")
    ):
        if error.errno == errno.ENOENT and not is_there(run / RUN_JSON):
            return gone(run)
        return CacheError(
            f"writing {run} failed: {error}; what was committed is kept. Start the same run again"
        )
    free = shutil.disk_usage(run if is_there(run) else run.parent).free
    lack = (
        f"{format_bytes(needed - free)} are missing"
        if needed > free
        else "a quota or a limit on files is in the way"
    )
    return NoSpaceError(
        f"no space left while writing {run}: {format_bytes(needed)} more are needed,"
        f" {format_bytes(free)} are free, {lack}. What was committed is kept: make space, then"
        " start the same run again"
    )


def gone(run: Path) -> CacheError:
    """Returns the message for a run that was moved or removed."""
    return CacheError(
        f"{run} was removed or renamed while it was being written; what had been committed went"
        " with it. Start the same run again, or continue with `python -m hcache repair` under its"
        " new name"
    )
