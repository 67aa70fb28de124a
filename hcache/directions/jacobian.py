"""Singular directions of the decoder half: the Δh of one sample that change its prediction most.

At each step, they are the right singular vectors of dε/dh, with the sample's own skips held fixed.
At another site they are those of ε by the activations there, with the sample's own x_t.
They depend on one sample only, and can be tried on others. With an optional region of the image,
only the change of ε inside the region counts. The signs follow those of the previous step.

References:
    Discovering Interpretable Directions in the Semantic Latent Space of Diffusion Models (Haas,
    Huberman-Spiegelglas, Mulayoff, Graßhof, Brandt, Michaeli, 2023),
    https://arxiv.org/abs/2303.11073
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cache.layout import H
from ..cache.reading import Run
from ..errors import UsageError
from ..options import Option
from ..progress import part
from ..recipes.masks import Mask, corners
from ..specs import is_place
from .direction import Direction, in_sigmas, in_units, spread
from .fitting import MINUTES, MODEL, REGION, Fit, Fitting, Method, needed

if TYPE_CHECKING:
    import torch

    from ..models.model import Model

REGION_HELP = (
    "left,top,right,bottom as shares of the picture, or a grey PNG in base64: only the"
    " inside counts (default: everywhere)"
)


def jacobian_directions(
    run: Run, model: Model, sample: int, options: Mapping[str, Any], site: str = H
) -> Generator[float, None, tuple[Direction, ...]]:
    """Returns the ``count`` leading directions of a sample.

    They cover the steps ``first`` to ``last`` and are zero elsewhere. Each has unit length, in
    units of σ, at every one of these steps, because singular vectors do not define the relative
    lengths of different steps.
    """
    from .subspace import leading_singular

    first, last = window_of(run, options)
    steps = last - first + 1
    sigma = spread(run, site)
    delta = np.zeros((options["count"], *sigma.shape), np.float32)
    for step in range(first, last + 1):
        function, h = decoder_at(
            run, model, sample, step, options["region"], options["count"], site
        )
        shares = leading_singular(
            function,
            h,
            options["count"],
            options["iterations"],
            options["tolerance"],
            options["seed"],
        )
        found = yield from part(shares, (step - first) / steps, 1 / steps)
        vectors = found.right.cpu().numpy().astype(np.float32)
        if step > first:
            vectors *= _signs(vectors, delta[:, step - 1])
        lengths = np.sqrt(
            np.square(in_sigmas(vectors, np.broadcast_to(sigma[step], vectors.shape))).mean(
                (1, 2, 3)
            )
        )
        delta[:, step] = vectors / lengths[:, None, None, None]
    options = {**options, "sample": sample}
    made_by = Fit(method="jacobian", run=run.name, options=options, site=site).to_json()
    return tuple(in_units(d, sigma, made_by, run.spec.model, run.timesteps) for d in delta)


def window_of(run: Run, options: Mapping[str, Any]) -> tuple[int, int]:
    """Returns the steps from ``first`` to ``last``. -1 means the last step."""
    last = run.spec.steps - 1 if options["last"] == -1 else options["last"]
    if not 0 <= options["first"] <= last < run.spec.steps:
        raise UsageError(
            f"the steps must lie in 0 to {run.spec.steps - 1}, first to last; got"
            f" {options['first']} to {last}"
        )
    for name in ("count", "iterations"):
        if options[name] < 1:
            raise UsageError(f"option {name} must be 1 or more, got {options[name]}")
    return options["first"], last


def decoder_at(
    run: Run, model: Model, sample: int, step: int, region: str, k: int, site: str = H
) -> tuple[Callable[[torch.Tensor], torch.Tensor], torch.Tensor]:
    """Returns ε as a function of h, and the sample's h.

    h stands for the site. It is (n, c, h, w) with n up to ``k``. The function is at a sample's
    cached x_t, with its own skips.
    """
    import torch

    from ..models.conditioners import COND

    x = torch.from_numpy(run.x(sample, step))[None].to(model.device)
    t, seen = run.timesteps[step], region_mask(region, *run.anatomy.x[1:]).to(model.device)
    with torch.inference_mode(False), torch.no_grad():
        one = model.condition(run.spec.conditioning.rows([sample]), 1).branches[COND]
        many = model.condition(run.spec.conditioning.rows([sample] * k), k).branches[COND]
        inside = is_place(site)
        features = model.trace(x, t, one, (site,))[0] if inside else model.encode(x, t, one)

    def of_place(here: torch.Tensor) -> torch.Tensor:
        """Returns ε inside the region, with other activations at a place inside a half."""
        n, put = len(here), {site: lambda _, rows: here[rows].to(model.dtype)}
        condition = many if n == k else one
        return model.trace(x.expand(n, *x.shape[1:]), t, condition, changes=put)[1] * seen

    def function(h: torch.Tensor) -> torch.Tensor:
        """Returns ε inside the region, with the sample's own skips."""
        alike = features.map(lambda _, tensor: tensor.expand(len(h), *tensor.shape[1:]))
        return (
            model.decode(alike.replace({site: h.to(model.dtype)}), t, many if len(h) == k else one)
            * seen
        )

    return of_place if inside else function, features[site][0].float()


def region_mask(region: str, height: int, width: int) -> torch.Tensor:
    """Returns the weight of each place: (height, width) in [0, 1].

    Without a region, all weights are 1.

    Args:
        region: Left, top, right and bottom as shares of the picture, separated by commas; or a
            small grey PNG in base64 that is white inside the region.
    """
    import torch

    if not region:
        return torch.ones(height, width)
    mask = torch.from_numpy(_mask_of(region).at(height, width))
    if not mask.any():
        raise UsageError(
            f"the region {region[:40]} holds no pixel of {width} x {height}; make it larger"
        )
    return mask


def _mask_of(region: str) -> Mask:
    parts = region.split(",")
    if len(parts) == 1:
        return Mask(png=region)
    try:
        return Mask(rectangle=corners([float(part) for part in parts]))
    except ValueError as error:
        raise UsageError(
            f"a region is left,top,right,bottom, four numbers from 0 to 1; got {region!r}: {error}"
        ) from error


def _signs(vectors: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Returns ±1 (k, 1, 1, 1), so that every vector has a positive product with the previous
    one.
    """
    signs = np.where((vectors * before).sum((1, 2, 3)) < 0, -1, 1)
    return signs[:, None, None, None].astype(np.float32)


def _make(fit: Fit, options: Mapping[str, Any], run: Run, model: Model | None) -> Fitting:
    sample = options["sample"] if options["sample"] >= 0 else int(run.sample_ids[0])
    rest = {name: value for name, value in options.items() if name != "sample"}
    found = yield from jacobian_directions(run, needed(model), sample, rest, fit.site)
    return tuple(
        replace(d, made_by=replace(fit, component=k).to_json()) for k, d in enumerate(found)
    )


METHOD = Method(
    name="jacobian",
    title="Jacobian: what moves the prediction most",
    text=(
        "Singular vectors of dε/dh at one sample: the changes of h that change the predicted noise"
        " most."
    ),
    source=(
        "Haas et al. 2023, Discovering Interpretable Directions in the Semantic Latent Space of"
        " Diffusion Models"
    ),
    make=_make,
    needs=(MODEL,),
    cost=MINUTES,
    sites=True,
    options={
        "sample": Option(default=-1, text="sample at which the Jacobian is taken; -1: the first"),
        "count": Option(default=3, text="number of singular vectors"),
        "first": Option(default=0, text="step"),
        "last": Option(default=-1, text="last step; -1: the last of the run"),
        "region": Option(default="", text=REGION_HELP, holds=REGION),
        "iterations": Option(default=50, text="largest number of subspace iterations per step"),
        "tolerance": Option(
            default=1e-2, text="the iteration stops when the space changes by less than this sine"
        ),
        "seed": Option(default=0, text="of the start"),
    },
)
