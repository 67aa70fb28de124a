"""The default batch size of an extraction. On a GPU it is as large as is useful."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import psutil
import torch

from ..cache.plan import make_plan
from ..models.model import Model
from ..sampling.loop import denoise
from ..specs import BATCH, DDIM, RunSpec
from .shard import is_out_of_memory

MOST = 256
GAIN = 1.05
"""The smallest gain in samples per second from doubling the batch."""

SHARD_BYTES = 2 * 2**30
"""The limit for a shard. A stopped extraction loses its unfinished shard."""


def find_batch(model: Model, spec: RunSpec) -> int:
    """Finds the fastest batch size that fits into memory.

    It starts from :data:`hcache.specs.BATCH` and doubles. On a CPU larger batches are not faster,
    so the result is that number. A batch that fits now may not fit later, beside other work.
    :func:`hcache.extraction.shard.compute_range` then continues with half of it.
    """
    if model.device.type != "cuda":
        return BATCH
    return grow(
        lambda n: _seconds(model, spec, n),
        most_at_once(spec, model, psutil.virtual_memory().available),
    )


def most_at_once(spec: RunSpec, model: Model, available: int) -> int:
    """Returns the largest batch size that this machine's memory allows.

    It is at most the number of samples, the wanted size of shards, and the number whose three steps
    waiting to be written take a quarter of the memory (``available``, in bytes). It is at least
    ``BATCH``.
    """
    sample = make_plan(
        replace(
            spec,
            samples=1,
            batch=1,
            conditioning=spec.conditioning.rows([0]),
            images=(),
            inversion=DDIM,
        ),
        model.anatomy,
    ).total
    bounds = (MOST, SHARD_BYTES // sample, available // 4 * spec.steps // (3 * sample))
    return min(spec.samples, max(BATCH, min(bounds)))


def grow(seconds: Callable[[int], float], most: int) -> int:
    """Doubles from ``BATCH`` to ``most`` as long as this is faster.

    Args:
        seconds: Returns the seconds of one step of n samples. It raises an error if memory does not
            suffice.
        most: The largest batch size.
    """
    best, n, rate = min(BATCH, most), min(BATCH, most), 0.0
    while True:
        try:
            found = n / seconds(n)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return best
        if found < GAIN * rate:
            return best
        best, rate = n, found
        if n == most:
            return best
        n = min(2 * n, most)


def _seconds(model: Model, spec: RunSpec, n: int) -> float:
    """Returns the seconds of the second step of n samples. The first step warms up, and a decoded
    picture shows whether it fits as well.
    """
    try:
        rows = spec.conditioning.rows(range(n))
        steps = denoise(model, range(n), max(2, spec.steps), conditioning=rows)
        next(steps)
        torch.cuda.synchronize(model.device)
        began = time.perf_counter()
        step = next(steps)
        torch.cuda.synchronize(model.device)
        took = time.perf_counter() - began
        with torch.inference_mode():
            model.to_images(step.x_next)
        return took
    finally:
        torch.cuda.empty_cache()
