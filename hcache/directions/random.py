"""Random directions: a null for all other methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..cache.reading import Run
from ..options import Option
from .direction import random_direction, spread
from .fitting import AT_ONCE, Fit, Fitting, Method


def _make(fit: Fit, options: Mapping[str, Any], run: Run, _: object) -> Fitting:
    yield 0.0
    found = random_direction(
        spread(run, fit.site), options["seed"], run.spec.model, run.timesteps, fit.site
    )
    return (replace(found, made_by=fit.to_json()),)


METHOD = Method(
    name="random",
    title="random: the null",
    text="Normal noise of unit length in units of σ, independent at every step, channel and place.",
    source="",
    make=_make,
    cost=AT_ONCE,
    sites=True,
    proposed=True,
    options={"seed": Option(default=0, text="of the noise")},
)
