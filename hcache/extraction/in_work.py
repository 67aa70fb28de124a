"""The samples that an extraction is at, to be looked at meanwhile: their predicted x_0 after the
latest step.

One small PNG in the run's folder, replaced as a whole a few times a second, and taken away when the
extraction ends. It says itself of which samples and which step it is. It is no part of the run.
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
"""Samples side by side."""

SECONDS = 0.25
"""At least, between two of them."""


Small = Annotated[int, Meta(ge=0, lt=2**31)]


@dataclass(frozen=True, kw_only=True)
class InWork:
    """The samples of a run that are in work.

    Samples ``start`` to ``stop`` (not included); step ``step`` of ``steps`` is done, from 0.

    ``shown``: how many of them the picture shows, the first ones.
    """

    start: Small
    stop: Small
    step: Small
    steps: Small
    shown: Small

    def in_words(self) -> str:
        """What is in work, in words.

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
    """The extraction's own side."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.path, self.steps, self._written = folder / IN_WORK, steps, -SECONDS

    def show(self, start: int, step: int, x_0: np.ndarray) -> None:
        """Takes note of a step of some samples.

        Of those from ``start`` on: x_0 (n, height, width, 3) uint8.

        On a full disk nothing: the extraction ends where its data are written, and it is told
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
        """At the end, however that comes."""
        if self._written >= 0:  # else it is another process's that extracts this run
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


def read_in_work(folder: Path) -> tuple[InWork, bytes] | None:
    """What is in work of a run, and the picture of it.

    None if nothing is to be seen.
    """
    try:
        data = (folder / IN_WORK).read_bytes()
        return checked(parse_json(read_recipe(data).encode()), InWork), data
    except (OSError, ValueError, RecursionError):  # a UsageError is a ValueError
        return None
