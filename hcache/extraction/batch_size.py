"""How many samples an extraction computes at once, where nobody said it: on a GPU as many as are
worth it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import psutil
import torch

from ..cache.plan import make_plan
from ..models.model import Model
from ..sampling.loop import denoise
from ..specs import BATCH, RunSpec
from .shard import is_out_of_memory

MOST = 256
GAIN = 1.05
"""Twice as many samples at once must be faster by this, in samples a second."""

SHARD_BYTES = 2 * 2**30
"""A shard that was not finished is lost when an extraction is stopped: more than so much is not
put at stake.
"""


def find_batch(model: Model, spec: RunSpec) -> int:
    """As many samples at once as are fastest and fit.

    Memory has to hold them: :data:`hcache.specs.BATCH`, doubled again and again.

    On a CPU more at once are not faster, and it is that number. What fits here may still not fit
    later, beside other work: then :func:`hcache.extraction.shard.compute_range` goes on with half
    of it.
    """
    if model.device.type != "cuda":
        return BATCH
    return grow(
        lambda n: _seconds(model, spec, n),
        most_at_once(spec, model, psutil.virtual_memory().available),
    )


def most_at_once(spec: RunSpec, model: Model, available: int) -> int:
    """The most samples at once that this machine's memory holds.

    No more than there are, than the shards are meant to be large, and than a quarter of the
    memory (``available``, in bytes) holds of three steps, which are waiting to be written; but
    always ``BATCH``.
    """
    sample = make_plan(
        replace(spec, samples=1, batch=1, conditioning=spec.conditioning.rows([0]), images=()),
        model.anatomy,
    ).total
    bounds = (MOST, SHARD_BYTES // sample, available // 4 * spec.steps // (3 * sample))
    return min(spec.samples, max(BATCH, min(bounds)))


def grow(seconds: Callable[[int], float], most: int) -> int:
    """Doubles from ``BATCH`` to ``most`` for as long as it gains.

    Args:
        seconds: What one step of n samples takes; or that there is not enough memory for it, by
            raising.
        most: Samples.
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
    """Of the second step of n samples; the first warms up, and a decoded picture shows whether
    that fits as well.
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
