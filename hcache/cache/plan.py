"""What a run will weigh, before anything runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..specs import FULL, NONE, POOLED, Anatomy, RunSpec
from .layout import PREVIEW_SIZE

SHARD_OVERHEAD = 20_000
"""HDF5's own structures in a shard, in bytes: 8 to 25 kB were measured, between 5 and 32 datasets."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Bytes by what is stored: sites, then ``x``, ``x_0``, ``image``, and ``overhead``."""

    parts: dict[str, int]
    samples: int
    steps: int

    @property
    def total(self) -> int:
        return sum(self.parts.values())


def site_bytes(anatomy: Anatomy, site: str, policy: str, itemsize: int) -> int:
    """Bytes of one site for one sample at one step."""
    shapes = [anatomy.shape(member) for member in anatomy.members(site)]
    if policy == FULL:
        return itemsize * sum(math.prod(shape) for shape in shapes)
    return itemsize * sum(shape[0] for shape in shapes) if policy == POOLED else 0


def preview_shape(image: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape (height, width, 3) in which predicted x_0 of such images are kept."""
    factor = max(1, math.ceil(max(image[:2]) / PREVIEW_SIZE))
    return (max(1, image[0] // factor), max(1, image[1] // factor), 3)


def make_plan(spec: RunSpec, anatomy: Anatomy) -> Plan:
    """The bytes of every part of a run."""
    spec.check(anatomy)
    itemsize = {"float16": 2, "float32": 4}[spec.store_dtype]
    n, steps = spec.samples, spec.steps
    parts = {
        site: n * steps * site_bytes(anatomy, site, spec.policy(site), itemsize)
        for site in anatomy.sites
        if spec.policy(site) != NONE
    }
    parts["x"] = n * (steps + 1) * 4 * math.prod(anatomy.x)
    parts["x_0"] = n * steps * math.prod(preview_shape(anatomy.image))
    parts["image"] = n * math.prod(anatomy.image)
    parts["overhead"] = math.ceil(n / spec.batch) * SHARD_OVERHEAD
    return Plan(parts=parts, samples=n, steps=steps)


def format_bytes(count: float) -> str:
    """``1234567`` -> ``1.2 MB``: decimal units, as disks are sold."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")
