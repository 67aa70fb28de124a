"""The recipes of the U-figure (a recipient with a donor's activations at one site at a time), and
the identity check.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from ..cache.reading import Run
from ..features import Features
from ..models.model import Model
from ..models.taps import Passing
from ..recipes.edits import DonorRef
from ..recipes.recipe import Recipe, recipe_of
from ..recipes.window import Window
from ..sampling.loop import Moment, Step
from ..specs import is_place
from .executor import Change, Executor
from .swap import Swap, SwapEdit


@dataclass(frozen=True, kw_only=True)
class IdentityCheck:
    """Whether swapping a sample with itself changes nothing.

    The swap is at all sites, and the comparison is bit for bit. ``largest_difference`` is in units
    of pixel values (images span [-1, 1]).
    """

    identical: bool
    largest_difference: float


def swap_recipes(
    run: Run, recipient: int, sites: Sequence[str], donor: DonorRef, alpha: float, window: Window
) -> list[Recipe]:
    """Returns one recipe per site, each swapping only that site."""
    edits = [SwapEdit(sites=(site,), donor=donor, alpha=alpha, window=window) for site in sites]
    return [recipe_of(run, recipient, [edit]) for edit in edits]


def check_identity(
    model: Model, run: Run, sample: int, window: Window
) -> Generator[float, None, IdentityCheck]:
    """Computes a sample as it is, and swapped with itself.

    All its activations are replaced by its own, in the same batch.
    """
    total = run.spec.steps - window.first
    identical, difference = True, 0.0
    for done, (plain, swapped) in enumerate(_self_swap(model, run, sample, window), 1):
        identical = torch.equal(plain.x_next, swapped.x_next)
        difference = float((plain.x_next - swapped.x_next).abs().max())
        yield done / total
    return IdentityCheck(identical=identical, largest_difference=difference)


class _Listener:
    """An edit that changes nothing and remembers the activations of all sites, by branch."""

    def __init__(self, places: Sequence[str]) -> None:
        self.at_places = {place: partial(self._at, place) for place in places}
        self._features: dict[str, Features] = {}
        self._places: dict[str, dict[str, torch.Tensor]] = {}

    def _at(self, place: str, moment: Moment) -> Passing:
        def hear(x: torch.Tensor, rows: slice) -> torch.Tensor:
            self._places.setdefault(moment.branch, {})[place] = x.clone()
            return x

        return hear

    def __call__(self, features: Features, moment: Moment) -> Features:
        self._features[moment.branch] = features.map(lambda _, tensor: tensor.clone())
        return features

    def heard(self, moment: Moment) -> Features:
        """Returns the latest activations of a branch."""
        found = self._features.get(moment.branch, Features(h=None, skips=()))
        return replace(found, others=self._places.get(moment.branch, {}))


def _self_swap(model: Model, run: Run, sample: int, window: Window) -> Iterator[tuple[Step, Step]]:
    members = [member for site in model.anatomy.all_sites for member in model.anatomy.members(site)]
    listener = _Listener([member for member in members if is_place(member)])
    swap = Swap(members, listener.heard, 1.0, Window(first=window.first, last=window.last))
    executor = Executor(model, run)
    swapped = executor.steps([sample], Change(edit=swap), window.first)
    for plain in executor.steps([sample], Change(edit=listener), window.first):
        yield plain, next(swapped)
