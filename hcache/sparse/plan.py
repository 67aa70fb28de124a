"""Options that define a dictionary of sparse features, and checks that a run can have it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..cache.reading import Run
from ..errors import AnalysisError, UsageError
from ..measures.groups import groups_of
from ..options import Option
from ..specs import POOLED

FEWEST, HELD_OUT = 10, 0.2
"""The least number of samples (or groups) for a dictionary, and the share that is held out."""

EPOCHS, MOST_TOKENS = 100, 1_000_000
"""How often training goes through all activations, and how many it sees at most, by default."""

MOST_NUMBERS = 2**28
"""The most numbers that one array of a dictionary may hold: 1 GiB."""

OPTIONS = {
    "features": Option(
        default=0,
        text="features of the dictionary; 0: 4 for each channel of the site",
        least=0,
        most=65536,
    ),
    "active": Option(
        default=0,
        text="features that may fire at one place (k); 0: an eighth of the channels, 16 at most",
        least=0,
        most=4096,
    ),
    "tokens": Option(
        default=0,
        text=(
            "activations of one place that the dictionary is trained on, repeats included; 0:"
            " 100 times all of them, a million at most"
        ),
        least=0,
        most=10**10,
    ),
    "seed": Option(default=0, text="of the weights and the order of samples", least=0, most=2**31),
}


@dataclass(frozen=True, kw_only=True)
class DictionaryPlan:
    """The options that define a dictionary, together with the run's samples.

    Args:
        site: A stored site.
        features: The number of features of the dictionary (m).
        active: The number of features that may fire at one place (k).
        tokens: The number of activations of one place that training sees, repeats included.
        seed: The seed of the first weights, the held-out samples and the order.
    """

    site: str
    features: int
    active: int
    tokens: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Returns the plan as plain data."""
        return asdict(self)


def plan_of(run: Run, site: str, options: Mapping[str, Any]) -> DictionaryPlan:
    """Makes a plan that a run can have.

    Options that are 0 get their automatic values.

    Raises:
        UsageError: an option does not fit the site.
        AnalysisError: there are too few samples. The message says how many are needed.
    """
    channels, places = token_shape(run, site)
    plan = DictionaryPlan(site=site, **{name: options[name] for name in OPTIONS})
    plan = replace(
        plan,
        features=plan.features or min(4 * channels, 8192),
        active=plan.active or max(1, min(16, channels // 8)),
    )
    _check_sizes(plan, channels)
    units, trained = _units(run)
    own = trained * run.spec.steps * places
    plan = replace(plan, tokens=plan.tokens or max(1, min(EPOCHS * own, MOST_TOKENS)))
    if units < FEWEST:
        raise AnalysisError(
            f"sparse features take {FEWEST} samples or more that do not belong together; run"
            f" {run.name} has {units}"
        )
    if own < plan.features:
        raise AnalysisError(
            f"a dictionary of {plan.features} features takes as many activations; {site} of"
            f" {run.name} has {own} to train on: extract more samples or take fewer features"
        )
    held = max(len(run), run.spec.steps * places) * plan.features
    if max(held, plan.features * channels) > MOST_NUMBERS:
        raise UsageError(
            f"a dictionary of {plan.features} features for {len(run)} samples,"
            f" {run.spec.steps} steps, {places} places and {channels} channels does not fit into"
            f" memory ({max(held, plan.features * channels):,} numbers; {MOST_NUMBERS:,} at most):"
            " take fewer features, or extract the site pooled"
        )
    return plan


def _check_sizes(plan: DictionaryPlan, channels: int) -> None:
    if plan.active > plan.features:
        raise UsageError(
            f"no more features can fire (active) than there are: expected 1 to {plan.features},"
            f" got {plan.active}"
        )
    if plan.active >= channels > 1:
        raise UsageError(
            f"{plan.active} active features describe {channels} channels of {plan.site} without"
            f" leaving anything out: expected 1 to {channels - 1} active"
        )
    if channels < 2:
        raise UsageError(f"sparse features take a site of 2 channels or more; {plan.site} has 1")


def _units(run: Run) -> tuple[int, int]:
    """How many samples do not belong together, and how many samples are trained on at least."""
    groups = groups_of(run)
    units = len(run) if groups is None else int(groups.max()) + 1
    return units, math.floor(len(run) * (1 - HELD_OUT))


def token_shape(run: Run, site: str) -> tuple[int, int]:
    """Returns the channels of a site and its number of places.

    Raises:
        UsageError: the site's tensors have different sizes. The message names them.
        NotStoredError: the run does not store it.
    """
    run.blocks(site, 0)  # raises where it is not stored
    members = run.anatomy.members(site)
    if run.policy(site) == POOLED:
        return run.width(site), 1
    shapes = [run.anatomy.shape(member) for member in members]
    if len({shape[1:] for shape in shapes}) > 1:
        raise UsageError(
            f"the tensors of {site} have different sizes, and a feature is of all channels at one"
            f" place: take one of {', '.join(members)}"
        )
    return sum(shape[0] for shape in shapes), math.prod(shapes[0][1:])
