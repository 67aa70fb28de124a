"""Results of measures, beside their run: ``<run>/measures/<kind>-<digest>.json``, a file for each
set of parameters.

A result names the parameters that made it and the state of the run that it is of: which samples
were committed, by their shards' checksums. When the run grows, or a shard is replaced, its results
are stale, and as good as not there. Asking again for what was measured is a lookup, and a page or a
comparison of runs needs nothing but these files.

A result may have pictures beside it, ``<kind>-<digest>.png``: rows and columns of the size that the
run's pictures have, without gaps. They are evidence to look at; nothing is computed from them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from ..atomic import make_folder, read_file, write_bytes
from ..errors import UsageError
from ..foreign import is_foreign
from ..images.pngs import png_bytes, read_picture
from ..schemas import checked
from .files import read_json, write_json
from .layout import MEASURES
from .reading import Run, first_counts, first_samples

SCHEMA = 2

_DIGEST = "digest"
"""Of the whole file but itself. Records of before there was one have none."""

FIRST = "first"
"""The parameter of a result that is of a run's first samples only: how many they are."""

_KIND = re.compile(r"[a-z][a-z_]*")


class Record(Struct, frozen=True, kw_only=True):
    """A result as it is stored.

    ``result`` and ``parameters`` are plain JSON, ``samples`` how many it is of, ``state`` names
    these (:func:`state_of`), ``digest`` is of all the others.
    """

    kind: str
    parameters: dict[str, Any]
    result: Any
    samples: int
    state: str
    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    digest: str | None = None


def state_of(run: Run) -> str:
    """Hex digits that name the samples of an opened run."""
    found = hashlib.sha256()
    for shard in run.shards:
        found.update(
            f"{shard.start} {shard.stop} {shard.checksum.removeprefix('sha256:')}\n".encode()
        )
    return found.hexdigest()[:16]


def record_path(run: Run, kind: str, parameters: Mapping[str, Any]) -> Path:
    """Where the result of a measure is, or would be.

    With these parameters.
    """
    if not _KIND.fullmatch(kind):
        raise UsageError(
            f"a measure's kind is a word of small letters and underscores, got {kind!r}"
        )
    text = json.dumps([SCHEMA, kind, plain(_of_run(run, parameters))], sort_keys=True)
    return run.folder / MEASURES / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"


def _of_run(run: Run, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters that also say of how many first samples a result is, if the run was cut."""
    return {**parameters, FIRST: run.first} if run.first else dict(parameters)


def load_record(run: Run, kind: str, parameters: Mapping[str, Any]) -> Record | None:
    """What was measured with these parameters on these very samples.

    None if nothing was.
    """
    return _read(record_path(run, kind, parameters), state_of(run))


def save_record(run: Run, kind: str, parameters: Mapping[str, Any], result: Any) -> Record:
    """Stores a result.

    It takes the place of an older one with the same parameters.

    Args:
        run: The run, as it was opened when the measuring began.
        kind: What was measured: a word.
        parameters: All that decides the result but the samples themselves; JSON-able after
            :func:`plain`.
        result: Dataclasses, arrays, mappings and sequences of these; likewise.
    """
    path = record_path(run, kind, parameters)
    data = {
        "schema": SCHEMA,
        "kind": kind,
        "parameters": plain(_of_run(run, parameters)),
        "samples": len(run),
        "state": state_of(run),
        "result": plain(result),
    }
    make_folder(path.parent, parents=False)
    data[_DIGEST] = _digest(data)
    write_json(path, data, durable=False)
    return checked(data, Record)


def save_sheet(run: Run, kind: str, parameters: Mapping[str, Any], pictures: np.ndarray) -> None:
    """Keeps pictures beside the result of these parameters.

    They are (rows, columns, height, width, 3) uint8.
    """
    rows, columns, height, width, _ = pictures.shape
    flat = pictures.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    path = record_path(run, kind, parameters).with_suffix(".png")
    make_folder(path.parent, parents=False)
    write_bytes(path, png_bytes(flat), durable=False)


def load_sheet(run: Run, kind: str, parameters: Mapping[str, Any]) -> np.ndarray | None:
    """The pictures beside a result.

    (rows, columns, height, width, 3) uint8; None if there are none of this size.
    """
    try:
        flat = read_picture(read_file(record_path(run, kind, parameters).with_suffix(".png")))
    except (OSError, UsageError):
        return None
    height, width, _ = run.anatomy.image
    rows, columns = flat.shape[0] // height, flat.shape[1] // width
    if flat.shape != (rows * height, columns * width, 3):
        return None
    return flat.reshape(rows, height, columns, width, 3).transpose(0, 2, 1, 3, 4)


def list_records(run: Run, kind: str = "*") -> list[Record]:
    """All results of the run as opened, by file name.

    Stale and unreadable ones are passed over.
    """
    state = state_of(run)
    paths = sorted((run.folder / MEASURES).glob(f"{kind}-*.json"))
    found = (_read(path, state) for path in paths if not is_foreign(path.name))
    return [record for record in found if record is not None]


def stale_results(run: Run) -> list[Path]:
    """The files of results that are shown nowhere.

    They are of other samples, or changed since.

    What cannot be read now, for want of rights or memory, is not among them. Neither are results
    of the run's first samples, as long as these are the same.
    """
    state = state_of(run)
    return [
        path
        for path in sorted((run.folder / MEASURES).glob("*.json"))
        if not is_foreign(path.name)
        and _read(path, state) is None
        and not _of_first(run, path)
        and _is_readable(path)
    ]


def _of_first(run: Run, path: Path) -> bool:
    """Whether a file holds a result of first samples that the run still has."""
    record = _read(path)
    count = record.parameters.get(FIRST) if record else None
    return (
        record is not None
        and count in first_counts(run)
        and record.state == state_of(first_samples(run, count))
    )


def delete_stale(run: Run) -> int:
    """Deletes the results that :func:`stale_results` lists, with their pictures; how many."""
    gone = stale_results(run)
    for path in gone:
        for each in (path, path.with_suffix(".png")):
            each.unlink(missing_ok=True)
    return len(gone)


def _is_readable(path: Path) -> bool:
    try:
        read_file(path)
    except OSError:
        return False
    return True


def plain(value: Any) -> Any:
    """Dataclasses, arrays, mappings and sequences as JSON has them.

    What is not finite is null.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise UsageError(f"a measure's parameters and results are data; {type(value).__name__} is not")


def _read(path: Path, state: str | None = None) -> Record | None:
    """The record in a file; None if it cannot be read, or is of another state than asked for."""
    try:
        data = read_json(path)
        record = checked(data, Record)
        whole = record.digest in (None, _digest(data))
    except (OSError, ValueError, RecursionError):
        return None
    return record if whole and state in (None, record.state) else None


def _digest(data: Mapping[str, Any]) -> str:
    """Of all that a record's file says but the digest itself: what was changed since is as good
    as not there.
    """
    text = json.dumps({key: value for key, value in data.items() if key != _DIGEST}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
