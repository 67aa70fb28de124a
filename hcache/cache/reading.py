"""Reads a run. Opens committed shards only, briefly and read-only; never holds a file open."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import CacheError, NotStoredError, UsageError
from ..features import Features
from ..pictures import load_prepared
from ..specs import FULL, NONE, POOLED, Anatomy, RunSpec
from .label_files import read_label_sets
from .layout import IMAGE, IMAGES, LABELS, RUN_JSON, SCHEMA, SHARDS, X_0, X, home_folder, run_folder
from .manifest import Shard, read_manifest


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as it stood when it was opened: shards committed later appear when it is opened again."""

    folder: Path
    spec: RunSpec
    anatomy: Anatomy
    timesteps: tuple[int, ...]
    provenance: dict[str, Any] = field(repr=False)
    shards: tuple[Shard, ...] = field(repr=False)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def sample_ids(self) -> np.ndarray:
        """The samples that are there, ascending (n,) int64. Everything per sample comes in this order."""
        parts = [np.arange(shard.start, shard.stop) for shard in self.shards]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    @property
    def complete(self) -> bool:
        return len(self) >= self.spec.samples

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)

    def __len__(self) -> int:
        """How many samples are committed."""
        return sum(shard.stop - shard.start for shard in self.shards)

    def policy(self, site: str) -> str:
        """``full``, ``pooled`` or ``none``; a member's is its group's."""
        self.anatomy.members(site)
        return self.spec.policy(site)

    def matrix(self, site: str, step: int) -> np.ndarray:
        """All samples at one step: float32 (n, d), the tensors of the site flattened and side by side.

        Args:
            site: ``h``, ``skip.2``, ``skip.2.0``, or ``x`` for x_t. Of a pooled site, d counts channels.
            step: 0 is the step with most noise.

        Raises:
            NotStoredError: the run does not hold that site.
        """
        self._check_step(step)
        names = (X,) if site == X else self.anatomy.members(site)
        if site != X and self.policy(site) == NONE:
            raise NotStoredError(
                f"run {self.name} does not store {site}; extract again with --store {site}=full or =pooled"
            )
        result: np.ndarray | None = None
        row = 0
        for shard, file in self._files():
            blocks = [file[name][step] for name in names]
            flat = [block.reshape(len(block), -1) for block in blocks]
            if result is None:
                result = np.empty((len(self), sum(part.shape[1] for part in flat)), np.float32)
            column = 0
            for part in flat:
                result[row : row + len(part), column : column + part.shape[1]] = part
                column += part.shape[1]
            row += shard.stop - shard.start
        return self._or_empty(result)

    def features(self, sample: int, step: int) -> Features:
        """One sample's activations at one step, each (c, h, w) float32; groups not stored in full are None."""
        self._check_step(step)
        with self._open(sample) as (file, row):

            def load(site: str) -> tuple[np.ndarray, ...] | None:
                if self.policy(site) != FULL:
                    return None
                return tuple(file[name][step, row].astype(np.float32) for name in self.anatomy.members(site))

            sites = {site: load(site) for site in self.anatomy.sites}
            h = sites.pop("h", None)
            blocks = tuple(found and found[0] for site, found in sites.items() if site.startswith("block."))
            skips = tuple(found for site, found in sites.items() if site.startswith("skip."))
            return Features(h=h and h[0], skips=skips, blocks=blocks)

    def pooled(self, site: str, step: int) -> np.ndarray:
        """Like ``matrix``, averaged over space: (n, channels), whichever way the site is stored."""
        if site == X or self.policy(site) != POOLED:
            shapes = [self.anatomy.x] if site == X else [self.anatomy.shape(m) for m in self.anatomy.members(site)]
            flat, parts, column = self.matrix(site, step), [], 0
            for c, h, w in shapes:
                block = flat[:, column : column + c * h * w]
                parts.append(block.reshape(len(flat), c, h * w).mean(2))
                column += c * h * w
            return np.concatenate(parts, 1)
        return self.matrix(site, step)

    def x(self, sample: int, index: int) -> np.ndarray:
        """A sample's x before step ``index`` (c, h, w) float32; ``index = steps`` is the result."""
        if not 0 <= index <= self.spec.steps:
            raise UsageError(f"index must lie in 0 to {self.spec.steps}, got {index}")
        with self._open(sample) as (file, row):
            return file[X][index, row]

    def trajectory(self, sample: int) -> np.ndarray:
        """A sample's predicted x_0 over the steps: (step, height, width, 3) uint8, no larger than 64 pixels."""
        with self._open(sample) as (file, row):
            return file[X_0][:, row]

    def seed(self, sample: int) -> int:
        return self.spec.seed + sample

    @property
    def widened(self) -> tuple[str, ...]:
        """The tensors that some shard holds in float32 because they would have overflowed float16."""
        return tuple(sorted({str(name) for _, file in self._files() for name in file.attrs.get("widened", ())}))

    @cached_property
    def images(self) -> np.ndarray:
        """The finished pictures (n, height, width, 3) uint8."""
        parts = [file[IMAGE][:] for _, file in self._files()]
        return np.concatenate(parts) if parts else np.zeros((0, *self.anatomy.image), np.uint8)

    @property
    def real(self) -> bool:
        """Whether the samples are real pictures, inverted, and not drawn from noise."""
        return bool(self.spec.images)

    def original(self, sample: int) -> np.ndarray | None:
        """The real picture that a sample is the inversion of (height, width, 3) uint8; None if it is of none."""
        return load_prepared(self.folder / IMAGES, self.spec.images[sample]) if self.real else None

    @cached_property
    def labels(self) -> dict[str, dict[str, np.ndarray]]:
        """Label sets: set -> name -> values (n,) float32, NaN where a sample has none.

        Those read off the images when they were made, then those imported or clicked since.
        """
        return {**self.labels_in_shards, **read_label_sets(self.folder, self.sample_ids)}

    @cached_property
    def labels_in_shards(self) -> dict[str, dict[str, np.ndarray]]:
        """The label sets that were read off the images."""
        sets: dict[str, dict[str, np.ndarray]] = {}
        row = 0
        for shard, file in self._files():
            count = shard.stop - shard.start
            for set_name, group in file.get(LABELS, {}).items():
                for name, values in group.items():
                    column = sets.setdefault(set_name, {}).setdefault(name, np.full(len(self), np.nan, np.float32))
                    column[row : row + count] = values[:]
            row += count
        return sets

    def position(self, sample: int) -> int:
        """The row of a sample in everything that comes per sample."""
        row = 0
        for shard in self.shards:
            if shard.start <= sample < shard.stop:
                return row + sample - shard.start
            row += shard.stop - shard.start
        raise UsageError(f"sample {sample} is not in run {self.name}, which holds {len(self)} of {self.spec.samples}")

    def _files(self) -> Iterator[tuple[Shard, h5py.File]]:
        for shard in self.shards:
            with _open_shard(self.folder / SHARDS / shard.file) as file:
                yield shard, file

    def _open(self, sample: int) -> _Row:
        self.position(sample)
        shard = next(s for s in self.shards if s.start <= sample < s.stop)
        return _Row(_open_shard(self.folder / SHARDS / shard.file), sample - shard.start)

    def _check_step(self, step: int) -> None:
        if not 0 <= step < self.spec.steps:
            raise UsageError(f"step must lie in 0 to {self.spec.steps - 1}, got {step}")

    def _or_empty(self, result: np.ndarray | None) -> np.ndarray:
        return np.zeros((0, 0), np.float32) if result is None else result


class _Row:
    """An open shard and a row in it, for the length of a ``with``."""

    def __init__(self, file: h5py.File, row: int) -> None:
        self.file, self.row = file, row

    def __enter__(self) -> tuple[h5py.File, int]:
        return self.file, self.row

    def __exit__(self, *_: object) -> None:
        self.file.close()


def open_run(path_or_name: str | Path, home: str | Path | None = None, broken: list[str] | None = None) -> Run:
    """Opens a run by its folder, or by its name in a home.

    Args:
        path_or_name: The folder, or the name.
        home: Where runs lie.
        broken: To open a run with a damaged manifest as far as it goes: what is wrong with it is named here.

    Raises:
        UnknownRunError: there is none; the message names the nearest.
        CacheError: its files cannot be read.
    """
    folder = Path(path_or_name)
    if not (folder / RUN_JSON).is_file():
        folder = run_folder(home_folder(home), str(path_or_name))
    path = folder / RUN_JSON
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] > SCHEMA:
            raise CacheError(
                f"{path} was written by a newer hcache (schema {data['schema']}; known: {SCHEMA}); update hcache"
            )
        return Run(
            folder=folder,
            spec=RunSpec.from_json(data["spec"]),
            anatomy=Anatomy.from_json(data["anatomy"]),
            timesteps=tuple(data["timesteps"]),
            provenance=data["provenance"],
            shards=tuple(read_manifest(folder, broken)),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CacheError(f"{path} is not a run's description: {type(error).__name__} {error}") from error


def _open_shard(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise CacheError(
            f"the shard {path} cannot be read ({error}); run `hcache extract` again to replace it"
        ) from error
