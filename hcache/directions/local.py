"""The local naive direction: for each sample, its nearest positives less its nearest other samples.

Positives of several kinds have a mean that is of none of them. Of a sample's own kind are the
positives that are like it, so the difference of means is taken among neighbours: with z = h / σ at
a step,

    Δz = mean of the k positives nearest to z - mean of the k other samples nearest to z.

Both means are of samples like this one, so that what the neighbourhood has in common falls out of
the difference. Each sample is moved by its own Δh, at each step from its neighbours there. A
strength of 1 is a move whose root mean square over samples and steps is 1 in σ (:mod:`.unit`).

References:
    Discovering Interpretable Directions in the Semantic Latent Space of Diffusion Models (Haas,
        Huberman-Spiegelglas, Mulayoff, Graßhof, Brandt, Michaeli, 2023),
        https://arxiv.org/abs/2303.11073, for directions as differences of means
    Discriminatory Analysis: Nonparametric Discrimination (Fix, Hodges, 1951),
        https://doi.org/10.2307/1403797, for neighbours
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..cache.reading import Run
from ..errors import AnalysisError, UsageError
from ..options import Option
from .direction import check_shape, in_sigmas, site_of, spread
from .fitting import POSITIVES, Fit, Fitting, Method
from .unit import Netting, tried_rows

if TYPE_CHECKING:
    import torch

    from ..models.model import Model
    from ..sampling.loop import Moment
    from .direction import Mover

ITSELF = 1e-2
"""The smallest distance of a neighbour, as a root mean square in σ. A nearer one is the sample
itself.
"""


@dataclass(frozen=True, kw_only=True)
class LocalMove:
    """Moves each sample by its neighbours.

    ``sigma``: σ of h over the run (step, c, h, w). ``positives``, ``others``: their z (step, n, d)
    in float16. ``scale``: the factor of a difference of neighbours. ``neighbours``: the number of
    either kind.
    """

    kind: ClassVar[str] = "local"

    sigma: np.ndarray
    positives: np.ndarray
    others: np.ndarray
    neighbours: int
    scale: float
    made_by: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    timesteps: tuple[float, ...] = ()

    def bind(self, model: Model) -> Mover:
        """Returns the function that moves every row on the model's device.

        Raises:
            AnalysisError: the model's h has another shape.
        """
        import torch

        check_shape(self.sigma.shape[1:], model, site_of(self))
        sigma = torch.from_numpy(self.sigma).to(model.device)

        def move(h: torch.Tensor, moment: Moment, strengths: torch.Tensor) -> torch.Tensor:
            """Returns h, moved from its nearest others to its nearest positives."""
            t = moment.index
            unit = torch.where(sigma[t] > 0, sigma[t], torch.ones_like(sigma[t]))
            sides = (
                torch.from_numpy(side[t]).to(model.device).float()
                for side in (self.positives, self.others)
            )
            delta = difference_of_neighbours((h.float() / unit).flatten(1), *sides, self.neighbours)
            delta = strengths.view(-1, 1) * self.scale * delta
            return h + (delta.view(h.shape) * sigma[t]).to(h.dtype)

        return move

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays that are stored."""
        unit = np.array([self.scale, self.neighbours], np.float64)
        return {
            "sigma": self.sigma,
            "positives": self.positives,
            "others": self.others,
            "unit": unit,
        }

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        made_by: Mapping[str, Any],
        model: str,
        timesteps: tuple[float, ...],
    ) -> LocalMove:
        """Returns the move that ``arrays`` gave these data."""
        return cls(
            sigma=arrays["sigma"],
            positives=arrays["positives"],
            others=arrays["others"],
            scale=float(arrays["unit"][0]),
            neighbours=int(arrays["unit"][1]),
            made_by=made_by,
            model=model,
            timesteps=timesteps,
        )


def difference_of_neighbours(
    z: torch.Tensor, positives: torch.Tensor, others: torch.Tensor, neighbours: int
) -> torch.Tensor:
    """Returns each row's nearest positives minus its nearest others.

    The result is the difference of the means (n, d), for z (n, d).
    """
    return _nearest(z, positives, neighbours) - _nearest(z, others, neighbours)


def _nearest(z: torch.Tensor, known: torch.Tensor, count: int) -> torch.Tensor:
    """Returns the mean (n, d) of the nearest known samples (m, d) to each of z (n, d), without the
    sample itself.
    """
    import torch

    squares = (z.square().sum(1)[:, None] + known.square().sum(1) - 2 * z @ known.T) / z.shape[1]
    squares = squares.masked_fill(squares < ITSELF**2, torch.inf)
    chosen = squares.topk(count, dim=1, largest=False).indices
    return torch.stack([known[rows].mean(0) for rows in chosen])


def fit_local(fit: Fit, options: Mapping[str, Any], run: Run, _: object = None) -> Fitting:
    """Stores the positives and at most ``others`` of the other samples.

    It yields the share of steps that are done.
    """
    import torch

    rows = sorted({run.position(sample) for sample in fit.positives})
    rng = np.random.default_rng(options["seed"])
    rest = np.setdiff1d(np.arange(len(run)), rows)
    rest = np.sort(rng.permutation(rest)[: options["others"]])
    count = options["neighbours"]
    if count < 1 or options["others"] < 1:
        raise UsageError(
            f"neighbours and others are 1 or more, got {count} and {options['others']}"
        )
    if min(len(rows), len(rest)) <= count:  # one of them may be the sample itself
        raise AnalysisError(
            f"{count} neighbours among positives and among others take {count + 1} or more of"
            f" either, got {len(rows)} and {len(rest)}; choose more samples, or fewer neighbours"
        )
    tried = tried_rows(len(run), set(rows), options["seed"])
    sigma, net, kept = spread(run, fit.site), Netting(), ([], [])
    for t in range(run.spec.steps):
        h = run.matrix(fit.site, t)
        z = in_sigmas(h, np.broadcast_to(sigma[t].ravel(), h.shape))
        for side, chosen in zip(kept, (rows, rest), strict=True):
            side.append(z[chosen].astype(np.float16))
        moved, *sides = (torch.from_numpy(part) for part in (z[tried], z[rows], z[rest]))
        net.add(moved - torch.from_numpy(z.mean(0)), difference_of_neighbours(moved, *sides, count))
        yield (t + 1) / run.spec.steps
    if not net.net.rms > 0:
        raise AnalysisError(
            "positives and other samples have the same h, so there is no direction between them"
        )
    made_by = {**fit.to_json(), "net": net.net.to_json()}
    move = LocalMove(
        sigma=sigma,
        positives=np.stack(kept[0]),
        others=np.stack(kept[1]),
        neighbours=count,
        scale=1 / net.net.rms,
        made_by=made_by,
        model=run.spec.model,
        timesteps=run.timesteps,
    )
    return (move,)


METHOD = Method(
    name="local",
    title="local naive: nearest positives against nearest others",
    text=(
        "Each sample moves by the mean of its nearest positives minus the mean of its nearest"
        " other samples."
    ),
    source="Haas et al. 2023 for differences of means; Fix, Hodges 1951 for neighbours",
    make=fit_local,
    needs=(POSITIVES,),
    least=3,
    moves=(LocalMove,),
    sites=True,
    options={
        "neighbours": Option(default=16, text="number of samples of either kind that are averaged"),
        "others": Option(default=512, text="largest number of other samples to choose from"),
        "seed": Option(default=0, text="seed for the choice of other samples"),
    },
)
