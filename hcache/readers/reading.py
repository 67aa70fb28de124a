"""Reads the pictures of a run into a label set, and finds the readers of a run."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import lru_cache

import numpy as np

from ..cache.labels import save_labels
from ..cache.reading import Run
from ..cards import find_card
from ..errors import UsageError, did_you_mean
from .ray_reading import read_on
from .reader import Reader
from .saved import is_function, list_readers, load_description, note_read, open_saved, read_by

BATCH = 64


def read_run(
    run: Run,
    name: str,
    device: str = "auto",
    replace: bool = False,
    batch: int = BATCH,
    ray: str | None = None,
) -> Generator[float, None, list[str]]:
    """Reads all samples that a reader has not read yet.

    It yields the share that is done, and returns the attributes. If it is stopped or fails, the
    readings so far are kept, and the next call continues.

    Args:
        run: The run.
        name: The name of a reader of the run's home, or of an installed one. The label set gets
            this name.
        device: The device of the computation.
        replace: Whether to read all samples again, including those that another version of the
            reader has read.
        batch: The batch size.
        ray: The address of a Ray cluster that reads, or "" for one on this machine. None reads in
            this process.

    Raises:
        UsageError: the set contains other labels, or those of another version of the reader.
        ModelError: the reader failed.
    """
    reader = open_saved(run.home, name, "cpu" if ray is not None else device)
    columns = _columns_so_far(run, reader, replace)
    done = set.intersection(*(set(values) for values in columns.values())) if columns else set()
    left = [sample for sample in run.sample_ids.tolist() if sample not in done]
    description = {} if is_function(run.home, name) else load_description(run.home, name).to_json()
    count = 0
    try:
        parts = (
            ((samples, reader(pictures)) for samples, pictures in picture_batches(run, left, batch))
            if ray is None
            else read_on(ray, run, name, left, batch)
        )
        for samples, found in parts:
            for attribute, values in found.items():
                columns.setdefault(attribute, {}).update(
                    zip(samples, map(float, values), strict=True)
                )
            count += len(samples)
            yield count / len(left)
    finally:
        if count:
            save_labels(run, name, columns)
            note_read(run, reader, description)
    yield 1.0
    return list(columns)


def unread(run: Run, name: str) -> int:
    """Returns how many samples a reader has not read yet."""
    columns = run.labels.get(name, {})
    return (
        int(sum(np.isnan(values).any() for values in zip(*columns.values(), strict=True)))
        if columns
        else len(run)
    )


def readers_of(run: Run) -> list[str]:
    """Returns the names of the readers of a run's edited pictures.

    The reader of the model's card comes first, then those that have read the run and are saved in
    its home.
    """
    here = set(list_readers(run.home))
    card = card_reader(run)
    return list(
        dict.fromkeys(([card] if card else []) + [name for name in read_by(run) if name in here])
    )


def card_reader(run: Run) -> str:
    """Returns the reader that the card of a run's model names.

    It is empty if there is none.
    """
    try:
        return find_card(run.spec.model).reader
    except UsageError:  # the run is here, but its model is not
        return ""


def reader_of(run: Run, name: str = "", device: str = "auto") -> Reader | None:
    """Returns an open reader of a run, or None.

    It is the named one, or the first of :func:`readers_of`.

    Raises:
        UsageError: the run has no reader of that name.
    """
    known = readers_of(run)
    if name and name not in known:
        raise UsageError(
            f"{name!r} is no reader of {run.name}{did_you_mean(name, known)}; read the run with it"
            f" first: python -m hcache read {run.name} --reader {name}"
        )
    chosen = name or (known[0] if known else "")
    return _opened(str(run.home), chosen, _digest_noted(run, chosen), device) if chosen else None


@lru_cache(maxsize=4)
def _opened(home: str, name: str, digest: str, device: str) -> Reader:
    """Returns an open reader, which is kept. ``digest`` is part of the key, so a replaced reader is
    opened again.
    """
    from pathlib import Path

    return open_saved(Path(home), name, device)


def _digest_noted(run: Run, name: str) -> str:
    found = read_by(run).get(name)
    return found.digest if found else ""


def _columns_so_far(run: Run, reader: Reader, replace: bool) -> dict[str, dict[int, float]]:
    """Returns the readings of a run so far: attribute -> sample -> value."""
    known, name = run.labels.get(reader.name), reader.name
    if known is None:
        return {}
    noted = read_by(run).get(name)
    if noted is None:
        raise UsageError(
            f"run {run.name} has a label set {name} that this reader did not make; give the reader"
            " another --name"
        )
    if noted.digest != reader.digest and not replace:
        raise UsageError(
            f"{name} has read {run.name} with another version ({noted.digest}, now"
            f" {reader.digest}); say --replace to read all samples again"
        )
    if replace:
        return {}
    ids = run.sample_ids.tolist()
    return {
        attribute: {
            sample: float(value)
            for sample, value in zip(ids, values, strict=True)
            if np.isfinite(value)
        }
        for attribute, values in known.items()
    }


def picture_batches(
    run: Run, samples: list[int], batch: int
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yields some samples with their pictures, in batches.

    Batches can span several shards. Each shard's pictures are read once.
    """
    wanted, held, kept = set(samples), [], []
    for ids, pictures in run.image_blocks(
        lambda start, stop: not wanted.isdisjoint(range(start, stop))
    ):
        rows = [row for row, sample in enumerate(ids) if sample in wanted]
        held += [ids[row] for row in rows]
        kept += list(pictures[rows])
        while len(held) >= batch:
            yield held[:batch], np.stack(kept[:batch])
            held, kept = held[batch:], kept[batch:]
    if held:
        yield held, np.stack(kept)
