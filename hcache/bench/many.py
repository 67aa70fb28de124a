"""Times the pages of a run of many samples.

The run is made of numbers, with pictures and two labels. ``--there`` writes only its first samples;
the others are in the manifest alone, and pages that need them are left out.

    python -m hcache.bench.many --samples 100000
    python -m hcache.bench.many --samples 1000000 --there 640 --page overview
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..cache.layout import MANIFEST
from ..cache.reading import Run, open_run
from ..cache.shards import ShardWriter
from ..dashboard import dashboard_script
from ..specs import Anatomy, RunSpec
from .planted import empty_run
from .timing import Clock

H_SHAPE, PICTURE, STEPS, BATCH = (8, 2, 2), (4, 4, 3), 4, 64

PAGES = ("overview", "gallery", "pca", "probes")


def run_of_many(home: Path, samples: int, there: int | None = None) -> Run:
    """Makes a run of numbers.

    Args:
        home: The folder of the run.
        samples: The number of samples that the manifest lists.
        there: The number of samples that are written. None means all.
    """
    spec = RunSpec(model="planted", samples=samples, steps=STEPS, batch=BATCH)
    anatomy = Anatomy(x=(3, 4, 4), image=PICTURE, h=H_SHAPE)
    folder = empty_run(home, spec, anatomy)
    for start in range(0, samples if there is None else there, BATCH):
        _write_shard(folder, spec, start, min(start + BATCH, samples))
    if there is not None:
        _list_the_others(folder / MANIFEST, there, samples)
    return open_run(folder)


def _write_shard(folder: Path, spec: RunSpec, start: int, stop: int) -> None:
    rng = np.random.default_rng([0, start])
    count, seeds = stop - start, spec.seed + np.arange(start, stop)
    with ShardWriter(folder, start, seeds, np.arange(STEPS)[::-1], spec.store_dtype) as writer:
        for step in range(STEPS):
            writer.write_activation(step, "h", rng.normal(size=(count, *H_SHAPE)))
            writer.write_x_0(step, rng.integers(0, 256, (count, *PICTURE), np.uint8))
        writer.write_images(rng.integers(0, 256, (count, *PICTURE), np.uint8))
        labels = {"values": rng.normal(size=count), "classes": rng.integers(0, 2, count)}
        writer.write_labels("made up", {k: v.astype(np.float32) for k, v in labels.items()})
        writer.commit()


def _list_the_others(manifest: Path, there: int, samples: int) -> None:
    """Lists shards that do not exist after those that do."""
    with manifest.open("a") as file:
        for start in range(there, samples, BATCH):
            line = {
                "start": start,
                "stop": min(start + BATCH, samples),
                "file": f"{start:08d}.h5",
                "bytes": 10,
                "checksum": "xxh3_128:" + "0" * 32,
            }
            file.write(json.dumps(line) + "\n")


def page_seconds(home: Path, pages: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Opens every page twice in one session.

    Returns:
        For every page, what the ``first`` and the ``second`` opening took: seconds by the clock and
        of the processor.

    Raises:
        RuntimeError: a page failed.
    """
    os.environ["HCACHE_HOME"] = str(home)
    testing = import_module("streamlit.testing.v1")
    app = testing.AppTest.from_file(str(dashboard_script()), default_timeout=600)
    found: dict[str, dict[str, Any]] = {page: {} for page in pages}
    for time in ("first", "second"):
        for page in pages:
            clock = Clock()
            _open(app, page)
            found[page][time] = {k: round(v, 2) for k, v in asdict(clock.read()).items()}
    return found


def _open(app: Any, page: str) -> None:
    app.switch_page(dashboard_script().name if page == "overview" else f"pages/{page}.py").run()
    if app.exception or app.error:
        raise RuntimeError(f"{page}: {[*app.exception, *app.error][0].value}")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command: prints the seconds of pages as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m hcache.bench.many", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--samples", type=int, default=100_000, help="(default: %(default)s)")
    parser.add_argument("--there", type=int, help="how many of them are written (default: all)")
    parser.add_argument("--page", action="append", choices=PAGES, help="repeat (default: all)")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as home:
        run_of_many(Path(home), asked.samples, asked.there)
        print(json.dumps(page_seconds(Path(home), asked.page or PAGES), indent=1))


if __name__ == "__main__":
    main()
