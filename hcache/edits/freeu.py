"""FreeU through diffusers, on a copy of the network, so that it cannot stay switched on by mistake.

diffusers' up blocks apply FreeU themselves if they have its four numbers as attributes. Here
shallow copies of the up blocks get these attributes. They share the weights, so other threads keep
using the unchanged network.

References:
    FreeU: Free Lunch in Diffusion U-Net (Si, Huang, Jiang, Liu, 2023),
        https://arxiv.org/abs/2309.11497
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from msgspec import Meta

from ..cards import find_card
from ..errors import HcacheError, UsageError
from ..recipes.edits import RecipeEdit, put
from ..recipes.widgets import NumberWidget, Widget

if TYPE_CHECKING:
    from ..cache.reading import Run
    from ..models.anatomy import Network
    from ..models.model import Model

Scale = Annotated[float, Meta(gt=0, le=100, description="a number more than 0, at most 100")]


ADVISED = {"b1": 1.4, "b2": 1.6, "s1": 0.9, "s2": 0.2}
"""What the authors of FreeU advise for Stable Diffusion 2.1."""


class FreeUEdit(RecipeEdit, tag="freeu", frozen=True, kw_only=True):
    """Scales the inputs of the first two up blocks.

    It scales the backbone by ``b`` and the skips by ``s``, in all steps.
    """

    title: ClassVar[str] = "FreeU"
    help: ClassVar[str] = (
        "Scales the inputs of the first two up blocks (Si et al. 2023, FreeU: Free Lunch in"
        " Diffusion U-Net). It acts in all steps, whatever the window."
    )
    network: ClassVar[bool] = True
    widgets: ClassVar[tuple[Widget, ...]] = tuple(
        NumberWidget(name=name, label=name, low=0.05, high=4.0, default=value, step=0.05)
        for name, value in ADVISED.items()
    )

    b1: Scale
    b2: Scale
    s1: Scale
    s2: Scale

    def __post_init__(self) -> None:
        for name in ("b1", "b2", "s1", "s2"):
            put(self, name, float(getattr(self, name)))
            if not 0 < getattr(self, name) <= 100:
                raise UsageError(
                    f"{name} of FreeU must be more than 0 and at most 100, got"
                    f" {getattr(self, name)}"
                )

    @classmethod
    def offered_for(cls, run: Run) -> bool:
        """Whether the run's U-Net is given a text.

        diffusers has FreeU for these U-Nets. It is told from the run alone, so that a page need
        not load the model. A model that has no FreeU after all says so.
        """
        try:
            return bool(run.spec.conditioning.prompts) or "text" in find_card(run.spec.model).kind
        except HcacheError:  # a folder that is gone: rendering will say so
            return False

    def change_model(self, model: Model) -> Model:
        """Returns the model with FreeU switched on."""
        return with_freeu(model, self)


BLOCKS = ("UpBlock2D", "CrossAttnUpBlock2D")
"""The up blocks for which diffusers implements FreeU."""


def why_not(network: Network) -> str:
    """Returns why diffusers has no FreeU for this network, or nothing.

    UNet2DModel has suitable up blocks, but no switch, and does not tell the blocks their position,
    which FreeU needs.
    """
    kind = type(network).__name__
    if not hasattr(network, "enable_freeu"):
        return (
            "diffusers has FreeU for UNet2DConditionModel (Stable Diffusion, SDXL), and this"
            f" network is a {kind}"
        )
    others = [
        type(block).__name__
        for block in network.up_blocks[:2]
        if type(block).__name__ not in BLOCKS
    ]
    if others:
        return (
            f"diffusers has FreeU in {' and '.join(BLOCKS)}, and this network has a {others[0]}"
            " where it would act"
        )
    return ""


def with_freeu(model: Model, edit: FreeUEdit | None) -> Model:
    """Returns the model with FreeU, sharing the weights.

    For None it returns the model itself.

    Raises:
        UsageError: diffusers has no FreeU for this network.
    """
    from torch import nn

    if edit is None:
        return model
    if reason := why_not(model.network):
        raise UsageError(f"FreeU cannot be used with {model.card.name}: {reason}")
    network = copy.copy(model.network)
    network._modules = dict(model.network._modules)
    network.up_blocks = nn.ModuleList(copy.copy(block) for block in model.network.up_blocks)
    network.enable_freeu(s1=edit.s1, s2=edit.s2, b1=edit.b1, b2=edit.b2)
    return replace(model, network=network)
