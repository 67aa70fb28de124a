"""Compares the estimates of ``measures/costs.py`` with measured processor seconds.

    python -m hcache.bench.costs

The run is made of numbers, as in :mod:`hcache.bench.probe_map`; no model is loaded. Everything is
measured on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from ..analysis.cka import SHUFFLES
from ..analysis.maps import TSNE
from ..analysis.projections import project_steps
from ..analysis.threads import one_thread
from ..cache.layout import H
from ..cache.reading import Run
from ..measures.alike import steps_alike
from ..measures.codes import COMPONENTS, codes
from ..measures.components import make_components
from ..measures.costs import (
    alignment_seconds,
    codes_seconds,
    components_seconds,
    map_seconds,
    probe_seconds,
    projection_seconds,
    similarity_seconds,
    sparse_seconds,
)
from ..measures.decodability import alignment_of, decodability
from ..measures.maps import make_map
from ..measures.sparse import sparse_features
from ..progress import drive
from ..sparse.plan import plan_of
from ..specs import POOLED
from .probe_map import LABELS, made_up_run

STEPS = 20

SMALL = {"features": 128, "active": 4, "tokens": 20_000, "seed": 0}
"""The size of the dictionary of sparse features that is timed."""


def costs_of(run: Run) -> dict[str, dict[str, float]]:
    """Returns measured and estimated processor seconds for each task.

    The keys are ``measured`` and ``estimated``. The run may not have stored results yet.
    """
    steps, labels = list(range(STEPS)), run.labels["made up"]
    found = {}
    for kind, label in LABELS.items():
        estimated = probe_seconds(run, {H: STEPS}, [labels[label]])
        found[f"{kind} probes"] = _pair(
            lambda label=label: decodability(run, [label], [H]), estimated
        )
    found["projections"] = _pair(
        lambda: project_steps(lambda step: run.matrix(H, step), STEPS), projection_seconds(run, H)
    )
    positives = run.sample_ids[: len(run) // 4].tolist()
    found["alignment"] = _pair(
        lambda: alignment_of(run, positives, steps, name=LABELS["ridge"]),
        alignment_seconds(run, STEPS),
    )
    found["codes"] = _pair(
        lambda: codes(run, list(LABELS.values()), COMPONENTS, H, steps[:2]),
        codes_seconds(run, 2, 2),
    )
    found["CKA"] = _pair(
        lambda: steps_alike(run, H, len(run), SHUFFLES),
        similarity_seconds(run, {H: STEPS}, len(run), SHUFFLES),
    )
    neighbours = min(15, (len(run) - 1) // 2)
    found["t-SNE"] = _pair(
        lambda: make_map(run, H, TSNE, 0, neighbours), map_seconds(run, H, TSNE, 1)
    )
    plan = plan_of(run, H, SMALL)
    found["sparse features"] = _pair(lambda: sparse_features(run, plan), sparse_seconds(run, plan))
    found["components"] = _pair(
        lambda: make_components(run, H, 3, SHUFFLES), components_seconds(run, H, SHUFFLES)
    )
    return found


def _pair(make: Callable[[], Generator[float, None, Any]], estimated: float) -> dict[str, float]:
    begun = time.process_time()
    with one_thread():
        drive(make())
    return {"measured": round(time.process_time() - begun, 2), "estimated": round(estimated, 2)}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command: prints the seconds by numbers of samples, as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m hcache.bench.costs", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--samples", type=int, action="append", help="of the run; repeat (default: 64 and 256)"
    )
    asked = parser.parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"  # which `workers` reads: one piece after the other
    found = {}
    for samples in asked.samples or (64, 256):
        with tempfile.TemporaryDirectory() as home:
            found[samples] = costs_of(made_up_run(Path(home), samples, STEPS, POOLED))
    print(json.dumps({"seconds": found}, indent=1))


if __name__ == "__main__":
    main()
