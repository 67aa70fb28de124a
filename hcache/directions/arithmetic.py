"""Directions from saved directions: weighted sums, directions with others projected out, orthogonal
sets.

Inner products are over the whole (step, c, h, w) vector, as in the projection of Haas et al. 2023;
the result has unit length again.

References:
    Discovering Interpretable Directions in the Semantic Latent Space of Diffusion Models (Haas,
    Huberman-Spiegelglas, Mulayoff, Graßhof, Brandt, Michaeli, 2023),
    https://arxiv.org/abs/2303.11073
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from ..cache.layout import H
from ..cache.reading import Run
from ..errors import AnalysisError, UsageError
from ..options import Option
from .direction import Direction, Move, at_site, digest_of, in_units, site_of
from .fitting import AT_ONCE, DIRECTIONS, NAMES, Fit, Fitting, Method
from .store import load_move
from .supervised import conditional_direction

SUM, WITHOUT, ORTHOGONAL = "sum", "without", "orthogonal"


def weighted_sum(directions: Sequence[Direction], weights: Sequence[float]) -> Direction:
    """Returns Σ w_i d_i with unit length.

    A weight of -1 subtracts.

    Raises:
        UsageError: the numbers of weights and directions differ.
        AnalysisError: the directions cancel each other, or have different shapes.
    """
    if len(weights) != len(directions):
        raise UsageError(
            f"{len(directions)} directions were given {len(weights)} weights; give one each"
        )
    check_alike(directions)
    total = reduce(
        np.add, (w * d.delta.astype(np.float64) for w, d in zip(weights, directions, strict=True))
    )
    largest = max(
        abs(w) * np.linalg.norm(d.delta) for w, d in zip(weights, directions, strict=True)
    )
    if np.linalg.norm(total) <= 1e-6 * largest:
        raise AnalysisError("these directions cancel each other: nothing is left of their sum")
    first = directions[0]
    made_by = {
        "method": "arithmetic",
        "of": [dict(d.made_by) for d in directions],
        "weights": list(weights),
    }
    made_by = at_site(made_by, site_of(first))
    return in_units(total.astype(np.float32), first.sigma, made_by, first.model, first.timesteps)


def orthogonal_set(directions: Sequence[Direction]) -> tuple[Direction, ...]:
    """Makes moves orthogonal one after the other (Gram-Schmidt).

    From each move, its part in the span of the previous ones is removed. The first stays unchanged.
    """
    check_alike(directions)
    found: list[Direction] = []
    for direction in directions:
        found.append(conditional_direction(direction, found) if found else direction)
    return tuple(found)


def check_constant(moves: Sequence[Move]) -> list[Direction]:
    """Returns the moves, if each is the same for all samples."""
    found: list[Direction] = []
    for move in moves:
        if not isinstance(move, Direction):
            method = move.made_by.get("method", move.kind)
            raise AnalysisError(
                f"a direction made by {method} moves each sample by its own Δh, so it cannot be"
                " added to others"
            )
        found.append(move)
    return found


def check_alike(directions: Sequence[Move]) -> None:
    """Makes sure that directions can be added.

    They must be constant and have the same site, the same shape and the same steps.
    """
    directions = check_constant(directions)
    if len(sites := dict.fromkeys(map(site_of, directions))) > 1:
        raise AnalysisError(
            f"these directions are at different sites ({', '.join(sites)}), so they cannot be"
            " added; choose those of one site"
        )
    for direction in directions:
        if (
            direction.delta.shape != directions[0].delta.shape
            or direction.timesteps != directions[0].timesteps
        ):
            raise AnalysisError(
                f"these directions are not on the same steps of one model: {direction.delta.shape}"
                f" and {directions[0].delta.shape} (step, c, h, w); resample or fit again"
            )


def _make(fit: Fit, options: Mapping[str, Any], run: Run, _: object) -> Fitting:
    names = [name.strip() for name in options["of"].split(",") if name.strip()]
    if len(names) < 2:
        raise UsageError(
            "arithmetic takes 2 saved directions or more, in option of, with commas; got"
            f" {options['of']!r}"
        )
    yield 0.0
    directions = check_constant([load_move(run, name) for name in names])
    check_alike(directions)
    fit = replace(fit, site=_site(fit, directions[0]))
    if options["operation"] == SUM:
        found = (weighted_sum(directions, _weights(options["weights"], len(names))),)
    elif options["operation"] == WITHOUT:
        found = (conditional_direction(directions[0], directions[1:]),)
    else:
        found = orthogonal_set(directions)
    of = [
        {"name": name, "digest": digest_of(d), **d.made_by}
        for name, d in zip(names, directions, strict=True)
    ]
    return tuple(
        replace(d, made_by={**replace(fit, component=k).to_json(), "operands": of})
        for k, d in enumerate(found)
    )


def _site(fit: Fit, first: Direction) -> str:
    """Returns the site of the operands. A fit that names another site is refused."""
    site = site_of(first)
    if fit.site not in (H, site):
        raise UsageError(
            f"these directions are at {site}, not at {fit.site}; leave the site out, or name {site}"
        )
    return site


def _weights(text: str, count: int) -> list[float]:
    try:
        weights = [float(part) for part in text.split(",")] if text else [1.0] * count
    except ValueError as error:
        raise UsageError(f"weights are numbers separated by commas, got {text!r}") from error
    if not np.isfinite(weights).all():
        raise UsageError(f"weights are finite numbers, got {text!r}")
    return weights


METHOD = Method(
    name="arithmetic",
    title="arithmetic: from saved directions",
    text=(
        "sum: a weighted sum. without: the first, with the others projected out. orthogonal: each,"
        " with the previous ones projected out."
    ),
    source=(
        "Haas et al. 2023, Discovering Interpretable Directions in the Semantic Latent Space of"
        " Diffusion Models"
    ),
    make=_make,
    needs=(DIRECTIONS,),
    cost=AT_ONCE,
    sites=True,
    options={
        "of": Option(
            default="", text="names of saved directions, separated by commas", holds=NAMES
        ),
        "operation": Option(
            default=SUM, text="operation on these directions", choices=(SUM, WITHOUT, ORTHOGONAL)
        ),
        "weights": Option(
            default="", text="weights of a sum, separated by commas; -1 subtracts (default: 1 each)"
        ),
    },
)
