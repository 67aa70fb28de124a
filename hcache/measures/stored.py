"""Runs a measurement as a generator, unless its result is already stored."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cache.reading import Run
from ..cache.records import Record, load_record, save_record, save_sheet
from .registry import as_of_today

Measuring = Generator[float, None, Record]


@dataclass(frozen=True, kw_only=True)
class Pictured:
    """A result with pictures.

    The pictures are (rows, columns, height, width, 3) uint8.
    """

    result: Any
    pictures: np.ndarray


def measured(
    run: Run,
    kind: str,
    parameters: Mapping[str, Any],
    compute: Callable[[], Generator[float, None, Any]],
) -> Measuring:
    """Returns the stored result of these parameters, or computes it.

    A new result is stored, its pictures first.
    """
    parameters = as_of_today(kind, parameters)
    found = load_record(run, kind, parameters)
    if found is None:
        result = yield from compute()
        if isinstance(result, Pictured):
            save_sheet(run, kind, parameters, result.pictures)
            result = result.result
        found = save_record(run, kind, parameters, result)
    yield 1.0
    return found
