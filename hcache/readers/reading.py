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
from .registry import find_reader, functions
from .saved import list_readers, load_description, note_read, open_saved, read_by

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

    Yields the share done, returns the attributes.

    What was read is kept when this is stopped or fails, and the next call goes on from there.

    Args:
        run: The run.
        name: Of a reader of the run's home, or an installed one. The label set has this name.
        device: To compute on.
        replace: Read all samples again, those too that another version of the reader has read.
        batch: Pictures at once.
        ray: The address of a Ray cluster that reads, "" for one of this machine; None: read here.

    Raises:
        UsageError: the set holds other labels, or another version of the reader's.
        ModelError: the reader failed.
    """
    reader = open_saved(run.home, name, "cpu" if ray is not None else device)
    columns = _columns_so_far(run, reader, replace)
    done = set.intersection(*(set(values) for values in columns.values())) if columns else set()
    left = [sample for sample in run.sample_ids.tolist() if sample not in done]
    description = {} if name in functions() else load_description(run.home, name).to_json()
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
    """How many samples of a run a reader has not read yet."""
    columns = run.labels.get(name, {})
    return (
        int(sum(np.isnan(values).any() for values in zip(*columns.values(), strict=True)))
        if columns
        else len(run)
    )


def readers_of(run: Run) -> list[str]:
    """The names of the readers of a run's edited pictures.

    Its card's first, then those that have read it and are kept in its home.
    """
    here = set(list_readers(run.home))
    card = card_reader(run)
    return list(
        dict.fromkeys(([card] if card else []) + [name for name in read_by(run) if name in here])
    )


def card_reader(run: Run) -> str:
    """The reader that the card of a run's model names.

    Nothing if there is none.
    """
    try:
        return find_card(run.spec.model).reader
    except UsageError:  # the model is not here, its run is
        return ""


def attribute_set_of(run: Run) -> str:
    """Returns the attribute set that a run's model card names.

    It is empty if the card names none.
    """
    try:
        return find_card(run.spec.model).attributes
    except UsageError:
        return ""


def reader_of(run: Run, name: str = "", device: str = "auto") -> Reader | None:
    """A reader of a run, open; None if it has none.

    By name, or the first of :func:`readers_of`.

    Raises:
        UsageError: it has none of that name.
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
    """An open reader, kept: ``digest`` is part of the key, so that a reader that was replaced is
    opened anew.
    """
    from pathlib import Path

    return find_reader(name) if name in functions() else open_saved(Path(home), name, device)


def _digest_noted(run: Run, name: str) -> str:
    found = read_by(run).get(name)
    return found.digest if found else ""


def _columns_so_far(run: Run, reader: Reader, replace: bool) -> dict[str, dict[int, float]]:
    """What a reader has read of a run: attribute -> sample -> value."""
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
            f"{name} has read {run.name} with another version of itself ({noted.digest}, now"
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
    """Some samples with their pictures, a batch at a time.

    Batches go over shards' bounds; a shard's pictures are read once.
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
