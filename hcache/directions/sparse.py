r"""Sparse features of h as directions.

A top-k autoencoder describes every vector of channels, at one place of h and one step, by few
features of a dictionary (:mod:`hcache.sparse`). With w (c,) the direction of a feature in units of
σ, and a_t(p) its mean activation at step t and place p over the samples, the feature adds

    Δh_t(p) = a_t(p) σ_t(p) w

to h on average. The direction is that, brought to unit length: it moves h when and where the
feature fires. With ``where=everywhere`` a_t(p) is 1.

References:
    Scaling and evaluating sparse autoencoders (Gao, Dupré la Tour, Tillman, Goh, Troll, Radford,
    Sutskever, Leike, Wu, 2024), https://arxiv.org/abs/2406.04093
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..cache.reading import Run
from ..errors import UsageError
from ..progress import part
from ..sparse.dictionary import Dictionary, make_dictionary
from ..sparse.plan import OPTIONS, plan_of
from .direction import Direction, at_site, in_units, spread
from .fitting import MINUTES, Fit, Fitting, Method, Option

FIRES, EVERYWHERE = "fires", "everywhere"


def _make(fit: Fit, options: Mapping[str, Any], run: Run, _: object) -> Fitting:
    plan, count = plan_of(run, fit.site, options), options["count"]
    chosen = _numbers(options["chosen"])
    if not 1 <= count <= plan.features:
        raise UsageError(f"option count of sparse is 1 to {plan.features}, got {count}")
    if beyond := [each for each in chosen if each >= plan.features]:
        raise UsageError(f"the dictionary has features 0 to {plan.features - 1}, got {beyond[0]}")
    dictionary = yield from part(make_dictionary(run, plan), 0.0, 0.95)
    if not chosen and count > dictionary.alive:
        raise UsageError(
            f"{dictionary.alive} features of this dictionary fire, and count asks for {count}: take"
            " fewer"
        )
    features = chosen or range(count)
    made_by = [
        replace(fit, positives=(), negatives=(), label="", component=place).to_json()
        for place in range(len(features))
    ]
    return feature_directions(run, dictionary, features, made_by, options["where"] == EVERYWHERE)


def feature_directions(
    run: Run,
    dictionary: Dictionary,
    features: Sequence[int],
    made_by: Sequence[Mapping[str, Any]],
    everywhere: bool = False,
) -> tuple[Direction, ...]:
    """Makes directions of a dictionary's features.

    Args:
        run: The run, which stores the dictionary's site in full.
        dictionary: A dictionary that was trained on the run.
        features: The numbers of the features.
        made_by: The description of each direction.
        everywhere: Whether directions move all steps and places equally, and not as features fire.

    Raises:
        UsageError: a feature is not there, or is dead.
    """
    site = dictionary.plan.site
    sigma = spread(run, site)
    return tuple(
        in_units(
            dictionary.delta(feature, everywhere).reshape(sigma.shape),
            sigma,
            at_site({**told, "feature": int(feature)}, site),
            run.spec.model,
            run.timesteps,
        )
        for feature, told in zip(features, made_by, strict=True)
    )


def _numbers(text: str) -> tuple[int, ...]:
    """The features that are named; none if the text is empty."""
    parts = [each.strip() for each in text.split(",")] if text.strip() else []
    if not all(each.isascii() and each.isdecimal() for each in parts):
        raise UsageError(
            f"option chosen of sparse takes numbers of features such as 0,7; got {text[:60]!r}"
        )
    found = tuple(map(int, parts))
    if len(set(found)) < len(found):
        raise UsageError(f"option chosen of sparse names a feature twice: {text[:60]!r}")
    return found


METHOD = Method(
    name="sparse",
    title="sparse features: a top-k autoencoder",
    text=(
        "The features of a dictionary, few of which make up h at any place. The dictionary is"
        " trained on h once and kept; a training that was stopped goes on."
    ),
    source="Gao et al. 2024, Scaling and evaluating sparse autoencoders",
    make=_make,
    short="sparse feature, strongest",
    cost=MINUTES,
    sites=True,
    options={
        "count": Option(default=5, text="how many of the strongest features", least=1),
        "chosen": Option(default="", text="instead: numbers of features, such as 0,7"),
        "where": Option(
            default=FIRES,
            text="h is moved when and where the feature fires, or everywhere alike",
            choices=(FIRES, EVERYWHERE),
        ),
        **OPTIONS,
    },
)
