"""Extraction beside the plain loop, and beside hooks and ``torch.save``."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..cache.plan import format_bytes
from ..extraction.run import extract
from ..models.model import Model
from ..progress import part
from .baselines import hooked_loop, plain_loop
from .setting import Row, Setting
from .subjects import amount_of, load_subject, subject_spec
from .timing import Ratio, interleaved

STORES = {"h": {"h": "full"}, "all": {"h": "full", "skip.*": "full"}}


@dataclass(kw_only=True)
class _Ways:
    """The ways to get the same samples; each forgets what it wrote, but for how many bytes it
    was.
    """

    model: Model
    setting: Setting
    samples: dict[str, int]
    steps: int
    batch: int
    bytes: dict[str, int] = field(default_factory=dict)

    def plain(self, store: str) -> None:
        """As many samples as are extracted with ``store``, which it takes no notice of."""
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
        """Seconds that writing and flushing so many bytes takes."""
        block = os.urandom(2**20)
        with _emptied(self.setting.work / "disk") as folder:
            began = time.perf_counter()
            with (folder / "bytes").open("wb") as file:
                for _ in range(max(1, size >> 20)):
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            return time.perf_counter() - began

    def _batches(self, store: str) -> Iterator[range]:
        for start in range(0, self.samples[store], self.batch):
            yield range(start, min(start + self.batch, self.samples[store]))


def extraction(setting: Setting) -> Generator[float, None, list[Row]]:
    """Time and bytes of extraction."""
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
        f" {str(model.dtype).partition('.')[2]}"
    )

    def times(
        name: str, what: str, against: str, ours: str, theirs: str, aim: float | None, note: str
    ) -> Row:
        return Row(
            name=name,
            what=what,
            against=against,
            aim=aim,
            ratio=Ratio.of(timed, ours, theirs),
            note=note,
        )

    def weights(name: str, what: str, store: str, aim: float | None, note: str = "") -> Row:
        found = Ratio.of_numbers(
            [ways.bytes[f"extract-{store}"] / 1e6], [ways.bytes[f"hooks-{store}"] / 1e6]
        )
        return Row(name=name, what=what, against=HOOKS, aim=aim, unit="MB", note=note, ratio=found)

    h, all_ = "extraction, h and x stored", "extraction, h and all skips stored"
    return [
        times(
            "extraction",
            h,
            "the plain diffusers loop, nothing stored",
            "extract-h",
            "plain-h",
            1.05,
            size,
        ),
        times("extraction, skips", all_, "the same", "extract-all", plain, 1.25, note),
        times(
            "hooks, time", h, HOOKS, "extract-h", "hooks-h", 0.8, "both compute the same network"
        ),
        weights("hooks, bytes", h, "h", 0.55, x),
        times("hooks, skips, time", all_, HOOKS, "extract-all", "hooks-all", None, ""),
        weights("hooks, skips, bytes", all_, "all", None),
    ]


HOOKS = "the loop with hooks and torch.save a sample"


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
