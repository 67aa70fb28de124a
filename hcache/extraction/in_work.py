"""The current samples of an extraction, for viewing: their predicted x_0 after the latest step.

It is one small PNG in the run's folder. It is replaced as a whole a few times per second, and
deleted when the extraction ends. It contains its samples and its step, and is not part of the run.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

from ..atomic import write_bytes
from ..cache.layout import IN_WORK
from ..images.pngs import png_bytes, read_recipe
from ..schemas import checked, parse_json

MOST_SHOWN = 8
"""The largest number of samples side by side."""

SECONDS = 0.25
"""The smallest time between two pictures, in seconds."""


Small = Annotated[int, Meta(ge=0, lt=2**31)]


@dataclass(frozen=True, kw_only=True)
class InWork:
    """The current samples of a run.

    They are ``start`` to ``stop`` (not included). Step ``step`` of ``steps`` is done, from 0.
    ``shown``: the number of first samples in the picture.
    """

    start: Small
    stop: Small
    step: Small
    steps: Small
    shown: Small

    def in_words(self) -> str:
        """Describes the current samples in words.

        ``Samples 2 to 7 in work, predicted x_0 after step 3 of 20``.
        """
        which = (
            f"Samples {self.start} to {self.stop - 1}"
            if self.stop - self.start > 1
            else f"Sample {self.start}"
        )
        first = (
            f" (the first {self.shown} are shown)" if self.shown < self.stop - self.start else ""
        )
        return f"{which} in work{first}, predicted x_0 after step {self.step + 1} of {self.steps}"


class InWorkFile:
    """Writes the picture, in the extracting process."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.path, self.steps, self._written = folder / IN_WORK, steps, -SECONDS

    def show(self, start: int, step: int, x_0: np.ndarray) -> None:
        """Records a step of some samples.

        The samples are those from ``start`` on, with x_0 (n, height, width, 3) uint8. On a full
        disk it does nothing: the extraction itself fails where it writes data, and reports it
        there.
        """
        if time.monotonic() - self._written < SECONDS:
            return
        shown = x_0[:MOST_SHOWN]
        said = InWork(
            start=start, stop=start + len(x_0), step=step, steps=self.steps, shown=len(shown)
        )
        picture = png_bytes(np.concatenate(list(shown), axis=1), json.dumps(asdict(said)))
        with contextlib.suppress(OSError):
            write_bytes(self.path, picture, durable=False)
        self._written = time.monotonic()

    def remove(self) -> None:
        """Deletes the picture at the end of an extraction, however it ends."""
        if self._written >= 0:  # otherwise it belongs to another process that extracts this run
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


def read_in_work(folder: Path) -> tuple[InWork, bytes] | None:
    """Returns the current samples of a run, and their picture.

    It is None if there is nothing to show.
    """
    try:
        data = (folder / IN_WORK).read_bytes()
        return checked(parse_json(read_recipe(data).encode()), InWork), data
    except (OSError, ValueError, RecursionError):  # UsageError is a ValueError
        return None
