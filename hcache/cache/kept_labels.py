"""The label sets of a run as they were read last, as long as no file has changed since.

Pages ask for the labels many times while they draw, and a table of 100,000 samples takes tenths of
a second to read. What checks files or replaces them reads them itself.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..thread_locks import ThreadLock
from .label_files import LabelFiles, read_label_files
from .layout import LABELS

SETTLED = 2.0
"""The seconds after which a further change of a file is sure to change its times."""

MOST = 4
"""The largest number of runs whose labels are kept."""

_State = tuple[tuple[str, int, int, int, int], ...]
_kept: dict[str, tuple[_State, bytes, LabelFiles]] = {}
_lock = ThreadLock()


def kept_label_files(run: Path, sample_ids: np.ndarray) -> LabelFiles:
    """Returns what ``read_label_files`` returns, read again only after a change.

    Args:
        run: The folder of the run.
        sample_ids: The numbers of the run's samples (n,).
    """
    state, samples, folder = _state_of(run), sample_ids.tobytes(), str(run)
    with _lock:
        found = _kept.get(folder)
    if found is None or found[:2] != (state, samples):
        files = read_label_files(run, sample_ids)
        settled = not files.unread and _state_of(run) == state and _is_settled(state)
        with _lock:
            _kept.pop(folder, None)
            if settled:
                _kept[folder] = (state, samples, files)
            while len(_kept) > MOST:
                del _kept[next(iter(_kept))]
    else:
        files = found[2]
    return replace(
        files,
        sets={
            name: {label: values.copy() for label, values in columns.items()}
            for name, columns in files.sets.items()
        },
    )


def _state_of(run: Path) -> _State:
    """Returns what changes if a file of the labels is written, replaced, added or removed."""
    state = []
    try:
        for path in sorted((run / LABELS).iterdir()):
            stat = path.stat()
            times = stat.st_mtime_ns, stat.st_ctime_ns
            state.append((path.name, stat.st_ino, stat.st_size, *times))
    except OSError:  # there are none, or a file was removed meanwhile
        return (("", 0, 0, time.time_ns(), 0),) if (run / LABELS).is_dir() else ()
    return tuple(state)


def _is_settled(state: _State) -> bool:
    """Returns whether all files were written long enough ago."""
    newest = max((max(each[3:]) for each in state), default=0)
    return time.time_ns() - newest > SETTLED * 1e9
