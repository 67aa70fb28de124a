"""Puts a donor's activations in the place of the recipient's: b + α (a - b) at chosen sites and
steps.

Replacing one skip group at a time shows which of them carries what; "Training-Free Style and
Content Transfer by Leveraging U-Net Skip Connections in Stable Diffusion" (Schaerf, Alfarano,
Silvestri, Impett, 2025, https://arxiv.org/abs/2501.14524) does so with single members.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from msgspec import Meta

from ..errors import UnknownSiteError, UsageError
from ..features import Features
from ..recipes.edits import Acts, DonorRef, RecipeEdit, Share, Tools, put, share
from ..recipes.masks import Mask
from ..recipes.widgets import (
    MaskWidget,
    PercentWidget,
    SitesWidget,
    StepsPreset,
    Variant,
    Widget,
    WindowWidget,
)
from ..recipes.window import Window
from ..specs import ATTENTION, is_place

if TYPE_CHECKING:
    import torch

    from ..models.taps import Passing
    from ..sampling.loop import AtPlace, Moment

Donor = Callable[[Any], Features]
"""A function from a moment, which is a step and a guidance branch, to the donor's features there,
one row.
"""

Site = Annotated[
    str,
    Meta(
        pattern=(
            r"^(h|skip\.\d{1,4}(\.\d{1,4})?|mid\.attn|((down|up)\.\d{1,4}|mid)\.resnet\.\d{1,4}"
            r"|(down|up|block)\.\d{1,4})$(?!\n)"
        ),
        description=(
            "h, skip.1, ..., skip.1.0, ..., down.0, ..., mid.attn, up.0, ..., a single resnet"
            " (down.0.resnet.1, mid.resnet.0) or a transformer's block.0, ..."
        ),
    ),
]


PUBLISHED_STEPS = (
    StepsPreset(label="All steps", help="From noise to the finished picture."),
    StepsPreset(
        label="t 1000 to 200",
        help="The window of SkipInject (Schaerf et al. 2025).",
        high=1000,
        low=200,
    ),
    StepsPreset(
        label="t ≥ 400", help="The window of InjectFusion (Jeong, Kwon, Uh 2023).", low=400
    ),
)


class SwapEdit(RecipeEdit, tag="swap", frozen=True, kw_only=True):
    """Blends in a donor's activations at ``sites``.

    Sites are ``h``, ``skip.2``, single members such as ``skip.2.0``, or other places of the U-Net:
    ``down.0``, ``mid.attn``, ``up.1``, or a single resnet: ``up.1.resnet.0``. A transformer has
    ``block.3``.
    """

    title: ClassVar[str] = "Swap with a donor"
    help: ClassVar[str] = "b + α (a - b) at chosen sites and steps, with a the donor's."
    variants: ClassVar[tuple[Variant, ...]] = (
        Variant(title="each site alone", button="Swap each site alone", each="sites"),
        Variant(title="all sites at once", button="Swap all sites at once"),
    )
    widgets: ClassVar[tuple[Widget, ...]] = (
        SitesWidget(
            help=(
                "Skip groups, single members, or other places: the output of a down or up block,"
                " counted from 0 as in diffusers, the mid block's attention, and single resnets."
                " A transformer has its blocks. SkipInject"
                " (Schaerf et al. 2025, Training-Free Style and Content Transfer by Leveraging"
                " U-Net Skip Connections in Stable Diffusion) uses skip.2.0 and skip.2.1."
            )
        ),
        PercentWidget(
            name="alpha",
            label="Strength",
            key="blend",
            help="b + α (a - b): 100 % replaces B's activations by A's.",
        ),
        WindowWidget(presets=PUBLISHED_STEPS),
        MaskWidget(key="mask"),
    )

    sites: Annotated[tuple[Site, ...], Meta(max_length=256)]
    donor: DonorRef
    alpha: Share
    window: Window
    mask: Mask | None = None

    def __post_init__(self) -> None:
        put(self, "sites", tuple(self.sites))
        put(self, "alpha", share("the blend strength of a swap", self.alpha))
        if not self.sites:
            raise UsageError(
                "a swap needs sites: h, skip.1, ..., or single members such as skip.2.0"
            )

    @property
    def picture_name(self) -> str:
        """The names of its sites."""
        return " + ".join(self.sites)

    @property
    def figure_site(self) -> str:
        """Its site, if it is one alone."""
        return self.sites[0] if len(self.sites) == 1 else ""

    def bind(self, tools: Tools) -> Acts:
        """Returns the function that blends in the donor's tensors."""
        anatomy = tools.model.anatomy
        if ATTENTION in self.sites:
            raise UnknownSiteError("attention maps are only stored; choose h, a skip or a place")
        members = dict.fromkeys(member for site in self.sites for member in anatomy.members(site))
        places = tuple(member for member in members if is_place(member))
        donor = tools.donor(self.donor, places) if places else tools.donor(self.donor)
        return Swap(list(members), donor, self.alpha, self.window)


class Swap:
    """Blends a donor's tensors into every row of the batch.

    Args:
        members: The donor's tensors to use: ``h``, ``skip.2.0``, ...
        donor: Returns the donor's features at a step, in a branch of guidance. Both branches are
            swapped.
        alpha: 1 replaces, 0 changes nothing, bit for bit.
        window: The steps in which it acts, and the share of alpha in each.
    """

    def __init__(self, members: Sequence[str], donor: Donor, alpha: float, window: Window) -> None:
        if not 0 <= alpha <= 1:
            raise UsageError(f"blend strength must lie in [0, 1], got {alpha}")
        places = [member for member in members if is_place(member)]
        self.members = tuple(member for member in members if member not in places)
        self.donor, self.alpha, self.window = donor, alpha, window
        self.at_places = {place: self._at(place) for place in places}

    def _at(self, place: str) -> AtPlace:
        def act(moment: Moment) -> Passing | None:
            alpha = self.alpha * self.window.weight(moment.index)
            if alpha == 0:
                return None
            given = self.donor(moment)[place]
            return lambda x, rows: _blend(given, x, alpha)

        return act

    def __call__(self, features: Features, moment: Moment) -> Features:
        alpha = self.alpha * self.window.weight(moment.index)
        if alpha == 0 or not self.members:
            return features
        given = self.donor(moment)
        return features.replace(
            {member: _blend(given[member], features[member], alpha) for member in self.members}
        )


def _blend(a: torch.Tensor, b: torch.Tensor, alpha: float) -> torch.Tensor:
    a = a.to(b).expand_as(b)
    return a if alpha == 1 else b + alpha * (a - b)
