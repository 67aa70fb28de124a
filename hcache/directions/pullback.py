r"""Directions in x_t that move h most: right singular vectors of dh/dx_t of the encoder half, at
one sample and step.

They are the principal directions of the metric that h pulls back to the pixels (or latents). The
edit changes x_t itself, once: x_t + γ v. The model then continues from there. Its unit is that of
all other directions: v is scaled so that, to first order, strength 1 moves h by a root mean square
of 1 in units of σ at that step.

References:
    Understanding the Latent Space of Diffusion Models through the Lens of Riemannian Geometry
    (Park, Kwon, Choi, Jo, Uh, 2023), https://arxiv.org/abs/2307.12868
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from ..cache.layout import H
from ..cache.reading import Run
from ..errors import AnalysisError, UsageError
from ..options import Option
from ..specs import is_place
from .direction import in_sigmas, spread
from .fitting import MINUTES, MODEL, REGION, Fit, Fitting, Method, needed
from .jacobian import REGION_HELP, region_mask

if TYPE_CHECKING:
    import torch

    from ..models.model import Model


@dataclass(frozen=True, kw_only=True)
class PixelMove:
    """A move of x_t.

    ``delta`` is Δx_t of strength 1 (c, h, w) float32. It is added before step ``index`` only.
    """

    kind: ClassVar[str] = "x"

    delta: np.ndarray
    index: int
    made_by: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    timesteps: tuple[float, ...] = ()

    def bind(self, model: Model) -> NoReturn:
        """Returns what moves x_t of a model."""
        raise AnalysisError(
            f"this direction moves x_t before step {self.index}, not h; edit from that step on, and"
            " it is added there"
        )

    def moved(self, x_t: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
        """Returns x_t (n, c, h, w) of step ``index``, moved.

        A row of strength 0 is unchanged.
        """
        import torch

        if tuple(x_t.shape[1:]) != self.delta.shape:
            raise AnalysisError(
                f"this direction was made on another model: its x_t is {self.delta.shape}"
            )
        strengths = strengths.to(x_t).view(-1, 1, 1, 1)
        return torch.where(
            strengths == 0, x_t, x_t + strengths * torch.from_numpy(self.delta).to(x_t)
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays that are stored."""
        return {"delta": self.delta, "index": np.array(self.index)}

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        made_by: Mapping[str, Any],
        model: str,
        timesteps: tuple[float, ...],
    ) -> PixelMove:
        """Returns the move that ``arrays`` gave these data."""
        return cls(
            delta=arrays["delta"],
            index=int(arrays["index"]),
            made_by=made_by,
            model=model,
            timesteps=timesteps,
        )


def encoder_at(
    run: Run, model: Model, sample: int, step: int, region: str, k: int, site: str = H
) -> tuple[Callable[[torch.Tensor], torch.Tensor], torch.Tensor]:
    """Returns h as a function of x_t, and the cached x_t.

    h stands for the site. The function takes x_t (n, c, h, w) with n up to ``k``. The cached x_t of
    the sample is (c, h, w). Changes of x_t outside the region have no effect, so no direction uses
    them.
    """
    import torch

    from ..models.conditioners import COND

    x = torch.from_numpy(run.x(sample, step)).to(model.device)
    t, seen = run.timesteps[step], region_mask(region, *run.anatomy.x[1:]).to(model.device)
    many = model.condition(run.spec.conditioning.rows([sample] * k), k).branches[COND]
    one = model.condition(run.spec.conditioning.rows([sample]), 1).branches[COND]

    def function(rows: torch.Tensor) -> torch.Tensor:
        """Returns h of rows that differ from x_t inside the region only."""
        inside = x + seen * (rows - x)
        condition = many if len(rows) == k else one
        if is_place(site):
            return model.trace(inside, t, condition, (site,))[0][site].float()
        return model.encode(inside, t, condition)[site].float()

    return function, x


def _make(fit: Fit, options: Mapping[str, Any], run: Run, model: Model | None) -> Fitting:
    from .subspace import leading_singular

    sample = options["sample"] if options["sample"] >= 0 else int(run.sample_ids[0])
    step = options["step"] if options["step"] >= 0 else run.spec.steps // 2
    if not 0 <= step < run.spec.steps:
        raise UsageError(f"step must lie in 0 to {run.spec.steps - 1}, got {step}")
    if options["count"] < 1 or options["iterations"] < 1:
        raise UsageError("options count and iterations must be 1 or more")
    function, x = encoder_at(
        run, needed(model), sample, step, options["region"], options["count"], fit.site
    )
    found = yield from leading_singular(
        function, x, options["count"], options["iterations"], options["tolerance"], options["seed"]
    )
    sigma = spread(run, fit.site)[step]
    moves = []
    for k, (v, u, value) in enumerate(zip(found.right, found.left, found.values, strict=True)):
        moved_h = in_sigmas((u * value).cpu().numpy().astype(np.float32), sigma)
        delta = v.cpu().numpy() / np.sqrt(np.square(moved_h).mean())
        made_by = Fit(
            method="pullback", run=run.name, options=dict(fit.options), component=k, site=fit.site
        ).to_json()
        moves.append(
            PixelMove(
                delta=delta.astype(np.float32),
                index=step,
                made_by=made_by,
                model=run.spec.model,
                timesteps=run.timesteps,
            )
        )
    return tuple(moves)


METHOD = Method(
    name="pullback",
    title="pullback: what in x_t moves h most",
    text="Singular vectors of dh/dx at one sample and step. The edit changes x_t once.",
    source=(
        "Park et al. 2023, Understanding the Latent Space of Diffusion Models through the Lens of"
        " Riemannian Geometry"
    ),
    make=_make,
    needs=(MODEL,),
    cost=MINUTES,
    moves=(PixelMove,),
    sites=True,
    options={
        "sample": Option(default=-1, text="sample at which the Jacobian is taken; -1: the first"),
        "step": Option(default=-1, text="step of the Jacobian and of the edit; -1: the middle one"),
        "count": Option(default=3, text="number of singular vectors"),
        "region": Option(default="", text=REGION_HELP, holds=REGION),
        "iterations": Option(default=50, text="largest number of subspace iterations"),
        "tolerance": Option(
            default=1e-2, text="the iteration stops when the space changes by less than this sine"
        ),
        "seed": Option(default=0, text="of the start"),
    },
)
