"""Measured results of the toy models, which ship beside their weights.

This module does not import torch.

The numbers come from ``<model>.facts.json``, which ``python -m hcache.toyfaces.measure`` writes.
Each file names the digest of the weights that it was measured on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..analysis.estimate import Estimate
from ..cards import default_spec
from ..errors import HcacheError

FOLDER = Path(__file__).parent / "weights"
SUFFIX = ".facts.json"
NULL = "random positives"
"""The direction that was fitted to positives chosen at random, as the null."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """How far a direction moves its own attribute at a strength.

    The unit is the standard deviation of the attribute over the run. ``null``: how far the
    direction to random positives moves the same attribute at this strength.
    """

    attribute: str
    strength: float
    change: Estimate
    null: Estimate


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """The measured results of a model.

    ``weights``: the digest of the measured weights. ``fitted``: the number of samples that
    directions were fitted on. ``unseen``: the number of samples that they were tried on.
    ``frechet``: the distance of the samples to drawn faces.
    """

    model: str
    weights: str
    fitted: int
    unseen: int
    frechet: float
    effects: tuple[Effect, ...]

    @property
    def current(self) -> bool:
        """Returns whether the present weights are the measured ones."""
        try:
            return default_spec(self.model).weights == self.weights
        except HcacheError:
            return False


def shipped_results(folder: Path = FOLDER) -> tuple[Shipped, ...]:
    """Returns the results of all models that ship with some, by name."""
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        found.append(
            _read(path.name.removesuffix(SUFFIX), json.loads(path.read_text(encoding="utf-8")))
        )
    return tuple(found)


def _read(model: str, facts: Mapping[str, Any]) -> Shipped:
    settings, directions = facts["settings"], facts["directions"]
    unseen, null = int(settings["unseen"]), directions[NULL]
    effects = []
    for attribute in (name for name in directions if name in facts["factors"]):
        strength = max((s for s in directions[attribute] if s in null), key=float)
        effects.append(
            Effect(
                attribute=attribute,
                strength=float(strength),
                change=_estimate(directions[attribute][strength][attribute], unseen),
                null=_estimate(null[strength][attribute], unseen),
            )
        )
    return Shipped(
        model=model,
        weights=settings["weights"],
        fitted=int(settings["fit"]),
        unseen=unseen,
        frechet=float(facts["data"]["frechet"]),
        effects=tuple(effects),
    )


def _estimate(triple: Sequence[float], n: int) -> Estimate:
    value, low, high = triple
    return Estimate(value=value, low=low, high=high, n=n)
