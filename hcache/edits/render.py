"""Renders the figures' pictures: skip-group swaps and edit strips, each as a batch through the one loop.

Rendering takes seconds, so these are generators: they yield the share done after every step and return the
result, and whoever drives them may stop between two steps.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..cache.reading import Run
from ..directions.direction import Direction
from ..features import Features
from ..models.model import Model
from ..sampling.loop import Edit, Moment, Step, denoise
from .cached import cached_features, cached_x
from .shift import Shift
from .swap import Donor, PerRow, Swap
from .window import Window


@dataclass(frozen=True, kw_only=True)
class SwapResult:
    """``images[site]``: the recipient (height, width, 3) uint8 with the donor's tensors at that site.

    ``identical``: whether swapping the recipient with itself, at all sites, gave what no swap gives, bit for bit;
    ``largest_difference``: between the two, in units of pixel value (images span [-1, 1]).
    """

    donor: np.ndarray
    recipient: np.ndarray
    images: dict[str, np.ndarray]
    identical: bool
    largest_difference: float


def render_swaps(
    model: Model, run: Run, donor: int, recipient: int, window: Window, alpha: float = 1.0
) -> Generator[float, None, SwapResult]:
    """Swaps h and each skip group of ``recipient`` for ``donor``'s, each alone, in the window of steps.

    Starts from the recipient's cached x_t of the first swapped step. The donor's skips come from the cache where
    it holds them in full, else from ``encode`` of the donor's cached x_t.
    """
    sites = model.anatomy.sites
    left = run.spec.steps - window.first
    features_of_donor = _remember_last(lambda at: cached_features(model, run, donor, at.index, at.branch))
    edits = [Swap(model.anatomy.members(site), features_of_donor, alpha, window) for site in sites]
    start = cached_x(model, run, recipient, window.first)
    x, done = start.expand(len(sites), -1, -1, -1), 0
    for step in _continue(model, run, recipient, x, window.first, PerRow(edits)):
        x = step.x_next
        done += 1
        yield 0.8 * done / left
    pictures = model.to_images(x).numpy()

    identical, difference = True, 0.0
    for plain, swapped in _self_swap(model, run, recipient, start, window):
        identical = torch.equal(plain.x_next, swapped.x_next)
        difference = float((plain.x_next - swapped.x_next).abs().max())
        done += 1
        yield 0.8 + 0.2 * (done - left) / left
    return SwapResult(
        donor=run.images[run.position(donor)],
        recipient=run.images[run.position(recipient)],
        images=dict(zip(sites, pictures, strict=True)),
        identical=identical,
        largest_difference=difference,
    )


def _self_swap(model: Model, run: Run, sample: int, start: torch.Tensor, window: Window) -> Iterator[tuple[Step, Step]]:
    """A sample as it is, and with all its activations swapped for its own, side by side."""
    members = [member for site in model.anatomy.sites for member in model.anatomy.members(site)]
    latest: dict[str, Features] = {}

    def listen(features: Features, moment: Moment) -> Features:
        latest[moment.branch] = features.map(lambda _, tensor: tensor.clone())
        return features

    swap = Swap(members, lambda moment: latest[moment.branch], 1.0, window)
    swapped = _continue(model, run, sample, start, window.first, swap)
    for plain in _continue(model, run, sample, start, window.first, listen):
        yield plain, next(swapped)


def render_moved(
    model: Model,
    run: Run,
    samples: Sequence[int],
    direction: Direction,
    strengths: Sequence[float],
    window: Window,
    asymmetric: bool,
) -> Generator[float, None, np.ndarray]:
    """Sample i moved by ``strengths[i]``, as one batch: pictures (n, height, width, 3) uint8."""
    shift = Shift(direction, strengths, window, model)
    start = torch.cat([cached_x(model, run, sample, window.first) for sample in samples])
    seeds = [run.seed(sample) for sample in samples]
    steps = denoise(
        model, seeds, run.spec.steps, run.spec.eta, shift, conditioning=run.spec.conditioning.rows(samples),
        asymmetric=asymmetric, x_t=start, start=window.first,
    )  # fmt: skip
    x = start
    for done, step in enumerate(steps, 1):
        x = step.x_next
        yield done / (run.spec.steps - window.first)
    return model.to_images(x).numpy()


def _continue(model: Model, run: Run, sample: int, x_t: torch.Tensor, start: int, edit: Edit | None) -> Iterator[Step]:
    """The run's own loop again for one sample, in as many rows as x_t has."""
    seeds = [run.seed(sample)] * len(x_t)
    conditioning = run.spec.conditioning.rows([sample] * len(x_t))
    return denoise(model, seeds, run.spec.steps, run.spec.eta, edit, conditioning=conditioning, x_t=x_t, start=start)


def _remember_last(donor: Donor) -> Donor:
    """All rows of a batch ask for the same moment; it is read once."""
    last: dict[Moment, Features] = {}

    def remembered(moment: Moment) -> Features:
        if moment not in last:
            last.clear()
            last[moment] = donor(moment)
        return last[moment]

    return remembered
