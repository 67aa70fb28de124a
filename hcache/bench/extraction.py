"""Compares extraction with the plain loop, and with hooks and ``torch.save``."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..cache.plan import format_bytes
from ..extraction.run import extract
from ..models.model import Model
from ..progress import part
from .baselines import hooked_loop, plain_loop
from .setting import BenchRow, BenchSetting
from .subjects import amount_of, load_subject, subject_spec
from .timing import Ratio, Timed, interleaved

STORES = {"h": {"h": "full"}, "all": {"h": "full", "skip.*": "full"}}


@dataclass(kw_only=True)
class _Ways:
    """The ways to get the same samples. Each deletes what it wrote and keeps only the number of
    bytes.
    """

    model: Model
    setting: BenchSetting
    samples: dict[str, int]
    steps: int
    batch: int
    bytes: dict[str, int] = field(default_factory=dict)

    def plain(self, store: str) -> None:
        """Samples as many as are extracted with ``store``, which it ignores."""
        for seeds in self._batches(store):
            plain_loop(self.model, seeds, self.steps)

    def hooks(self, store: str) -> None:
        with _emptied(self.setting.work / "hooks") as folder:
            self.bytes[f"hooks-{store}"] = sum(
                hooked_loop(self.model, seeds, self.steps, folder, store == "all")
                for seeds in self._batches(store)
            )

    def extract(self, store: str) -> None:
        samples = self.samples[store]
        spec = subject_spec(
            self.model, samples, self.steps, self.batch, self.setting.dtype, STORES[store]
        )
        with _emptied(self.setting.work / "home") as home:
            run = extract(self.model, spec, home)
            self.bytes[f"extract-{store}"] = sum(
                p.stat().st_size for p in run.folder.rglob("*") if p.is_file()
            )

    def disk(self, size: int) -> float:
        """Measures the seconds for writing and flushing a number of bytes."""
        block = os.urandom(2**20)
        with _emptied(self.setting.work / "disk") as folder:
            began = time.perf_counter()
            with (folder / "bytes").open("wb") as file:
                for _ in range(max(1, size >> 20)):
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            return time.perf_counter() - began

    def weights(self, store: str) -> Ratio:
        """Compares the MB of extraction with those of the loop with hooks."""
        ours, theirs = (self.bytes[f"{kind}-{store}"] / 1e6 for kind in ("extract", "hooks"))
        return Ratio.of_numbers([ours], [theirs])

    def _batches(self, store: str) -> Iterator[range]:
        for start in range(0, self.samples[store], self.batch):
            yield range(start, min(start + self.batch, self.samples[store]))


def extraction(setting: BenchSetting) -> Generator[float, None, list[BenchRow]]:
    """Measures time and bytes of extraction."""
    model = load_subject(setting.subject, setting.device, setting.dtype)
    full = amount_of(setting.subject, setting.device)
    samples = {"h": setting.size(full.samples, 2), "all": setting.size(full.of_skips, 2)}
    ways = _Ways(
        model=model,
        setting=setting,
        samples=samples,
        steps=setting.size(full.steps, 2),
        batch=setting.size(full.batch, 1),
    )
    kinds = {"plain": ways.plain, "extract": ways.extract, "hooks": ways.hooks}
    sides = {
        f"{kind}-{store}": partial(way, store) for store in STORES for kind, way in kinds.items()
    }
    plain = "plain-all"
    if samples["h"] == samples["all"]:  # then it is the same, and is not timed twice
        plain = "plain-h"
        del sides["plain-all"]
    timed = yield from part(interleaved(sides, setting.rounds), 0.0, 1.0)
    return _rows(ways, timed, plain)


def _rows(ways: _Ways, timed: Timed, plain: str) -> list[BenchRow]:
    """Returns the table's rows; ``plain``: the loop to compare extraction with all skips with."""
    samples = ways.samples
    weight = ways.bytes["extract-all"]
    disk = ways.disk(weight)
    network = Ratio.of(timed, "extract-all", plain).theirs
    bound = "the disk" if disk > network else "the network"
    note = (
        f"{samples['all']} samples, {format_bytes(weight)}, which the disk alone takes {disk:.2g} s"
        f" for and the network {network:.2g} s: {bound} is the bound"
    )
    size = f"{samples['h']} samples of {ways.steps} steps, batch {ways.batch}"
    x = (
        "x is kept in float32, to be taken up again exactly; by the loop in"
        f" {str(ways.model.dtype).partition('.')[2]}"
    )

    h, all_ = "extraction, h and x stored", "extraction, h and all skips stored"
    loop = "the plain diffusers loop, nothing stored"
    same = "both compute the same network"
    ratio = partial(Ratio.of, timed)

    def row(name: str, what: str, against: str, found: Ratio, **more: Any) -> BenchRow:
        """Returns a row of the table."""
        return BenchRow(name=name, what=what, against=against, ratio=found, **more)

    return [
        row("extraction", h, loop, ratio("extract-h", "plain-h"), aim=1.05, note=size),
        row(
            "extraction, skips", all_, "the same", ratio("extract-all", plain), aim=1.25, note=note
        ),
        row("hooks, time", h, HOOKS, ratio("extract-h", "hooks-h"), aim=0.8, note=same),
        row("hooks, bytes", h, HOOKS, ways.weights("h"), aim=0.55, note=x, unit="MB"),
        row("hooks, skips, time", all_, HOOKS, ratio("extract-all", "hooks-all")),
        row("hooks, skips, bytes", all_, HOOKS, ways.weights("all"), unit="MB"),
    ]


HOOKS = "the loop with hooks and torch.save a sample"


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """Makes a folder that is deleted afterwards."""
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
