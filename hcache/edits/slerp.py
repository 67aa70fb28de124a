r"""Injects a donor's h along the sphere: its direction mixed in, the recipient's norm kept.

    h̃ = slerp(h, h_c ‖h‖ / ‖h_c‖, γ),    slerp(a, b, γ) = (sin((1-γ) θ) a + sin(γ θ) b) / sin θ

with θ the angle between h and the donor's h_c, both as vectors over (c, h, w). A plain blend of two
h of nearly independent directions is shorter than either, which the decoder has not seen.

Inside a mask all of h is turned, and the places inside are taken from that. The code published for
it (https://github.com/kwonminki/Asyrp_official) turns the places inside by their own angle, without
matching their norm.

``omega`` or ``dt_lambda`` calibrate the steps in which it acts, as
:mod:`~hcache.sampling.calibration` says.

References:
    Training-free Content Injection using h-space in Diffusion Models (Jeong, Kwon, Uh, 2023),
    https://arxiv.org/abs/2303.15403
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..errors import AnalysisError, UsageError
from ..features import Features
from ..recipes.edits import Acts, DonorRef, Number, RecipeEdit, Share, Tools, put, share
from ..recipes.masks import Mask
from ..recipes.widgets import (
    MaskWidget,
    NumberWidget,
    PercentWidget,
    Variant,
    Widget,
    WindowWidget,
)
from ..recipes.window import Window
from .swap import PUBLISHED_STEPS, Donor

if TYPE_CHECKING:
    import torch

    from ..sampling.loop import Moment


DT_END = 950.0
"""The smallest training timestep at which the published code multiplies D_t."""


class SlerpEdit(RecipeEdit, tag="slerp", frozen=True, kw_only=True):
    """Rotates h towards a donor's h, and keeps its norm.

    ``gamma``: the share of the angle. ``omega``: calibrates x_t for style. ``dt_lambda``:
    multiplies D_t instead, where t is ``dt_end`` or more. ``dt_end`` is 950 if it is None, as in
    the published code.
    """

    title: ClassVar[str] = "Rotate h towards a donor's"
    help: ClassVar[str] = (
        "Slerp rotates h towards A's h by the share γ of the angle, and keeps its norm"
        " (InjectFusion: Jeong, Kwon, Uh 2023, Training-free Content Injection using h-space in"
        " Diffusion Models)."
    )
    variants: ClassVar[tuple[Variant, ...]] = (
        Variant(title="h by slerp", button="Rotate h by slerp", asymmetric=True),
    )
    widgets: ClassVar[tuple[Widget, ...]] = (
        PercentWidget(name="gamma", label="Share γ of the angle", key="gamma", default=0.3),
        WindowWidget(presets=PUBLISHED_STEPS),
        MaskWidget(key="mask"),
        NumberWidget(
            name="omega",
            label="Calibration ω",
            key="omega",
            low=0.0,
            high=10.0,
            default=0.0,
            off=0.0,
            more=True,
            help=(
                "Moves x_t so that the unedited network predicts what the edit predicted, which"
                " keeps B's style (InjectFusion: Jeong, Kwon, Uh 2023). 0 switches it off."
            ),
        ),
        NumberWidget(
            name="dt_lambda",
            label="Scale λ of D_t",
            key="dt-lambda",
            low=0.9,
            high=1.1,
            default=1.0,
            off=1.0,
            step=0.0005,
            format="%.4f",
            more=True,
            help=(
                "Acts where t is 950 or more. The published code uses 0.9985 for style mixing. 1"
                " switches it off."
            ),
        ),
    )

    donor: DonorRef
    gamma: Share = 0.3
    window: Window
    mask: Mask | None = None
    omega: Number | None = None
    dt_lambda: Number | None = None
    dt_end: Number | None = None

    def __post_init__(self) -> None:
        put(self, "gamma", share("the share γ of a slerp", self.gamma))
        if self.dt_end is not None and self.dt_lambda is None:
            raise UsageError("dt_end says where dt_lambda acts; give dt_lambda, too")
        if self.omega is not None and self.dt_lambda is not None:
            raise UsageError(
                "give either omega or dt_lambda: with omega the plain network predicts D_t again"
            )

    @property
    def needs_asymmetric(self) -> bool:
        """Calibration needs the unedited prediction besides the edited one."""
        return self.omega is not None or self.dt_lambda is not None

    @property
    def picture_name(self) -> str:
        """The same for all of them, since only h is rotated."""
        return "h by slerp"

    def calibration(self, step: int, t: float) -> tuple[float, float] | None:
        """Returns ω and λ in the steps in which it acts."""
        if not (self.needs_asymmetric and self.gamma and self.window.weight(step)):
            return None
        if self.dt_lambda is None:
            return self.omega or 0.0, 1.0
        return 0.0, self.dt_lambda if t >= (DT_END if self.dt_end is None else self.dt_end) else 1.0

    def bind(self, tools: Tools) -> Acts:
        """Returns the function that rotates h.

        Raises:
            NoUNetError: the model is a transformer, which has no h.
        """
        tools.model.anatomy.need_unet("a slerp of h")
        return Slerp(tools.donor(self.donor), self.gamma, self.window)


class Slerp:
    """Rotates h of every row towards a donor's by slerp.

    Args:
        donor: Returns the donor's features at a step, in a branch of guidance.
        gamma: 0 changes nothing, bit for bit; 1 is the donor's direction with the recipient's norm.
        window: The steps in which it acts, and the share of γ in each.
    """

    def __init__(self, donor: Donor, gamma: float, window: Window) -> None:
        if not 0 <= gamma <= 1:
            raise UsageError(f"the share γ of a slerp must lie in [0, 1], got {gamma}")
        self.donor, self.gamma, self.window = donor, gamma, window

    def __call__(self, features: Features, moment: Moment) -> Features:
        gamma = self.gamma * self.window.weight(moment.index)
        if gamma == 0:
            return features
        return features.replace(
            {"h": slerp(features.h, self.donor(moment).h.to(features.h), gamma)}
        )


def slerp(h: torch.Tensor, donor: torch.Tensor, gamma: float) -> torch.Tensor:
    """Rotates h towards a donor's and keeps each row's norm.

    The rotation is the share γ of the angle. h is (n, c, h, w), and ``donor`` is (n or 1, c, h, w).

    Raises:
        AnalysisError: the donor is zero, or points in exactly the opposite direction. Neither
            defines a rotation.
    """
    import torch

    # float64: float32 rounds away the angle between near vectors
    a = h.double().flatten(1)
    b = donor.double().expand_as(h).flatten(1)
    length, theirs = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    if not bool((theirs > 0).all()):
        raise AnalysisError(
            "the donor's h is zero, which has no direction to turn to; choose another donor"
        )
    b = b * (length / theirs)
    cosine = ((a * b).sum(1, keepdim=True) / (length * length).clamp_min(1e-300)).clamp(-1, 1)
    theta = torch.arccos(cosine)
    sine = torch.sin(theta)
    if bool(((sine < 1e-6) & (cosine < 0)).any()):
        raise AnalysisError(
            "the donor's h points exactly away from the recipient's; there is no shortest way to"
            " turn"
        )
    turned = (torch.sin((1 - gamma) * theta) * a + torch.sin(gamma * theta) * b) / sine.clamp_min(
        1e-300
    )
    # nearly parallel: the arc equals its chord, and sin θ is lost in rounding
    mixed = torch.where(sine < 1e-6, a + gamma * (b - a), turned)
    return mixed.view_as(h).to(h.dtype)
