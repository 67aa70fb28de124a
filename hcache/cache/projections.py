"""Stored projections of a run's samples, ``<run>/projections/<site>.npz``, so that no page computes
them twice.

A file names its samples. Once the run has grown or a shard was replaced, the file counts as
missing.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..atomic import make_folder, open_file, replacing
from .layout import PROJECTIONS
from .reading import Run
from .records import state_of

_STATE = "state"


def projections_path(run: Run, site: str) -> Path:
    """Returns the file of a site's projections."""
    return run.folder / PROJECTIONS / f"{site}.npz"


def save_projections(run: Run, site: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Saves arrays by name.

    If nothing can be written, they are not saved.
    """
    path = projections_path(run, site)
    with suppress(OSError):
        make_folder(path.parent, parents=False)
        with replacing(path, durable=False) as file:
            everything: dict[str, Any] = {_STATE: np.array(state_of(run)), **arrays}
            np.savez(file, **everything)


def load_projections(run: Run, site: str) -> dict[str, np.ndarray] | None:
    """The arrays that were kept for these very samples.

    None if there are none, or if the file is damaged.
    """
    try:
        with (
            os.fdopen(open_file(projections_path(run, site)), "rb") as file,
            zipfile.ZipFile(file) as archive,
        ):
            arrays = {
                item.filename.removesuffix(".npy"): _read(archive, item)
                for item in archive.infolist()
            }
    except (
        OSError,
        ValueError,
        EOFError,
        LookupError,
        TypeError,
        SyntaxError,
        RuntimeError,
        OverflowError,
        zipfile.BadZipFile,
    ):
        return None
    fits = str(arrays.pop(_STATE, "")) == state_of(run) and all(
        _fits(arrays, name, run) for name in arrays
    )
    return arrays if fits else None


def _fits(arrays: Mapping[str, np.ndarray], name: str, run: Run) -> bool:
    """Returns whether scores and their shares match the run's steps and samples."""
    if not name.endswith("_scores"):
        return True
    kind = name.removesuffix("_scores")
    scores, explained = arrays[name], arrays.get(f"{kind}_explained")
    residuals = arrays.get(f"{kind}_residuals", explained)
    if (
        scores.ndim != 3
        or scores.dtype.kind != "f"
        or explained is None
        or explained.dtype.kind != "f"
        or residuals is None
        or residuals.dtype.kind != "f"
        or residuals.shape != explained.shape
    ):
        return False
    return scores.shape[:2] == (run.spec.steps, len(run)) and explained.shape == (
        scores.shape[0],
        scores.shape[2],
    )


def _read(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> np.ndarray:
    """Reads an array after checking that the file is uncompressed and holds as many bytes as it
    claims.
    """
    if item.compress_type != zipfile.ZIP_STORED or item.compress_size != item.file_size:
        raise ValueError(f"{item.filename} is packed")
    with archive.open(item) as file:
        shape, by_columns, dtype = _header(file)
        if (
            dtype.hasobject
            or any(n < 0 for n in shape)
            or math.prod(shape) * dtype.itemsize > item.file_size
        ):
            raise ValueError(f"{item.filename} claims more than there is")
        data = file.read()
    return np.frombuffer(data, dtype, math.prod(shape)).reshape(
        shape, order="F" if by_columns else "C"
    )


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads the header of an array in numpy's format: its shape, whether it is in column order, and
    its dtype.
    """
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    return read(file)
