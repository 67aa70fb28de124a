"""Reads all samples at one step from the cache, a flat file, and one ``.pt`` per sample.

The flat file holds the same bytes.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..cache.reading import Run, open_run
from ..progress import part
from .planted import planted_run
from .setting import BenchRow, BenchSetting
from .timing import Ratio, Timed, interleaved


def reading(setting: BenchSetting) -> Generator[float, None, list[BenchRow]]:
    """Times reading warm: every file was read just before."""
    samples, steps = setting.size(1000, 12), setting.size(20, 2)
    shape = (128, 8, 8) if not setting.quick else (4, 2, 2)
    run = planted_run(setting.work, samples, steps, shape, 8)
    yield 0.2
    flat = setting.work / "flat.bin"
    paths = {
        kind: [setting.work / f"{kind}-{sample:05d}.pt" for sample in run.sample_ids]
        for kind in ("h", "loop")
    }
    _write_others(run, flat, paths, shape)
    yield 0.4
    folder, step = str(run.folder), steps // 2
    shape_of_flat = (steps, samples, run.width("h"))

    def cached() -> np.ndarray:
        return open_run(folder).matrix("h", step)

    def mapped() -> np.ndarray:
        return np.memmap(flat, np.float16, "r", shape=shape_of_flat)[step].astype(np.float32)

    def loaded(kind: str) -> np.ndarray:
        return np.stack([_h_of(path, step) for path in paths[kind]])

    ways = {"cached": cached, "h": lambda: loaded("h"), "loop": lambda: loaded("loop")}
    if not all(np.array_equal(mapped(), way()) for way in ways.values()):
        raise ValueError("the ways to read do not read the same")
    fast = yield from part(
        interleaved({"cached": cached, "mapped": mapped}, 3 * setting.rounds), 0.4, 0.2
    )
    timed = yield from part(interleaved(ways, setting.rounds), 0.6, 0.4)
    note = (
        f"{samples} samples of {run.width('h')} numbers in {len(run.shards)} shards, opened anew;"
        " both give float32"
    )
    return _rows(fast, timed, note)


def _write_others(
    run: Run, flat: Path, paths: Mapping[str, Sequence[Path]], shape: tuple[int, ...]
) -> None:
    """Writes the same h as one array, and as one .pt per sample, with and without a loop's extras.

    Args:
        run: The run to write.
        flat: The path of the array.
        paths: The paths of the samples' files: ``h`` alone, and as the ``loop`` writes them.
        shape: The shape of h.
    """
    import torch

    steps, samples = run.spec.steps, len(run)
    held = np.memmap(flat, np.float16, "w+", shape=(steps, samples, run.width("h")))
    for step in range(steps):
        held[step] = run.matrix("h", step)
    held.flush()
    picture = shape[-1] * 8  # of toyfaces, which such an h is of
    beside = {
        "x": torch.zeros(steps, 3, picture, picture),
        "image": torch.zeros(picture, picture, 3).byte(),
    }
    for sample in range(samples):
        h = {"h": torch.from_numpy(held[:, sample].astype(np.float32).reshape(steps, *shape))}
        torch.save(h, paths["h"][sample])
        torch.save(h | beside, paths["loop"][sample])


def _rows(fast: Timed, timed: Timed, note: str) -> list[BenchRow]:
    """Returns the table's rows from the times of both rounds."""
    what = "all samples at one step, warm"
    return [
        BenchRow(
            name="reading",
            what=what,
            against="np.memmap of the same bytes",
            aim=2.0,
            ratio=Ratio.of(fast, "cached", "mapped"),
            note=note,
        ),
        BenchRow(
            name="reading, .pt",
            what=what,
            against="one .pt a sample, as the loop with hooks writes it",
            aim=1 / 30,
            ratio=Ratio.of(timed, "cached", "loop"),
            note="h and x of all steps in float32, and the picture",
        ),
        BenchRow(
            name="reading, .pt of h",
            what=what,
            against="one .pt a sample that holds h alone",
            ratio=Ratio.of(timed, "cached", "h"),
        ),
    ]


def _h_of(path: Path, step: int) -> np.ndarray:
    import torch

    return torch.load(path, weights_only=True)["h"][step].flatten().numpy()
