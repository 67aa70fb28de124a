"""Times joint PCA of many samples against one reading of them.

The run is planted on disk. Each measurement runs in a process of its own. Cold means that the
system was asked to drop the shards from its memory before. Warm means that they lie there.

    python -m hcache.bench.joint --samples 20000 --steps 20 --channels 128

The default needs 6.6 GB of disk and some minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..cache.layout import SHARDS
from .planted import planted_run
from .timing import in_child

SIDE, BATCH = 8, 64


def forget(folder: Path) -> None:
    """Asks the system to drop a run from its memory.

    The next reading then comes from the disk. Where the system has no such call, nothing happens.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    for path in (folder / SHARDS).iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # only what is on the disk can be dropped
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def joint(folder: Path, rounds: int = 1) -> dict[str, Any]:
    """Measures reading and joint PCA, cold and warm.

    Returns:
        ``cold`` and ``warm``, each with the seconds of every round: ``reading`` and
        ``components``. ``ratio``: the least and largest of components / reading in one round.
        ``peak``: the peak memory of the PCA in MB. ``passes``: how often it read the run.
    """
    found: dict[str, Any] = {"peak": 0.0}
    for state in ("cold", "warm"):
        seconds: dict[str, list[float]] = {"reading": [], "components": []}
        for _ in range(rounds):
            for what, taken in seconds.items():
                if state == "cold":
                    forget(folder)
                told = in_child("joint_once", what=what, folder=str(folder))
                taken.append(round(told["spent"]["clock"], 2))
                if what == "components":
                    found["peak"] = max(found["peak"], told["peak"])
                    found["passes"] = told["passes"]
        ratios = [c / r for r, c in zip(seconds["reading"], seconds["components"], strict=True)]
        found[state] = {**seconds, "ratio": [round(min(ratios), 2), round(max(ratios), 2)]}
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command: prints the seconds and ratios as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m hcache.bench.joint", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--samples", type=int, default=20_000, help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument(
        "--channels", type=int, default=128, help="of 8 x 8 numbers each (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--work", type=Path, help="a folder on the disk to measure")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=asked.work) as home:
        shape = (asked.channels, SIDE, SIDE)
        run = planted_run(Path(home), asked.samples, asked.steps, shape, BATCH)
        found = joint(run.folder, asked.rounds)
        size = asked.samples * asked.steps * asked.channels * SIDE * SIDE * 2
    print(json.dumps({"gigabytes": round(size / 1e9, 2), **found}, indent=1))


if __name__ == "__main__":
    main()
