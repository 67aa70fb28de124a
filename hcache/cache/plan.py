"""Computes the size of a run before anything runs."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass

from .. import specs
from ..errors import UsageError
from ..specs import BATCH, FULL, NONE, POOLED, Anatomy, RunSpec
from .layout import NULL_TEXT, PREVIEW_SIZE
from .manifest import shard_ranges

SHARD_OVERHEAD, DATASET_OVERHEAD = 7_300, 860
"""Bytes of HDF5's own structures in a shard, and the additional bytes for every tensor of a site.
Measured from 0 to 57 tensors.
"""

INDEX_OVERHEAD, INDEX_DATASET, INDEX_REFERENCE = 12_500, 1_130, 115
"""Bytes of ``index.h5``: the fixed part, the part for every tensor of a site, and the part for
every dataset of every shard.
"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The bytes of a run by part. The parts are the sites, then ``x``, ``x_0``, ``image``,
    ``null_text`` for a null-text inversion, and ``overhead``.

    The parts are those that grow with a run: its shards and ``index.h5``. A few kB of JSON, and
    labels, are not counted.
    """

    parts: dict[str, int]
    samples: int
    steps: int

    @property
    def total(self) -> int:
        """The bytes of all parts."""
        return sum(self.parts.values())


def site_bytes(anatomy: Anatomy, site: str, policy: str, itemsize: int) -> int:
    """Returns the bytes of a site for one sample at one step."""
    shapes = [anatomy.shape(member) for member in anatomy.members(site)]
    if policy == FULL:
        return itemsize * sum(math.prod(shape) for shape in shapes)
    return itemsize * sum(shape[0] for shape in shapes) if policy == POOLED else 0


def preview_shape(image: tuple[int, int, int]) -> tuple[int, int, int]:
    """Returns the shape (height, width, 3) of stored previews.

    The predicted x_0 of images of this size is stored in it.
    """
    factor = max(1, math.ceil(max(image[:2]) / PREVIEW_SIZE))
    return (max(1, image[0] // factor), max(1, image[1] // factor), 3)


def make_plan(spec: RunSpec, anatomy: Anatomy) -> Plan:
    """Computes the bytes of every part of a run."""
    spec.check(anatomy)
    itemsize = {"float16": 2, "float32": 4}[spec.store_dtype]
    n, steps = spec.samples, spec.steps
    parts = {
        site: n * steps * site_bytes(anatomy, site, spec.policy(site), itemsize)
        for site in anatomy.storable
        if spec.policy(site) != NONE
    }
    parts["x"] = n * (steps + 1) * 4 * math.prod(anatomy.x)
    parts["x_0"] = n * steps * math.prod(preview_shape(anatomy.image))
    parts["image"] = n * math.prod(anatomy.image)
    if spec.inversion == specs.NULL_TEXT and anatomy.text:
        parts[NULL_TEXT] = n * steps * 4 * math.prod(anatomy.text)
    shards, tensors = (
        len(shard_ranges(n, spec.batch or BATCH)),
        sum(len(anatomy.members(s)) for s in parts if s in anatomy.storable),
    )
    parts["overhead"] = shards * (SHARD_OVERHEAD + tensors * DATASET_OVERHEAD)
    parts["overhead"] += (
        INDEX_OVERHEAD + tensors * INDEX_DATASET + shards * (tensors + 3) * INDEX_REFERENCE
    )
    return Plan(parts=parts, samples=n, steps=steps)


def fit_budget(spec: RunSpec, anatomy: Anatomy, budget: int) -> tuple[RunSpec, list[str]]:
    """Returns the spec that stores as much as a budget allows.

    ``budget`` is in bytes. The choice is also returned in words. h comes first, in full if it fits.
    Then come the skip groups (or blocks), first pooled and then in full, from the bottleneck
    outward. The sites nearest to h are the smallest, and they were found to blend images.

    Raises:
        UsageError: even x_t and the pictures do not fit.
    """
    store: dict[str, str] = {}

    def fits(more: dict[str, str]) -> bool:
        return (
            make_plan(dataclasses.replace(spec, store={**store, **more}), anatomy).total <= budget
        )

    if not fits({}):
        least = make_plan(dataclasses.replace(spec, store={}), anatomy).total
        raise UsageError(
            f"a budget of {format_bytes(budget)} is too small: x_t, previews and pictures of"
            f" {spec.samples} samples alone take {format_bytes(least)}; use fewer samples or"
            " steps, or a larger budget"
        )
    for policies in ((FULL, POOLED), (POOLED,), (FULL,)):
        for site in ("h",) if policies[0] == FULL and len(policies) == 2 else anatomy.sites:
            if site not in anatomy.sites or store.get(site) == FULL:
                continue
            chosen = next((policy for policy in policies if fits({site: policy})), None)
            if chosen:
                store[site] = chosen
    fitted = dataclasses.replace(spec, store=store)
    words = [f"{site} {fitted.policy(site)}" for site in anatomy.sites]
    total = make_plan(fitted, anatomy).total
    return fitted, [
        f"{', '.join(words)}: {format_bytes(total)} of {format_bytes(budget)}; h first, then"
        " outward from it"
    ]


def parse_bytes(text: str) -> int:
    """Parses a size: ``20GB`` -> 20000000000. Units are decimal, as for disks."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kMGT]?B?)\s*", text, re.IGNORECASE)
    if not match:
        raise UsageError(f"a budget is a number with B, kB, MB, GB or TB, got {text!r}")
    power = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}[match[2].lower().removesuffix("b")]
    return int(float(match[1]) * 1000**power)


def format_bytes(count: float) -> str:
    """Formats a size: ``1234567`` -> ``1.2 MB``. Units are decimal, as for disks."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")
