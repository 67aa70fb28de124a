"""Reads a run. It opens only committed shards, briefly and read-only, and never keeps a file
open.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..atomic import is_there, reason
from ..errors import CacheError, HcacheError, NotStoredError, UnknownRunError, UsageError
from ..features import Features
from ..images.pictures import load_prepared
from ..specs import ATTENTION, FULL, NONE, POOLED, Anatomy, RunSpec
from .ahead import read_ahead
from .description import read_description
from .half_floats import widen_into, widened
from .hdf5 import FileStructure, Malformed
from .kept_labels import kept_label_files
from .label_files import LabelFiles, read_label_files
from .layout import (
    FOLDERS,
    IMAGE,
    IMAGES,
    MANIFEST,
    NULL_TEXT,
    RUN_JSON,
    SHARDS,
    X_0,
    X,
    home_folder,
    home_of,
    run_folder,
)
from .manifest import Shard, read_manifest
from .shard_files import ShardFile, open_shard

T = TypeVar("T")

AHEAD, STEPS_AHEAD = 4, 2
"""The number of shards that are read at the same time, of one step and of all steps."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run on disk: its arrays, pictures and labels.

    It contains the samples that were committed when it was opened. Open it again to see later
    samples. If a run was cut to its first samples (:func:`first_samples`), ``first`` is their
    number. It is 0 for a whole run.
    """

    folder: Path
    spec: RunSpec
    anatomy: Anatomy
    timesteps: tuple[float, ...]
    provenance: dict[str, Any] = field(repr=False)
    shards: tuple[Shard, ...] = field(repr=False)
    first: int = 0

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.folder.name

    @property
    def home(self) -> Path:
        """The home that contains the run."""
        return home_of(self.folder)

    @cached_property
    def sample_ids(self) -> np.ndarray:
        """The numbers of the samples, ascending (n,) int64, read-only. Everything per sample is in
        this order.
        """
        parts = [np.arange(shard.start, shard.stop) for shard in self.shards]
        return _read_only(np.concatenate(parts) if parts else np.zeros(0, np.int64))

    @property
    def complete(self) -> bool:
        """Whether the run holds all its samples."""
        return len(self) >= self.spec.samples

    @property
    def bytes(self) -> int:
        """The bytes of the run's shards."""
        return sum(shard.bytes for shard in self.shards)

    def __len__(self) -> int:
        """Returns the number of committed samples."""
        return self._rows[-1]

    def policy(self, site: str) -> str:
        """Returns ``full``, ``pooled`` or ``none``. A member has the policy of its group."""
        self.anatomy.members(site)
        return self.spec.policy(site)

    @property
    def stored_sites(self) -> tuple[str, ...]:
        """Lists the sites that are stored, in full or pooled.

        Attention maps are among them if all samples have the same prompt.

        Raises:
            NotStoredError: no site is stored.
        """
        found = tuple(site for site in self.anatomy.storable if self.policy(site) != NONE)
        if not self.spec.shares_prompt:
            found = tuple(site for site in found if site != ATTENTION)
        if not found:
            raise NotStoredError(
                f"run {self.name} stores no site, only x_t and pictures; extract with --store"
                " h=full"
            )
        return found

    def width(self, site: str) -> int:
        """Returns how many numbers a sample has at a site and step.

        This is the stored size: a pooled site has one number per channel.
        """
        if site == X:
            return math.prod(self.anatomy.x)
        pooled = self.policy(site) == POOLED
        shapes = [self.anatomy.shape(member) for member in self.anatomy.members(site)]
        return sum(shape[0] if pooled else math.prod(shape) for shape in shapes)

    def blocks(self, site: str, step: int) -> Iterator[np.ndarray]:
        """Yields all samples at one step, one shard at a time.

        A block is float32 (samples of the shard, d), with the rows of ``matrix``.

        Args:
            site: ``h``, ``skip.2``, ``skip.2.0``, or ``x`` for x_t. For a pooled site, d is the
                number of channels.
            step: 0 is the step with the most noise.

        Raises:
            NotStoredError: the run does not store this site.
        """
        return map(widened, self._stored_blocks(site, step))

    def step_blocks(self, site: str) -> Iterator[np.ndarray]:
        """Yields all steps of some samples, one shard at a time.

        A block is float32 (steps, samples of the shard, d). This takes the memory of
        :data:`STEPS_AHEAD` shards, and every shard is opened once. Arguments and errors are those
        of ``blocks``.
        """
        self._check_step(0)
        names = (X,) if site == X else self.anatomy.members(site)
        if site != X:
            self._check_comparable(site)
        width, steps = self.width(site), self.spec.steps

        def read(shard: Shard) -> np.ndarray:
            found = np.empty((steps, shard.stop - shard.start, width), np.float32)
            with self._opened(shard) as file:
                for step in range(steps):
                    parts = [widened(file.step(name, step)) for name in names]
                    np.concatenate(
                        [part.reshape(len(part), -1) for part in parts], 1, out=found[step]
                    )
            return found

        return read_ahead(read, self.shards, STEPS_AHEAD)

    def _stored_blocks(self, site: str, step: int) -> Iterator[np.ndarray]:
        """Yields the same as ``blocks``, in the stored dtype."""
        self._check_step(step)
        names = (X,) if site == X else self.anatomy.members(site)
        if site != X:
            self._check_comparable(site)
        width = self.width(site)

        def read(shard: Shard) -> np.ndarray:
            with self._opened(shard) as file:
                flat = [
                    part.reshape(len(part), -1)
                    for part in (file.step(name, step) for name in names)
                ]
                found = flat[0] if len(flat) == 1 else np.concatenate(flat, 1)
                if found.shape[1] != width:
                    raise ValueError(
                        f"{found.shape[1]} numbers a sample at {site}; run.json says {width}"
                    )
                return found

        return read_ahead(read, self.shards, AHEAD)

    def matrix(self, site: str, step: int) -> np.ndarray:
        """Returns all samples at one step as float32 (n, d).

        The tensors of the site are flattened and concatenated. This takes the memory of the result
        and of the :data:`AHEAD` blocks that are being read. ``blocks`` describes the arguments.
        Numbers are widened while they are copied.
        """
        return self._stack(self._stored_blocks(site, step), (self.width(site),), np.float32)

    def array(self, member: str) -> np.ndarray:
        """Returns one tensor of all samples at all steps, as stored.

        The shape is (step, sample, c, h, w), or (step, sample, c) if pooled. This takes the memory
        of the result and opens each shard once. If the array does not fit into memory, use
        ``blocks``.

        Raises:
            NotStoredError: the run does not store it.
        """
        self.anatomy.shape(member)
        self._check_stored(member)
        held, row = None, 0
        for shard in self.shards:
            rows = slice(row, row + shard.stop - shard.start)
            with self._opened(shard) as file:
                for step in range(self.spec.steps):
                    part = file.step(member, step)
                    held = self._wide_enough(held, part)
                    if len(part) != rows.stop - rows.start:
                        raise ValueError(
                            f"{member} is of {len(part)} samples, not of {rows.stop - rows.start}"
                        )
                    held[step, rows] = part
            row = rows.stop
        return np.zeros((self.spec.steps, 0), np.float32) if held is None else held

    def _wide_enough(self, held: np.ndarray | None, part: np.ndarray) -> np.ndarray:
        """Returns an array for all parts like ``part``: a new one for the first part, and a widened
        one for the first part with a wider dtype.
        """
        if held is None:
            return np.empty((self.spec.steps, len(self), *part.shape[1:]), part.dtype)
        return held.astype(np.promote_types(part.dtype, held.dtype), copy=False)

    def features(self, sample: int, step: int) -> Features:
        """Returns one sample's activations at one step.

        Each is (c, h, w) float32. Groups that are not stored in full are None.
        """
        self._check_step(step)

        def load(file: ShardFile, row: int, site: str) -> tuple[np.ndarray, ...] | None:
            if self.policy(site) != FULL:
                return None
            return tuple(widened(file.row(name, step, row)) for name in self.anatomy.members(site))

        sites = self._read(
            sample,
            lambda file, row: {site: load(file, row, site) for site in self.anatomy.all_sites},
        )
        h = sites.pop("h", None)
        blocks = tuple(
            found and found[0] for site, found in sites.items() if site.startswith("block.")
        )
        skips = tuple(found for site, found in sites.items() if site.startswith("skip."))
        places = {name: found for name in self.anatomy.places if (found := sites[name])}
        others = {name: found[0] for name, found in places.items()}
        return Features(h=h and h[0], skips=skips, blocks=blocks, others=others)

    def pooled(self, site: str, step: int) -> np.ndarray:
        """Returns the mean over space of a site: (n, channels).

        This works for sites that are stored in full or pooled.
        """
        if site != X and self.policy(site) == POOLED:
            return self.matrix(site, step)
        shapes = (
            [self.anatomy.x]
            if site == X
            else [self.anatomy.shape(m) for m in self.anatomy.members(site)]
        )
        ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]

        def mean(block: np.ndarray) -> np.ndarray:
            parts = np.split(block, ends, 1)
            return np.concatenate(
                [p.reshape(len(p), s[0], -1).mean(2) for p, s in zip(parts, shapes, strict=True)], 1
            )

        channels = sum(shape[0] for shape in shapes)
        return self._stack(
            (mean(block) for block in self.blocks(site, step)), (channels,), np.float32
        )

    def row(self, member: str, sample: int, step: int) -> np.ndarray:
        """Returns one sample's tensor at one step, as stored.

        The result is float32 (c, h, w), or (c,) for a pooled site.
        """
        self._check_step(step)
        return self._read(sample, lambda file, row: widened(file.row(member, step, row)))

    def x(self, sample: int, index: int) -> np.ndarray:
        """Returns a sample's x before step ``index``: (c, h, w) float32.

        ``index = steps`` gives the final x.
        """
        if not 0 <= index <= self.spec.steps:
            raise UsageError(f"index must lie in 0 to {self.spec.steps}, got {index}")
        return self._read(sample, lambda file, row: file.row(X, index, row))

    def null_text(self, sample: int, step: int) -> np.ndarray:
        """Returns the text of a sample's unconditional branch at a step.

        It was optimised by null-text inversion, and is (tokens, channels) float32.
        """
        self._check_step(step)
        return self._read(sample, lambda file, row: file.row(NULL_TEXT, step, row))

    def trajectory(self, sample: int) -> np.ndarray:
        """Returns a sample's predicted x_0 over the steps.

        The shape is (step, height, width, 3) uint8, with at most 64 pixels per side.
        """
        steps = range(self.spec.steps)
        return self._read(
            sample, lambda file, row: np.stack([file.row(X_0, step, row) for step in steps])
        )

    def seed(self, sample: int) -> int:
        """Returns the seed of a sample."""
        return self.spec.seed + sample

    @property
    def widened(self) -> tuple[str, ...]:
        """Lists the tensors that some shard stores in float32.

        They would have overflowed float16.
        """
        found = self._each(lambda file: [str(name) for name in file.attributes.get("widened", ())])
        return tuple(sorted({name for _, names in found for name in names}))

    @cached_property
    def images(self) -> np.ndarray:
        """Returns the finished pictures (n, height, width, 3) uint8, read-only."""
        parts = (pictures for _, pictures in self._each(lambda file: file.all(IMAGE)))
        return _read_only(self._stack(parts, self.anatomy.image, np.uint8))

    def picture(self, sample: int) -> np.ndarray:
        """Returns one finished picture (height, width, 3) uint8. Only its shard is opened."""
        return self._read(sample, lambda file, row: file.step(IMAGE, row))

    def image_blocks(
        self, wanted: Callable[[int, int], bool]
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        """Yields the finished pictures, one shard at a time.

        A block is (its samples, pictures (m, height, width, 3) uint8).

        Args:
            wanted: Whether to read a shard, by its first sample and the one after its last.
        """
        for shard in self.shards:
            if wanted(shard.start, shard.stop):
                pictures = self._read_shard(shard, lambda file: file.all(IMAGE))
                yield list(range(shard.start, shard.stop)), pictures

    @property
    def real(self) -> bool:
        """Whether the samples are inverted real pictures, not generated from noise."""
        return bool(self.spec.images)

    def original(self, sample: int) -> np.ndarray | None:
        """Returns the real picture whose inversion a sample is.

        It is (height, width, 3) uint8, or None if the sample is not an inversion.
        """
        return load_prepared(self.folder / IMAGES, self.spec.images[sample]) if self.real else None

    @property
    def labels(self) -> dict[str, dict[str, np.ndarray]]:
        """The label sets: set -> name -> values (n,) float32.

        A value is NaN if a sample has none. Sets that were read from the images during extraction
        come first, then those that were imported or clicked since.
        """
        files = kept_label_files(self.folder, self.sample_ids)
        return {**self.labels_in_shards, **files.sets}

    @property
    def label_files(self) -> LabelFiles:
        """The label sets in files beside the shards.

        It also says which of the files are damaged, and why.
        """
        return read_label_files(self.folder, self.sample_ids)

    @cached_property
    def names_in_shards(self) -> dict[str, tuple[str, ...]]:
        """The names of labels that were read from the images, by set. The first shard is enough,
        because all have the same.
        """
        found: dict[str, list[str]] = {}
        for shard in self.shards[:1]:
            for label_set, name in self._read_shard(shard, ShardFile.labels):
                found.setdefault(label_set, []).append(name)
        return {label_set: tuple(names) for label_set, names in found.items()}

    @cached_property
    def labels_in_shards(self) -> dict[str, dict[str, np.ndarray]]:
        """The label sets that were read from the images during extraction."""
        if not self.names_in_shards:  # no other shard needs to be opened
            return {}
        sets: dict[str, dict[str, np.ndarray]] = {}
        row = 0
        for shard, found in self._each(ShardFile.labels):
            count = shard.stop - shard.start
            for (set_name, name), values in found.items():
                column = sets.setdefault(set_name, {}).setdefault(
                    name, np.full(len(self), np.nan, np.float32)
                )
                column[row : row + count] = values
            row += count
        return sets

    def position(self, sample: int) -> int:
        """Returns the row of a sample in all arrays per sample."""
        number, row = self._place(sample)
        return self._rows[number] + row

    @cached_property
    def _starts(self) -> list[int]:
        """The first sample of every shard."""
        return [shard.start for shard in self.shards]

    @cached_property
    def _rows(self) -> list[int]:
        """The first row of every shard, followed by the total number of rows."""
        return [0, *itertools.accumulate(shard.stop - shard.start for shard in self.shards)]

    def _place(self, sample: int) -> tuple[int, int]:
        """Returns (number of the shard, row in it) for a sample."""
        number = bisect.bisect_right(self._starts, sample) - 1
        if number < 0 or sample >= self.shards[number].stop:
            raise UsageError(
                f"sample {sample} is not in run {self.name}, which holds {len(self)} of"
                f" {self.spec.samples}"
            )
        return number, sample - self.shards[number].start

    def _each(self, read: Callable[[ShardFile], T]) -> Iterator[tuple[Shard, T]]:
        """Yields the result of ``read`` for every shard in turn."""
        for shard in self.shards:
            yield shard, self._read_shard(shard, read)

    def _read(self, sample: int, read: Callable[[ShardFile, int], T]) -> T:
        """Returns the result of ``read`` for the row of a sample."""
        number, row = self._place(sample)
        return self._read_shard(self.shards[number], lambda file: read(file, row))

    def _read_shard(self, shard: Shard, read: Callable[[ShardFile], T]) -> T:
        with self._opened(shard) as file:
            return read(file)

    def shard_path(self, shard: Shard) -> Path:
        """Returns the file of a shard."""
        return self.folder / SHARDS / shard.file

    @cached_property
    def _checked(self) -> dict[str, FileStructure]:
        """The shards that were verified to belong to this run, by file."""
        return {}

    @contextmanager
    def open_shard(self, shard: Shard) -> Iterator[ShardFile]:
        """Opens the file of a shard.

        Faults are raised as in :func:`~hcache.cache.shard_files.open_shard`.
        """
        with open_shard(
            self.shard_path(shard), shard, self.spec, self.anatomy, self._checked
        ) as file:
            yield file

    @contextmanager
    def _opened(self, shard: Shard) -> Iterator[ShardFile]:
        """Opens the file of a shard, and explains errors in words. Only proved faults are called
        damage.
        """
        path = self.shard_path(shard)
        try:
            with self.open_shard(shard) as file:
                yield file
        except CacheError:
            raise
        except MemoryError as error:
            raise CacheError(
                f"there is not enough memory to read the shard {path}; request less at a time"
            ) from error
        except (FileNotFoundError, Malformed, LookupError, ValueError, TypeError) as error:
            why = "it is gone" if isinstance(error, FileNotFoundError) else error
            raise CacheError(
                f"the shard {path} is damaged ({why}); run `python -m hcache repair {self.name}` to"
                " replace it"
            ) from error
        except OSError as error:
            raise unreadable(f"the shard {path}", error) from error

    def _stack(
        self, parts: Iterator[np.ndarray], shape: tuple[int, ...], dtype: type
    ) -> np.ndarray:
        """Concatenates the parts of all shards: (n, *shape)."""
        result, row = None, 0
        for shard, part in zip(self.shards, parts, strict=True):
            if part.shape != (shard.stop - shard.start, *shape):
                raise CacheError(
                    f"the shard {self.folder / SHARDS / shard.file} holds an array of shape"
                    f" {part.shape} where {(shard.stop - shard.start, *shape)} was expected; run"
                    f" `python -m hcache repair {self.name}` to replace it"
                )
            # not before: run.json may be damaged, and only a matching shape can be trusted
            if result is None:
                result = np.empty((len(self), *shape), dtype)
            widen_into(result[row : row + len(part)], part)
            row += len(part)
        return np.zeros((0, *shape), dtype) if result is None else result

    def _check_stored(self, site: str) -> None:
        if self.policy(site) == NONE:
            raise NotStoredError(
                f"run {self.name} does not store {site}; extract again with --store {site}=full or"
                " =pooled"
            )

    def _check_comparable(self, site: str) -> None:
        """Makes sure that a site is stored, and means the same in all samples."""
        self._check_stored(site)
        if site == ATTENTION and not self.spec.shares_prompt:
            raise NotStoredError(
                f"the samples of {self.name} have several prompts, so token k is another word in"
                " each; attention maps are compared among samples of one prompt"
            )

    def _check_step(self, step: int) -> None:
        if not 0 <= step < self.spec.steps:
            raise UsageError(f"step must lie in 0 to {self.spec.steps - 1}, got {step}")


def open_run(
    path_or_name: str | Path, home: str | Path | None = None, broken: list[str] | None = None
) -> Run:
    """Opens a run by its folder or by its name.

    Args:
        path_or_name: The folder, or the name.
        home: The home that contains the runs.
        broken: Receives the faults of a damaged manifest, so that the rest of the run can be
            opened.

    Raises:
        UnknownRunError: there is no such run. The message names the nearest.
        CacheError: its files cannot be read.
    """
    folder = Path(path_or_name)
    try:
        if not is_there(folder / RUN_JSON):
            folder = run_folder(home_folder(home), str(path_or_name))
    except HcacheError:
        raise
    except OSError as error:
        raise unreadable(f"the run {path_or_name}", error) from error
    except ValueError as error:
        raise UnknownRunError(f"no run can be called {str(path_or_name)!r}") from error
    check_folders(folder)
    found = read_description(folder / RUN_JSON)
    shards = read_manifest(folder, broken)
    if shards and shards[-1].stop > found.spec.samples:
        raise CacheError(
            f"{folder / MANIFEST} has samples up to {shards[-1].stop - 1}, run.json"
            f" {found.spec.samples} of them; one of the two is damaged: correct it, or remove the"
            " run"
        )
    return Run(
        folder=folder,
        spec=found.spec,
        anatomy=found.anatomy,
        timesteps=found.timesteps,
        provenance=found.provenance,
        shards=tuple(shards),
    )


def first_counts(run: Run) -> tuple[int, ...]:
    """Lists the numbers of first samples that a run can keep.

    A run can be cut after any of its shards.
    """
    return tuple(itertools.accumulate(shard.stop - shard.start for shard in run.shards))


def first_samples(run: Run, count: int) -> Run:
    """Cuts a run to its first samples.

    The result looks as if no more samples had been extracted. Samples are drawn independently, so
    the first ones are a random subset.

    Raises:
        UsageError: no shard ends there. The message names the nearest possible numbers.
    """
    if count == len(run):
        return run
    counts = first_counts(run)
    if count not in counts:
        near = sorted(sorted(counts, key=lambda each: abs(each - count))[:2])
        raise UsageError(
            f"run {run.name} cannot be cut to its first {count} samples; its shards end at"
            f" {' or '.join(map(str, near)) or 'none'}"
        )
    return replace(run, shards=run.shards[: counts.index(count) + 1], first=count)


def check_folders(folder: Path) -> None:
    """Makes sure that none of the run's folders is a link.

    Raises:
        CacheError: one is a link.
    """
    for name in FOLDERS:
        if (folder / name).is_symlink():
            raise CacheError(
                f"{folder / name} is a link, and the contents of a run must lie in the run itself:"
                " put the folder it leads to in its place, or take a home on that disk (--home)"
            )


def unreadable(what: str, error: OSError) -> CacheError:
    """Returns the message for a file that the system refuses to read.

    Such a file is not known to be damaged.
    """
    return CacheError(
        f"{what} could not be read: {reason(error)}; this is no sign of damage. Try again later"
    )


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
