"""Times the probe heat map: a label at every site and step of a run.

The time includes controls and intervals. The run has toyfaces' shapes, with h in full and the skips
as chosen. It is made of numbers: factors that grow over the steps, with noise. Each label is one
factor. The run is read from disk like any run, and its results are stored.

    python -m hcache.bench.probe_map --samples 512 --steps 20 --skips pooled
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..analysis.probes import KINDS, LOGISTIC, RIDGE
from ..analysis.threads import workers
from ..cache.layout import RUN_JSON
from ..cache.reading import Run, open_run
from ..cache.shards import ShardWriter
from ..cards import default_spec
from ..measures.decodability import ProbeOptions, decodability
from ..models.loading import load_anatomy
from ..progress import drive
from ..specs import FULL, POOLED
from .planted import empty_run

MODEL, BATCH, FACTORS = "toyfaces-ddpm-64", 16, 8
LABELS = {RIDGE: "values", LOGISTIC: "classes"}


def heat_map_seconds(
    kind: str,
    samples: int = 512,
    steps: int = 20,
    skips: str = POOLED,
    controls: int = 19,
    home: Path | None = None,
) -> float:
    """Measures the seconds that a heat map takes.

    The map has h and four skip groups. The time counts from the request until everything is stored.

    Args:
        kind: ``ridge`` for a continuous label, or ``logistic`` for two classes.
        samples: The number of samples of the run.
        steps: The number of steps of the run.
        skips: How skips are stored, ``pooled`` or ``full``.
        controls: The number of shuffled labels at every site and step.
        home: The folder where the run is made, or was made before with the same numbers. None means
            a temporary folder.
    """
    if home is None:
        with tempfile.TemporaryDirectory() as folder:
            return heat_map_seconds(kind, samples, steps, skips, controls, Path(folder))
    run = made_up_run(home, samples, steps, skips)
    sites = list(run.anatomy.sites)
    begun = time.perf_counter()
    drive(decodability(run, [LABELS[kind]], sites, options=ProbeOptions(controls=controls)))
    return time.perf_counter() - begun


def made_up_run(home: Path, samples: int, steps: int, skips: str, seed: int = 0) -> Run:
    """Returns a run with toyfaces' sites and made-up numbers.

    It is made only if it does not exist.
    """
    anatomy = load_anatomy(MODEL)
    store = {site: FULL if site == "h" else skips for site in anatomy.sites}
    spec = default_spec(MODEL, samples=samples, steps=steps, store=store, batch=BATCH, seed=seed)
    folder, timesteps = home / "runs" / spec.name, list(range(steps))[::-1]
    if (folder / RUN_JSON).exists():
        return open_run(folder)
    empty_run(home, spec, anatomy)
    members = [member for site in anatomy.sites for member in anatomy.members(site)]
    shapes = {
        m: anatomy.shape(m) if store[_site_of(m)] == FULL else anatomy.shape(m)[:1] for m in members
    }
    mixing = {
        m: (
            np.random.default_rng([seed, i])
            .normal(size=(FACTORS, np.prod(shapes[m])))
            .astype(np.float32)
        )
        for i, m in enumerate(members)
    }
    for start in range(0, samples, BATCH):
        count = min(BATCH, samples - start)
        rng = np.random.default_rng([seed, start, samples])
        factors = rng.normal(size=(count, FACTORS)).astype(np.float32)
        seeds = seed + np.arange(start, start + count)
        with ShardWriter(folder, start, seeds, np.array(timesteps), "float16") as writer:
            for step in range(steps):
                for member, shape in shapes.items():
                    noise = rng.normal(size=(count, *shape)).astype(np.float32)
                    signal = (factors @ mixing[member]).reshape(count, *shape) * (
                        (step + 1) / (4 * steps)
                    )
                    writer.write_activation(step, member, noise + signal)
            writer.write_labels(
                "made up",
                {"values": factors[:, 0], "classes": (factors[:, 1] > 0).astype(np.float32)},
            )
            writer.commit()
    return open_run(folder)


def _site_of(member: str) -> str:
    """Returns ``skip.2`` for ``skip.2.0``."""
    return ".".join(member.split(".")[:2])


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command: prints the seconds of heat maps as JSON.

    There is a heat map for each kind of probe.
    """
    parser = argparse.ArgumentParser(
        prog="python -m hcache.bench.probe_map", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--skips", choices=(POOLED, FULL), default=POOLED)
    parser.add_argument("--controls", type=int, default=19)
    parser.add_argument("--kind", choices=KINDS, action="append", help="repeat (default: both)")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as home:
        of_kind = {
            kind: heat_map_seconds(
                kind, asked.samples, asked.steps, asked.skips, asked.controls, Path(home)
            )
            for kind in asked.kind or KINDS
        }
    print(
        json.dumps(
            {
                "seconds": {kind: round(found, 1) for kind, found in of_kind.items()},
                "samples": asked.samples,
                "steps": asked.steps,
                "sites": 5,
                "skips": asked.skips,
                "controls": asked.controls,
                "workers": workers(),
            }
        )
    )


if __name__ == "__main__":
    main()
