"""Tiny models and runs, and ways to compare them; what waits for processes."""

import dataclasses
import json
import os
import signal
import threading
import time

import h5py
import numpy as np
import psutil
import streamlit as st
import torch
from diffusers import DDIMScheduler, DDPMPipeline, UNet2DModel
from msgspec import structs
from tqdm.auto import tqdm as bars

from hcache.background.processes import RUNNING
from hcache.background.tasks import Task
from hcache.cache.files import write_json
from hcache.cache.layout import RUN_JSON, SCHEMA, SHARDS, TASKS
from hcache.cache.reading import open_run
from hcache.cache.shards import ShardWriter
from hcache.cards import Card
from hcache.edits.render import render_recipes
from hcache.edits.swaps import check_identity, swap_recipes
from hcache.models.anatomy import anatomy_of
from hcache.models.model import Model
from hcache.progress import part
from hcache.recipes.edits import DonorRef
from hcache.specs import BATCH, NONE, Anatomy

PATIENCE = 1200 if os.environ.get("HCACHE_SLOW") == "1" else 120
"""Seconds that a test waits for another process."""

THREE_LEVELS = {
    "sample_size": 16,
    "block_out_channels": (8, 16, 16),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 8,
}
TWO_LEVELS = {
    **THREE_LEVELS,
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}
ONE_LEVEL = {
    **THREE_LEVELS,
    "sample_size": 8,
    "block_out_channels": (4,),
    "down_block_types": ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",),
    "attention_head_dim": 4,
}


def make_unet(seed=0, base=THREE_LEVELS, **changes):
    """A U-Net with random weights, large enough for every block to matter to the output."""
    torch.manual_seed(seed)
    unet = UNet2DModel(**{**base, **changes}).eval().requires_grad_(False)
    for parameter in unet.parameters():
        parameter.mul_(1.5)
    return unet


def save_pipeline(folder, unet, **scheduler):
    DDPMPipeline(unet, DDIMScheduler(**scheduler)).save_pretrained(folder)
    return folder


def model_of(unet, **scheduler):
    """A model that was never on disk."""
    card = Card(name="unsaved", source="unsaved")
    return Model(
        card=card, network=unet, scheduler=DDIMScheduler(**scheduler), anatomy=anatomy_of(unet)
    )


def drain(generator):
    """What a generator yields, and what it returns."""
    yielded = []
    while True:
        try:
            yielded.append(next(generator))
        except StopIteration as end:
            return yielded, end.value


def last_x(steps):
    """The result of a whole denoising."""
    return list(steps)[-1].x_next


def contents(run):
    """Every dataset of a run: (shard, name) -> array."""
    found = {}
    for shard in run.shards:
        with h5py.File(run.folder / SHARDS / shard.file, "r") as file:
            file.visititems(
                lambda name, item, shard=shard: found.update(
                    {(shard.start, shard.stop, name): item[()]}
                    if isinstance(item, h5py.Dataset)
                    else {}
                )
            )
    return found


def assert_same_contents(a, b):
    """Two runs hold the same arrays, of the same dtype, in the same shards."""
    left, right = contents(a), contents(b)
    assert left.keys() == right.keys() and left
    for key, array in left.items():
        assert array.dtype == right[key].dtype, key
        np.testing.assert_array_equal(array, right[key], err_msg=str(key))


def synthetic_run(home, spec, h, shards=None, x=None):
    """A run on disk that holds ``h`` (step, sample, c, h, w), and ``x`` (step + 1, sample, 3, 8, 8)
    if it is given, and nothing else, sample 0 at the first shard's start."""
    shards = [(0, h.shape[1])] if shards is None else shards
    anatomy = Anatomy(x=(3, 8, 8), image=(8, 8, 3), h=h.shape[2:])
    spec = dataclasses.replace(spec, batch=spec.batch or BATCH)
    folder = home / "runs" / spec.name
    folder.mkdir(parents=True)
    description = {
        "schema": SCHEMA,
        "name": spec.name,
        "spec": spec.to_json(),
        "anatomy": anatomy.to_json(),
        "timesteps": list(range(spec.steps))[::-1],
        "provenance": {},
    }
    write_json(folder / RUN_JSON, description)
    row = 0
    for start, stop in shards:
        count = stop - start
        seeds = spec.seed + np.arange(start, stop)
        with ShardWriter(folder, start, seeds, np.arange(spec.steps), spec.store_dtype) as writer:
            for step in range(spec.steps):
                if spec.policy("h") != NONE:
                    writer.write_activation(step, "h", h[step, row : row + count])
            for index in range(0 if x is None else spec.steps + 1):
                writer.write_x(index, x[index, row : row + count])
            writer.commit()
        row += count
    return open_run(folder)


def render_swaps(model, run, donor, recipient, window, alpha=1.0):
    """A recipient with a donor's activations at each site alone, and the identity check."""
    sites, ref = model.anatomy.sites, DonorRef(run=run.name, sample=donor)
    recipes = swap_recipes(run, recipient, sites, ref, alpha, window)
    cells = yield from part(render_recipes(model, run, recipes, run.home), 0.0, 0.8)
    check = yield from part(check_identity(model, run, recipient, window), 0.8, 0.2)
    return {site: cell.picture for site, cell in zip(sites, cells, strict=True)}, check


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)
    return found


def share_nothing():
    """Frees a forked process of what it shares with its parent or lacks of it."""
    torch.set_num_threads(1)  # the threads of OpenMP are not in a process that was forked
    # a lock of tqdm is shared, and stays taken when a process that has it is killed; hcache's bars
    # have a lock of their own, those of transformers have not
    bars.set_lock(threading.RLock())


def in_a_child(work):
    """Starts ``work`` in a forked process, which has the model already; returns its id.

    What it returns is the exit code; 99 is that of an error.
    """
    child = os.fork()
    if child == 0:
        share_nothing()
        code = 99
        try:
            code = work() or 0
        finally:
            os._exit(code)
    return child


def code_of(child, patience=PATIENCE):
    """How a child ended: its exit code, or the signal as a negative number.

    One that hangs is killed after ``patience`` seconds, and fails the test.
    """
    deadline = time.monotonic() + patience
    while not (found := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError(f"a process did not end within {patience} s")
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(found[1])


def put_task(folder, **fields):
    """A status file of a task that this process is at, or that has ended."""
    (folder / TASKS).mkdir(exist_ok=True)
    now, me = time.time(), {"pid": os.getpid(), "process_started": psutil.Process().create_time()}
    given = {
        "id": "fit-1",
        "run": folder.name,
        "kind": "fit",
        "title": "a fit",
        "state": RUNNING,
        "begun": now,
        "updated": now,
        **me,
        **fields,
    }
    task = Task(**given)
    (folder / TASKS / f"{task.id}.json").write_text(json.dumps(structs.asdict(task)))
    return task


class Picking:
    """Picks points in a chart of a page: Streamlit's harness knows charts, and no clicks on them.

    In the place of ``st.plotly_chart`` it draws the chart, and a button that tells the page's own
    ``on_select`` what was picked, as the browser does.
    """

    def __init__(self, monkeypatch):
        self.points = []
        draw = st.plotly_chart

        def drawn(figure, *, key=None, on_select="ignore", selection_mode=(), **options):
            def tell():
                picked = [{"customdata": point} for point in self.points]
                st.session_state[key] = {"selection": {"points": picked, "box": [], "lasso": []}}
                on_select()

            if callable(on_select):
                st.button("Pick", key=f"pick in {key}", on_click=tell)
            return draw(figure, **options)

        monkeypatch.setattr(st, "plotly_chart", drawn)

    def pick(self, app, chart, *points):
        """Draws a page anew as when points were picked; ``points``: the ``customdata`` of each."""
        self.points = points
        return app.button(key=f"pick in {chart}").click().run()


def flattened(tensors, name):
    """Tensors of which one has lost its shape."""
    tensor = tensors[name]
    return {**tensors, name: tensor.flatten() if tensor.ndim != 1 else tensor[None]}
