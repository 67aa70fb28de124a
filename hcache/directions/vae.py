r"""A VAE of the positives' h: a sample's h is moved to where the VAE reconstructs it better.

The VAE is trained on h of the positives alone, at all steps, in units of σ: z_t = (h_t - μ_t) /
σ_t, with μ and σ over all samples of the run. It has one hidden layer each way and is told the
step. What it has learned to reconstruct is what positives look like, so the gradient of its
reconstruction loss

    L(z) = mean (z - D(E(z), t))²

at some sample's own z points off the positives, and following it downhill leads onto them: Δh =
h_optimised - h. Each sample is moved by its own Δh. The loss is minimised to convergence: gradient
steps on each row by itself, their length after Barzilai and Borwein, until the gradient is 1 % of
the first. The strength γ then multiplies Δh, scaled so that its root mean square over samples and
steps is γ in units of σ (:mod:`.unit`), and goes over the steps as that of the naive direction to
the same positives does: the two differ in where they lead, not in how far or when.

A VAE of few positives reconstructs what is average best, so that most of such a move is the way to
the mean of all samples, -z. That part is projected out of every sample's Δz, unless ``to_mean``
keeps it; what it was is told with the move (``net``).

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

from ..cache.reading import Run
from ..errors import AnalysisError, UsageError
from .direction import check_shape, in_sigmas
from .fitting import MINUTES, POSITIVES, Fit, Fitting, Method, Option
from .unit import Netting, tried_rows, without_way_to_mean

if TYPE_CHECKING:
    import torch

    from ..models.model import Model
    from ..sampling.loop import Moment
    from .direction import Mover

STRIDES = 8
"""Of a descent of fixed length."""

CONVERGED, STRIDED = "converged", "strides"
REMOVED, KEPT = "removed", "kept"
MOST_STEPS, SHORT = 80, 1e-2
"""Gradient steps at most; a row's gradient that is so short, relative to its first, ends it."""

LEAST_RATE, MOST_RATE = 0.05, 20.0
"""Between which a gradient step's length lies, relative to the gradient of half the squared
error.
"""


@dataclass(frozen=True, kw_only=True)
class VaeMove:
    """``mean``, ``sigma``: of h over the run (step, c, h, w). ``weights``: of the encoder's mean
    and the decoder.

    ``scale`` (step,): what the converged Δz is multiplied by; None of a move that goes strides of
    fixed length. ``keeps_mean``: whether the way to the mean is left in it.
    """

    kind: ClassVar[str] = "vae"

    mean: np.ndarray
    sigma: np.ndarray
    weights: Mapping[str, np.ndarray]
    scale: np.ndarray | None = None
    keeps_mean: bool = True
    made_by: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    timesteps: tuple[float, ...] = ()

    def bind(self, model: Model) -> Mover:
        """Follows the reconstruction loss down, on the model's device.

        Every row by its own gradient.

        Raises:
            AnalysisError: the model's h has another shape.
        """
        import torch

        check_shape(self.mean.shape[1:], model)
        mean, sigma = (torch.from_numpy(a).to(model.device) for a in (self.mean, self.sigma))
        weights = {name: torch.from_numpy(a).to(model.device) for name, a in self.weights.items()}

        def move(h: torch.Tensor, moment: Moment, strengths: torch.Tensor) -> torch.Tensor:
            """h, optimised on the reconstruction loss, as far as its strength says."""
            t = moment.index
            unit = torch.where(sigma[t] > 0, sigma[t], torch.ones_like(sigma[t]))
            z = ((h.float() - mean[t]) / unit).flatten(1)
            if self.scale is None:
                delta = _descend(weights, z, t, len(mean), strengths) - z
            else:
                delta = (
                    strengths.view(-1, 1)
                    * float(self.scale[t])
                    * _optimised(weights, z, t, len(mean), self.keeps_mean)
                )
            return h + (delta.view(h.shape) * sigma[t]).to(h.dtype)

        return move

    def arrays(self) -> dict[str, np.ndarray]:
        weights = {f"weights/{k}": v for k, v in self.weights.items()}
        unit = (
            {}
            if self.scale is None
            else {"scale": self.scale, "keeps_mean": np.array(self.keeps_mean)}
        )
        return {"mean": self.mean, "sigma": self.sigma, **weights, **unit}

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        made_by: Mapping[str, Any],
        model: str,
        timesteps: tuple[float, ...],
    ) -> VaeMove:
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
            made_by=made_by,
            model=model,
            timesteps=timesteps,
        )


def _optimised(
    weights: Mapping[str, torch.Tensor], z: torch.Tensor, t: int, steps: int, keeps_mean: bool
) -> torch.Tensor:
    """Δz (n, d) from z (n, d) to where its reconstruction loss is least, found row by row; without
    the way to the mean, unless that is kept."""
    import torch

    step = _one_hot(t, steps, z)

    def slope(at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Half the squared error (n, 1) and its gradient (n, d)."""
        with torch.inference_mode(False), torch.enable_grad():
            at = at.clone().requires_grad_(True)  # out of inference mode
            loss = 0.5 * (at - reconstruct(weights, at, step)[0]).square().sum(1, keepdim=True)
            (gradient,) = torch.autograd.grad(loss.sum(), at)
        return loss.detach(), gradient

    at, rate = z.clone(), torch.full_like(z[:, :1], 0.5)
    loss, gradient = slope(at)
    best, least, first = at, loss, gradient.square().sum(1, keepdim=True)
    for _ in range(MOST_STEPS):
        going = gradient.square().sum(1, keepdim=True) > SHORT**2 * first
        if not going.any():
            break
        after = at - going * rate * gradient
        loss, new = slope(after)
        s, y = after - at, new - gradient
        bent = (s * y).sum(1, keepdim=True)
        rate = torch.where(bent > 0, s.square().sum(1, keepdim=True) / bent.clamp_min(1e-30), rate)
        rate = rate.clamp(LEAST_RATE, MOST_RATE)
        at, gradient = after, torch.where(going, new, gradient)
        best, least = torch.where(loss < least, at, best), torch.minimum(loss, least)
    return best - z if keeps_mean else without_way_to_mean(z, best - z)


def _descend(
    weights: Mapping[str, torch.Tensor],
    z: torch.Tensor,
    t: int,
    steps: int,
    strengths: torch.Tensor,
) -> torch.Tensor:
    """z (n, d) after ``STRIDES`` strides down the reconstruction loss, together ``strengths``
    (n,) long.
    """
    import torch

    stride = strengths.view(-1, 1) / STRIDES
    with torch.inference_mode(False), torch.enable_grad():
        z = z.clone()  # out of inference mode
        for _ in range(STRIDES):
            z = z.detach().requires_grad_(True)
            loss = (z - reconstruct(weights, z, _one_hot(t, steps, z))[0]).square().mean(1).sum()
            (gradient,) = torch.autograd.grad(loss, z)
            length = gradient.square().mean(1, keepdim=True).sqrt().clamp_min(1e-12)
            z = z - stride * gradient / length
    return z.detach()


def reconstruct(
    weights: Mapping[str, torch.Tensor],
    z: torch.Tensor,
    step: torch.Tensor,
    noise: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The reconstruction, mean and log variance of z (n, d).

    (n, d), (n, k) and (n, k); ``step`` (n, steps) is one-hot.
    """
    import torch
    from torch.nn.functional import linear, silu

    hidden = silu(
        linear(torch.cat([z, step], 1), weights["encoder.weight"], weights["encoder.bias"])
    )
    mu, log_variance = linear(hidden, weights["latent.weight"], weights["latent.bias"]).chunk(2, 1)
    code = mu if noise is None else mu + (0.5 * log_variance).exp() * noise
    hidden = silu(
        linear(torch.cat([code, step], 1), weights["decoder.weight"], weights["decoder.bias"])
    )
    return linear(hidden, weights["output.weight"], weights["output.bias"]), mu, log_variance


def _one_hot(t: int, steps: int, like: torch.Tensor) -> torch.Tensor:
    one = like.new_zeros(len(like), steps)
    one[:, t] = 1
    return one


def fit_vae(fit: Fit, options: Mapping[str, Any], run: Run, _: object = None) -> Fitting:
    """Trains the VAE: Adam, batches over positives and steps, seeded. Yields the share of
    iterations done.
    """
    import torch

    for name in ("iterations", "latent", "hidden", "batch"):
        if options[name] < 1:
            raise UsageError(f"option {name} of vae must be 1 or more, got {options[name]}")
    mean, sigma, z = _positives_of(fit, run)
    steps, n, d = z.shape
    weights = _initial(d, steps, options["latent"], options["hidden"], options["seed"])
    optimizer = torch.optim.Adam(weights.values(), lr=options["rate"])
    rng = torch.Generator().manual_seed(options["seed"])
    data, batch = torch.from_numpy(z), options["batch"]
    for iteration in range(options["iterations"]):
        t = torch.randint(steps, (batch,), generator=rng)
        rows = data[t, torch.randint(n, (batch,), generator=rng)]
        step = torch.nn.functional.one_hot(t, steps).float()
        with torch.inference_mode(False), torch.enable_grad():
            noise = torch.randn(batch, options["latent"], generator=rng)
            found, mu, log_variance = reconstruct(weights, rows, step, noise)
            kl = 0.5 * (mu.square() + log_variance.exp() - 1 - log_variance).sum(1)
            loss = ((found - rows).square().mean(1) + options["beta"] * kl / d).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        if iteration % 10 == 9:
            yield (iteration + 1) / options["iterations"]
    arrays = {name: tensor.detach().numpy() for name, tensor in weights.items()}
    move = VaeMove(
        mean=mean,
        sigma=sigma,
        weights=arrays,
        made_by=fit.to_json(),
        model=run.spec.model,
        timesteps=run.timesteps,
    )
    return (
        move if options["descent"] == STRIDED else _in_unit(move, fit, options, run, _profile(z)),
    )


def _profile(z: np.ndarray) -> np.ndarray:
    """The naive direction's length at each step (step,), of unit length in all; of positives z
    (step, n, d).
    """
    squares = np.square(z.mean(1, dtype=np.float64)).mean(1)
    return np.sqrt(squares / squares.mean())


def _in_unit(
    move: VaeMove, fit: Fit, options: Mapping[str, Any], run: Run, profile: np.ndarray
) -> VaeMove:
    """The move, scaled so that its root mean square over samples that are no positives, and
    steps, is 1.
    """
    import torch

    keeps = options["to_mean"] == KEPT
    weights = {name: torch.from_numpy(array) for name, array in move.weights.items()}
    rows = tried_rows(len(run), {run.position(sample) for sample in fit.positives}, options["seed"])
    whole, left, lengths = Netting(), Netting(), []
    for t in range(run.spec.steps):
        h = run.matrix("h", t)[rows].reshape(-1, *move.mean[t].shape) - move.mean[t]
        z = torch.from_numpy(in_sigmas(h, np.broadcast_to(move.sigma[t], h.shape))).flatten(1)
        delta = _optimised(weights, z, t, run.spec.steps, keeps_mean=True)
        whole.add(z, delta)
        delta = delta if keeps else without_way_to_mean(z, delta)
        left.add(z, delta)
        lengths.append(float(delta.square().mean().sqrt()))
    if not max(lengths) > 1e-6:
        raise AnalysisError(
            "this VAE moves no sample: it reconstructs them all as they are; fit it on more"
            " positives"
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
    """μ and σ (step, c, h, w) of all samples, and z (step, n, d) of the positives."""
    rows = [run.position(sample) for sample in sorted(set(fit.positives))]
    mean, sigma, z = [], [], []
    for step in range(run.spec.steps):
        h = run.matrix("h", step)
        mean.append(h.mean(0).reshape(run.anatomy.h))
        sigma.append(h.std(0).reshape(run.anatomy.h))
        spread = np.broadcast_to(h.std(0), (len(rows), h.shape[1]))
        z.append(in_sigmas(h[rows] - h.mean(0), spread))
    return np.stack(mean), np.stack(sigma), np.stack(z)


def _initial(d: int, steps: int, latent: int, hidden: int, seed: int) -> dict[str, torch.Tensor]:
    import torch

    rng = torch.Generator().manual_seed(seed)
    weights = {}
    for name, inputs, outputs in (
        ("encoder", d + steps, hidden),
        ("latent", hidden, 2 * latent),
        ("decoder", latent + steps, hidden),
        ("output", hidden, d),
    ):
        weights[f"{name}.weight"] = (
            torch.randn(outputs, inputs, generator=rng) / inputs**0.5
        ).requires_grad_(True)
        weights[f"{name}.bias"] = torch.zeros(outputs, requires_grad=True)
    return weights


METHOD = Method(
    name="vae",
    title="VAE on positives",
    text=(
        "A VAE is trained on the positives' h alone; each sample's h is then moved to where it is"
        " reconstructed best."
    ),
    source="Kingma, Welling 2013, Auto-Encoding Variational Bayes, for the VAE",
    make=fit_vae,
    short="VAE",
    needs=(POSITIVES,),
    least=5,
    cost=MINUTES,
    moves=(VaeMove,),
    former={"descent": STRIDED},
    options={
        "iterations": Option(default=800, text="of training"),
        "latent": Option(default=16, text="numbers that the VAE keeps of an h"),
        "hidden": Option(default=128, text="units of its hidden layers"),
        "beta": Option(default=1.0, text="weight of the KL divergence"),
        "rate": Option(default=1e-3, text="learning rate"),
        "batch": Option(default=64, text="samples at once"),
        "seed": Option(default=0, text="of weights and batches"),
        "descent": Option(
            default=CONVERGED,
            text="to convergence, or 8 strides of fixed length as before there was a unit",
            choices=(CONVERGED, STRIDED),
        ),
        "to_mean": Option(
            default=REMOVED,
            text="what becomes of the move's part towards the mean of all samples",
            choices=(REMOVED, KEPT),
        ),
    },
)
