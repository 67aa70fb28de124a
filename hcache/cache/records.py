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
"""The digest of the whole file except itself. Older records have none."""

FIRST = "first"
"""The parameter for a result of a run's first samples: their number."""

_KIND = re.compile(r"[a-z][a-z_]*")


class Record(Struct, frozen=True, kw_only=True):
    """A stored result.

    ``result`` and ``parameters`` are plain JSON. ``samples`` is the number of samples, ``state``
    identifies them (:func:`state_of`), and ``digest`` is a digest of all other fields.
    """

    kind: str
    parameters: dict[str, Any]
    result: Any
    samples: int
    state: str
    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    digest: str | None = None


def state_of(run: Run) -> str:
    """Returns hex digits that identify the samples of an opened run."""
    found = hashlib.sha256()
    for shard in run.shards:
        found.update(
            f"{shard.start} {shard.stop} {shard.checksum.removeprefix('sha256:')}\n".encode()
        )
    return found.hexdigest()[:16]


def record_path(run: Run, kind: str, parameters: Mapping[str, Any]) -> Path:
    """Returns the path of the result of a measure with these parameters."""
    if not _KIND.fullmatch(kind):
        raise UsageError(
            f"a measure's kind is a word of small letters and underscores, got {kind!r}"
        )
    text = json.dumps([SCHEMA, kind, plain(_of_run(run, parameters))], sort_keys=True)
    return run.folder / MEASURES / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"


def _of_run(run: Run, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters, with the number of first samples if the run was cut."""
    return {**parameters, FIRST: run.first} if run.first else dict(parameters)


def load_record(run: Run, kind: str, parameters: Mapping[str, Any]) -> Record | None:
    """Returns the result with these parameters on these very samples.

    It is None if nothing was measured.
    """
    return _read(record_path(run, kind, parameters), state_of(run))


def save_record(run: Run, kind: str, parameters: Mapping[str, Any], result: Any) -> Record:
    """Stores a result.

    It replaces an older one with the same parameters.

    Args:
        run: The run, as it was opened when the measurement began.
        kind: The kind of result, as one word.
        parameters: Everything that determines the result, except the samples. It must be JSON-able
            after :func:`plain`.
        result: Dataclasses, arrays, mappings and sequences of these. It must be JSON-able after
            :func:`plain`.
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
    """Saves pictures beside the result with these parameters.

    The pictures are (rows, columns, height, width, 3) uint8.
    """
    rows, columns, height, width, _ = pictures.shape
    flat = pictures.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    path = record_path(run, kind, parameters).with_suffix(".png")
    make_folder(path.parent, parents=False)
    write_bytes(path, png_bytes(flat), durable=False)


def load_sheet(run: Run, kind: str, parameters: Mapping[str, Any]) -> np.ndarray | None:
    """Returns the pictures beside a result.

    They are (rows, columns, height, width, 3) uint8, or None if there are none of this size.
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
    """Lists all results of the opened run by file name.

    Stale and unreadable results are left out.
    """
    state = state_of(run)
    paths = sorted((run.folder / MEASURES).glob(f"{kind}-*.json"))
    found = (_read(path, state) for path in paths if not is_foreign(path.name))
    return [record for record in found if record is not None]


def stale_results(run: Run) -> list[Path]:
    """Lists the files of results that are no longer shown.

    Their samples or their files have changed since. Files that cannot be read now, for lack of
    permission or memory, are not listed. Nor are results of the run's first samples, as long as
    these samples are the same.
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
    """Returns whether a file holds a result of first samples that the run still has."""
    record = _read(path)
    count = record.parameters.get(FIRST) if record else None
    return (
        record is not None
        and count in first_counts(run)
        and record.state == state_of(first_samples(run, count))
    )


def delete_stale(run: Run) -> int:
    """Deletes the results of :func:`stale_results` and their pictures, and returns their number."""
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
    """Converts dataclasses, arrays, mappings and sequences to plain JSON values.

    Values that are not finite become null.
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
    raise UsageError(
        f"a measure's parameters and results must be plain data; {type(value).__name__} is not"
    )


def _read(path: Path, state: str | None = None) -> Record | None:
    """Returns the record in a file, or None if it cannot be read or has another state."""
    try:
        data = read_json(path)
        record = checked(data, Record)
        whole = record.digest in (None, _digest(data))
    except (OSError, ValueError, RecursionError):
        return None
    return record if whole and state in (None, record.state) else None


def _digest(data: Mapping[str, Any]) -> str:
    """Computes the digest of a record's file without the digest itself. A file that was changed
    since counts as missing.
    """
    text = json.dumps({key: value for key, value in data.items() if key != _DIGEST}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
