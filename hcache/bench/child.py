"""The tasks that a benchmark runs in a process of their own.

``python -m hcache.bench.child TASK ARGUMENTS`` prints JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import psutil

from ..dashboard import dashboard_script
from ..starting import wait_asleep
from .timing import Clock, Spent, peak


def pca_cached(folder: str, count: int, out: str) -> dict[str, Any]:
    """Computes hcache's joint PCA.

    The components are written to ``out`` as (count, step * d).
    """
    import numpy as np
    import torch  # noqa: F401 - imported before the clock starts, as scikit-learn is on the other side

    from ..cache.reading import open_run
    from ..directions.pca import pca_directions
    from ..progress import drive

    clock = Clock()
    found = drive(pca_directions(open_run(folder), count, joint=True))
    spent, most = asdict(clock.read()), peak()
    np.save(out, np.stack([direction.delta.ravel() for direction in found]))
    return {"spent": spent, "peak": most}


def pca_sklearn(folder: str, count: int, out: str) -> dict[str, Any]:
    """Computes scikit-learn's randomised PCA of the same numbers.

    The numbers are in memory when the clock starts.
    """
    import numpy as np
    from sklearn.decomposition import PCA

    from ..cache.reading import open_run

    run = open_run(folder)
    d = run.width("h")
    data = np.empty((len(run), run.spec.steps * d), np.float32)
    for step in range(run.spec.steps):
        data[:, step * d : (step + 1) * d] = run.matrix("h", step)
    clock = Clock()
    found = PCA(count, svd_solver="randomized", random_state=0).fit(data)
    spent, most = asdict(clock.read()), peak()
    np.save(out, found.components_)
    return {"spent": spent, "peak": most}


def extract(
    home: str,
    samples: int,
    steps: int,
    batch: int,
    cores: Sequence[int] = (),
    threads: bool = False,
) -> dict[str, Any]:
    """Extracts a run of the shipped model, with h in full.

    The clock starts when the model is loaded and has run once.

    Args:
        home: The folder of the run.
        samples: The number of samples.
        steps: The number of steps.
        batch: The number of samples at once.
        cores: The cores to use; none leaves the choice to the system.
        threads: Whether PyTorch divides every operation over threads, which spin while they wait.
    """
    if cores:
        os.sched_setaffinity(0, cores)
    if not threads:
        wait_asleep()  # as a command of hcache does, before torch is imported
    import torch

    from ..allocator import keep_freed_memory
    from ..cards import default_spec
    from ..extraction.run import extract as run_extraction
    from ..models import side_by_side
    from ..models.loading import load_model

    if threads:
        side_by_side.MOST_PARTS = 1
    keep_freed_memory()
    spec = default_spec(
        "toyfaces-ddpm-64", samples=samples, steps=steps, batch=batch, store={"h": "full"}
    )
    model = load_model(spec.model)
    with torch.inference_mode():
        model.trace(torch.zeros(batch, *model.anatomy.x), 500)
    clock = Clock()
    run = run_extraction(model, spec, Path(home))
    return {"spent": asdict(clock.read()), "peak": peak(), "run": run.name}


def page(page: str, home: str) -> dict[str, Any]:
    """Runs a page's script once, as for its first visitor.

    The time counts from the start of this process.
    """
    os.environ["HCACHE_HOME"] = home
    path = files("streamlit") / "hello" / "hello.py" if page == "hello" else dashboard_script()
    testing = import_module(
        "streamlit.testing.v1"
    )  # what is measured here, as the visitor's browser would bring it in
    run = testing.AppTest.from_file(str(path), default_timeout=120).run()
    if run.exception:
        raise RuntimeError(run.exception[0].value)
    spent = Spent(time.time() - psutil.Process().create_time(), time.process_time())
    return {"spent": asdict(spent), "peak": peak()}


def network(calls: int, kept: bool) -> dict[str, Any]:
    """Calls the shipped network repeatedly."""
    import torch

    from ..allocator import keep_freed_memory
    from ..models.loading import load_model

    if kept:
        keep_freed_memory()
    model = load_model("toyfaces-ddpm-64")
    x = torch.randn(8, *model.anatomy.x)
    with torch.inference_mode():
        model.network(x, 500)
        clock = Clock()
        for _ in range(calls):
            model.network(x, 500)
    return {"spent": asdict(clock.read()), "peak": peak()}


def grown(what: str, folder: str) -> dict[str, Any]:
    """Does once what grows with samples; see :mod:`hcache.bench.growth`."""
    from .growth import grown as once

    return {**once(what, folder), "peak": peak()}


def joint_once(what: str, folder: str) -> dict[str, Any]:
    """Does once what :mod:`hcache.bench.joint` compares: ``reading`` or ``components``.

    The clock starts before the run opens.
    """
    from ..analysis.streaming import stream_components
    from ..cache.layout import H
    from ..cache.reading import open_run
    from ..progress import drive

    clock, passes = Clock(), 1
    run = open_run(folder)
    if what == "reading":
        for block in run.step_blocks(H):
            block.sum()
    else:
        found = drive(stream_components(lambda: run.step_blocks(H), len(run), own=False))
        passes = found.passes
    return {"spent": asdict(clock.read()), "peak": peak(), "passes": passes}


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    task.__name__: task
    for task in (pca_cached, pca_sklearn, extract, page, network, grown, joint_once)
}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](**json.loads(sys.argv[2]))))
