"""Projections of a run's samples, beside it: ``<run>/projections/<site>.npz``, so that no page projects them twice.

They name the samples that they are of; once the run has grown or a shard was replaced, they are as good as not there.
"""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .layout import PARTIAL, PROJECTIONS
from .measures import state_of
from .reading import Run

_STATE = "state"


def projections_path(run: Run, site: str) -> Path:
    return run.folder / PROJECTIONS / f"{site}.npz"


def save_projections(run: Run, site: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Keeps arrays by name; where nothing can be written, they are not kept."""
    path = projections_path(run, site)
    partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}{PARTIAL}")
    try:
        path.parent.mkdir(exist_ok=True)
        with partial.open("wb") as file:
            everything: dict[str, Any] = {_STATE: np.array(state_of(run)), **arrays}
            np.savez(file, **everything)
        os.replace(partial, path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def load_projections(run: Run, site: str) -> dict[str, np.ndarray] | None:
    """The arrays that were kept for these very samples; None if there are none."""
    try:
        with np.load(projections_path(run, site), allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    return arrays if str(arrays.pop(_STATE, "")) == state_of(run) else None
