r"""A VAE of the positives' h: a sample's h is moved to where the VAE reconstructs it better.

The VAE is trained on h of the positives alone, at all steps, in units of σ: z_t = (h_t - μ_t) /
σ_t, with μ and σ over all samples of the run. Encoder and decoder have one hidden layer each,
and the step is an input. The VAE has learned to reconstruct positives. The gradient of its
reconstruction loss

    L(z) = mean (z - D(E(z), t))²

at a sample's own z therefore points away from the positives, and descending it leads to them: Δh =
h_optimised - h. Each sample is moved by its own Δh. The loss is minimised to convergence. Gradient
steps are taken on each row by itself, with Barzilai and Borwein's step length, until the gradient
is 1 % of the first. The strength γ then multiplies Δh. It is scaled so that its root mean square
over samples and steps is γ in units of σ (:mod:`.unit`), and has the same profile over the steps as
the naive direction to the same positives. The two differ in where they lead, but not in how far or
when.

A VAE of few positives reconstructs average samples best. Most of such a move is therefore the way
to the mean of all samples, -z. That part is projected out of every sample's Δz, unless ``to_mean``
keeps it. Its size is stored with the move (``net``).

The VAE sees h through its first principal components. A VAE of a few dozen positives that sees all
of h memorises these positives, and its moves change the target less on every toy face
(docs/results/per-sample.md). It saw all of h in earlier versions (``components=0``).

Moves that were fitted before there was a unit go ``STRIDES`` strides of fixed length down the
gradient instead; option ``descent`` makes such a one again.

References:
    Auto-Encoding Variational Bayes (Kingma, Welling, 2013), https://arxiv.org/abs/1312.6114, for
        the VAE
    Two-Point Step Size Gradient Methods (Barzilai, Borwein, 1988),
        https://doi.org/10.1093/imanum/8.1.141
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..cache.layout import H
from ..cache.reading import Run
from ..errors import AnalysisError, UsageError
from ..options import Option
from .direction import check_shape, in_sigmas, site_of
from .fitting import MINUTES, POSITIVES, Fit, Fitting, Method
from .unit import Netting, tried_rows, without_way_to_mean
from .vae_network import descend, optimised, trained

if TYPE_CHECKING:
    import torch

    from ..models.model import Model
    from ..sampling.loop import Moment
    from .direction import Mover

CONVERGED, STRIDED = "converged", "strides"
REMOVED, KEPT = "removed", "kept"
ONE, EACH = "one", "one a step"

ALL_OF_H = {"components": 0, "latent": 16}
"""The defaults of earlier versions."""

SEEN = 2048
"""The number of samples that principal components are computed of, because it takes a matrix of all
pairs. A larger run has its components from that many random samples.
"""

NOTHING = 1e-9
"""An eigenvalue below this share of the largest is that of a component without variance."""


@dataclass(frozen=True, kw_only=True)
class VaeMove:
    """Moves each sample by descending a VAE's reconstruction loss.

    ``mean``, ``sigma``: those of h over the run (step, c, h, w). ``weights``: those of the
    networks. ``scale`` (step,): the factor of the converged Δz; None for a move with strides of
    fixed length. ``keeps_mean``: whether the component towards the mean is kept. ``axes`` (step, k,
    d): the principal components of z that the VAE sees, orthogonal and equally long; None if it
    sees all of z.
    """

    kind: ClassVar[str] = "vae"

    mean: np.ndarray
    sigma: np.ndarray
    weights: Mapping[str, np.ndarray]
    scale: np.ndarray | None = None
    keeps_mean: bool = True
    axes: np.ndarray | None = None
    made_by: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    timesteps: tuple[float, ...] = ()

    def bind(self, model: Model) -> Mover:
        """Returns the function that descends the reconstruction loss.

        It runs on the model's device. Every row follows its own gradient.

        Raises:
            AnalysisError: the model's h has another shape.
        """
        import torch

        check_shape(self.mean.shape[1:], model, site_of(self))
        mean, sigma = (torch.from_numpy(a).to(model.device) for a in (self.mean, self.sigma))
        descent = Descent(self.weights, self.axes, len(self.mean), self.keeps_mean, model.device)

        def move(h: torch.Tensor, moment: Moment, strengths: torch.Tensor) -> torch.Tensor:
            """Returns h, optimised on the reconstruction loss as far as its strength says."""
            t = moment.index
            unit = torch.where(sigma[t] > 0, sigma[t], torch.ones_like(sigma[t]))
            z = ((h.float() - mean[t]) / unit).flatten(1)
            if self.scale is None:
                delta = descent.strided(z, t, strengths)
            else:
                delta = strengths.view(-1, 1) * float(self.scale[t]) * descent.converged(z, t)
            return h + (delta.view(h.shape) * sigma[t]).to(h.dtype)

        return move

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays that are stored."""
        weights = {f"weights/{k}": v for k, v in self.weights.items()}
        unit = (
            {}
            if self.scale is None
            else {"scale": self.scale, "keeps_mean": np.array(self.keeps_mean)}
        )
        axes = {} if self.axes is None else {"axes": self.axes}
        return {"mean": self.mean, "sigma": self.sigma, **weights, **unit, **axes}

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        made_by: Mapping[str, Any],
        model: str,
        timesteps: tuple[float, ...],
    ) -> VaeMove:
        """Returns the move that ``arrays`` gave these data."""
        weights = {
            name.removeprefix("weights/"): a
            for name, a in arrays.items()
            if name.startswith("weights/")
        }
        scale, keeps = arrays.get("scale"), bool(arrays.get("keeps_mean", True))
        return cls(
            mean=arrays["mean"],
            sigma=arrays["sigma"],
            weights=weights,
            scale=scale,
            keeps_mean=keeps,
            axes=arrays.get("axes"),
            made_by=made_by,
            model=model,
            timesteps=timesteps,
        )


class Descent:
    """Descends the reconstruction loss of a move's networks on a device."""

    def __init__(
        self,
        weights: Mapping[str, np.ndarray],
        axes: np.ndarray | None,
        steps: int,
        keeps_mean: bool,
        device: torch.device | str = "cpu",
    ) -> None:
        import torch

        self._weights = {name: torch.from_numpy(a).to(device) for name, a in weights.items()}
        self._axes = None if axes is None else torch.from_numpy(axes).to(device)
        self._steps, self._keeps_mean = steps, keeps_mean

    def converged(self, z: torch.Tensor, t: int) -> torch.Tensor:
        """Computes Δz (n, d) to the minimum of the loss.

        The component towards the mean is removed, unless the move keeps it.
        """
        if self._axes is None:
            delta = optimised(*self._network(t, z))
        else:
            axes = self._axes[t]
            delta = optimised(*self._network(t, _seen(axes, z))) @ axes
        return delta if self._keeps_mean else without_way_to_mean(z, delta)

    def strided(self, z: torch.Tensor, t: int, strengths: torch.Tensor) -> torch.Tensor:
        """Returns Δz (n, d) of strides of fixed length."""
        return descend(*self._network(t, z), strengths) - z

    def _network(
        self, t: int, z: torch.Tensor
    ) -> tuple[Mapping[str, torch.Tensor], torch.Tensor, int, int]:
        """Returns the network of a step, what it sees, and its own step and number of steps."""
        if self._weights["encoder.weight"].ndim == 2:
            return self._weights, z, t, self._steps
        return {name: each[t] for name, each in self._weights.items()}, z, 0, 1


def fit_vae(fit: Fit, options: Mapping[str, Any], run: Run, _: object = None) -> Fitting:
    """Trains the VAE. It yields the share of iterations that are done."""
    _check(options)
    mean, sigma, z = _positives_of(fit, run)
    axes, seen = None, z
    if options["components"]:
        axes = _axes(run, options["components"], fit.site, options["seed"])
        seen = np.stack([_seen(axes[t], z[t]) for t in range(len(z))])
    weights = yield from trained(seen, options, options["networks"] == EACH)
    move = VaeMove(
        mean=mean,
        sigma=sigma,
        weights=weights,
        axes=axes,
        made_by=fit.to_json(),
        model=run.spec.model,
        timesteps=run.timesteps,
    )
    return (
        move if options["descent"] == STRIDED else _in_unit(move, fit, options, run, _profile(z)),
    )


def _check(options: Mapping[str, Any]) -> None:
    for name in ("iterations", "latent", "hidden", "batch"):
        if options[name] < 1:
            raise UsageError(f"option {name} of vae must be 1 or more, got {options[name]}")
    if options["components"] < 0:
        raise UsageError(
            "option components of vae is the number of principal components that the VAE sees, or 0"
            f" for all of h; got {options['components']}"
        )
    if options["descent"] == STRIDED and (options["components"] or options["networks"] == EACH):
        raise UsageError(
            "descent=strides is the older method, which used all of h and one network; give"
            " components=0 and leave networks out, or use descent=converged"
        )


def _axes(run: Run, count: int, site: str, seed: int) -> np.ndarray:
    """Returns the first principal components of z at each step (step, k, d) float32.

    They are orthogonal and equally long. Their length is such that the VAE's view of z has a root
    mean square of 1, like z. Each component keeps its share of the variance. ``k`` is ``count``, or
    as many as there are.
    """
    rows = np.arange(len(run))
    if len(run) > SEEN:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:SEEN])
    found = []
    for step in range(run.spec.steps):
        h = run.matrix(site, step)
        count = min(count, len(rows) - 1, h.shape[1])
        spread = np.broadcast_to(h.std(0), (len(rows), h.shape[1]))
        z = in_sigmas(h[rows] - h.mean(0), spread).astype(np.float64)
        values, vectors = np.linalg.eigh(z @ z.T)
        values, vectors = values[::-1][:count].clip(0), vectors[:, ::-1][:, :count]
        along = vectors.T @ z / np.sqrt(np.maximum(values, 1e-30))[:, None]
        if values[-1] < NOTHING * values[0]:  # rounding made the last ones
            along = np.linalg.qr(along.T)[0].T
        found.append((along * np.sqrt(values.mean() / len(z))).astype(np.float32))
    return np.stack(found)


def _seen(axes: Any, z: Any) -> Any:
    """Returns the coordinates (n, k) of z (n, d) along orthogonal axes (k, d), for arrays or
    tensors.
    """
    return z @ axes.T / (axes**2).sum(1)


def _profile(z: np.ndarray) -> np.ndarray:
    """Returns the naive direction's length at each step (step,), with unit length in total, for
    positives z (step, n, d).
    """
    squares = np.square(z.mean(1, dtype=np.float64)).mean(1)
    return np.sqrt(squares / squares.mean())


def _in_unit(
    move: VaeMove, fit: Fit, options: Mapping[str, Any], run: Run, profile: np.ndarray
) -> VaeMove:
    """Scales the move so that its root mean square over steps and over samples that are not
    positives is 1.
    """
    import torch

    keeps = options["to_mean"] == KEPT
    descent = Descent(move.weights, move.axes, run.spec.steps, keeps_mean=True)
    rows = tried_rows(len(run), {run.position(sample) for sample in fit.positives}, options["seed"])
    whole, left, lengths = Netting(), Netting(), []
    for t in range(run.spec.steps):
        h = run.matrix(fit.site, t)[rows].reshape(-1, *move.mean[t].shape) - move.mean[t]
        z = torch.from_numpy(in_sigmas(h, np.broadcast_to(move.sigma[t], h.shape))).flatten(1)
        delta = descent.converged(z, t)
        whole.add(z, delta)
        delta = delta if keeps else without_way_to_mean(z, delta)
        left.add(z, delta)
        lengths.append(float(delta.square().mean().sqrt()))
    if not max(lengths) > 1e-6:
        raise AnalysisError(
            "this VAE moves no sample, because it reconstructs all of them unchanged; fit it on"
            " more positives"
        )
    scale = np.divide(profile, lengths, out=np.zeros(len(lengths)), where=np.array(lengths) > 1e-6)
    told = {**left.net.to_json(), "to_mean_before": whole.net.to_json()["to_mean"]}
    return replace(
        move,
        scale=scale.astype(np.float32),
        keeps_mean=keeps,
        made_by={**fit.to_json(), "net": told},
    )


def _positives_of(fit: Fit, run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns μ and σ (step, c, h, w) of all samples, and z (step, n, d) of the positives."""
    rows = [run.position(sample) for sample in sorted(set(fit.positives))]
    mean, sigma, z = [], [], []
    shape = run.anatomy.h if fit.site == H else run.anatomy.shape(fit.site)
    for step in range(run.spec.steps):
        h = run.matrix(fit.site, step)
        mean.append(h.mean(0).reshape(shape))
        sigma.append(h.std(0).reshape(shape))
        spread = np.broadcast_to(h.std(0), (len(rows), h.shape[1]))
        z.append(in_sigmas(h[rows] - h.mean(0), spread))
    return np.stack(mean), np.stack(sigma), np.stack(z)


METHOD = Method(
    name="vae",
    title="VAE on positives",
    text=(
        "A VAE is trained on h of the positives only. Each sample's h then moves to where the VAE"
        " reconstructs it best."
    ),
    source="Kingma, Welling 2013, Auto-Encoding Variational Bayes, for the VAE",
    make=fit_vae,
    short="VAE",
    proposed=True,
    needs=(POSITIVES,),
    least=5,
    cost=MINUTES,
    moves=(VaeMove,),
    sites=True,
    former=(ALL_OF_H, {"descent": STRIDED, **ALL_OF_H}),
    options={
        "iterations": Option(default=800, text="number of training iterations"),
        "latent": Option(default=4, text="size of the VAE's latent"),
        "hidden": Option(default=128, text="units of each hidden layer"),
        "beta": Option(default=1.0, text="weight of the KL divergence"),
        "rate": Option(default=1e-3, text="learning rate"),
        "batch": Option(default=64, text="samples at once"),
        "components": Option(
            default=32,
            text=(
                "number of principal components of h that the VAE sees, or as many as there are; 0"
                " means all of h"
            ),
        ),
        "networks": Option(
            default=ONE, text="one VAE for all steps, or one for each step", choices=(ONE, EACH)
        ),
        "seed": Option(default=0, text="seed of weights and batches"),
        "descent": Option(
            default=CONVERGED,
            text="to convergence, or 8 strides of fixed length as in older versions",
            choices=(CONVERGED, STRIDED),
        ),
        "to_mean": Option(
            default=REMOVED,
            text="whether to keep or remove the move's component towards the mean of all samples",
            choices=(REMOVED, KEPT),
        ),
    },
)
