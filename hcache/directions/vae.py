r"""A VAE of the positives' h: a sample's h is moved to where the VAE reconstructs it better.

The VAE is trained on h of the positives alone, at all steps, in units of σ: z_t = (h_t - μ_t) / σ_t, with μ and σ over
all samples of the run. It has one hidden layer each way and is told the step. What it has learned to reconstruct is
what positives look like, so the gradient of its reconstruction loss

    L(z) = mean (z - D(E(z), t))²

at some sample's own z points off the positives, and following it downhill leads onto them: Δh = h_optimised - h. Each
sample is moved by its own Δh. The strength says how far the optimisation goes: strength γ is a path whose length has
the root mean square γ in units of σ, in ``STRIDES`` equal parts, each along the gradient where it begins. Negative
strengths go uphill, away from the positives.

References:
    Auto-Encoding Variational Bayes (Kingma, Welling, 2013), https://arxiv.org/abs/1312.6114, for the VAE
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..cache.reading import Run
from ..errors import UsageError
from .direction import check_shape, in_sigmas
from .fitting import POSITIVES, Fit, Fitting, Method, Option

if TYPE_CHECKING:
    import torch

    from ..models.model import Model
    from ..sampling.loop import Moment
    from .direction import Mover

STRIDES = 8


@dataclass(frozen=True, kw_only=True)
class VaeMove:
    """``mean``, ``sigma``: of h over the run (step, c, h, w). ``weights``: of the encoder's mean and the decoder."""

    kind: ClassVar[str] = "vae"

    mean: np.ndarray
    sigma: np.ndarray
    weights: Mapping[str, np.ndarray]
    made_by: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    timesteps: tuple[float, ...] = ()

    def bind(self, model: Model) -> Mover:
        """Follows the reconstruction loss down, on the model's device; every row by its own gradient.

        Raises:
            AnalysisError: the model's h has another shape.
        """
        import torch

        check_shape(self.mean.shape[1:], model)
        mean, sigma = (torch.from_numpy(a).to(model.device) for a in (self.mean, self.sigma))
        weights = {name: torch.from_numpy(a).to(model.device) for name, a in self.weights.items()}

        def move(h: torch.Tensor, moment: Moment, strengths: torch.Tensor) -> torch.Tensor:
            """h, optimised on the reconstruction loss for as long as its strength says."""
            t = moment.index
            scale = torch.where(sigma[t] > 0, sigma[t], torch.ones_like(sigma[t]))
            z = ((h.float() - mean[t]) / scale).flatten(1)
            moved = _descend(weights, z, t, len(mean), strengths)
            return h + ((moved - z).view(h.shape) * sigma[t]).to(h.dtype)

        return move

    def arrays(self) -> dict[str, np.ndarray]:
        return {"mean": self.mean, "sigma": self.sigma, **{f"weights/{k}": v for k, v in self.weights.items()}}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], made_by: Mapping[str, Any], model: str, timesteps: tuple[float, ...]
    ) -> VaeMove:
        weights = {name.removeprefix("weights/"): a for name, a in arrays.items() if name.startswith("weights/")}
        return cls(mean=arrays["mean"], sigma=arrays["sigma"], weights=weights, made_by=made_by, model=model,
                   timesteps=timesteps)  # fmt: skip


def _descend(
    weights: Mapping[str, torch.Tensor], z: torch.Tensor, t: int, steps: int, strengths: torch.Tensor
) -> torch.Tensor:
    """z (n, d) after ``STRIDES`` strides down the reconstruction loss, together ``strengths`` (n,) long."""
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
    weights: Mapping[str, torch.Tensor], z: torch.Tensor, step: torch.Tensor, noise: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(reconstruction (n, d), mean (n, k), log variance (n, k)) of z (n, d); ``step`` (n, steps) one-hot."""
    import torch
    from torch.nn.functional import linear, silu

    hidden = silu(linear(torch.cat([z, step], 1), weights["encoder.weight"], weights["encoder.bias"]))
    mu, log_variance = linear(hidden, weights["latent.weight"], weights["latent.bias"]).chunk(2, 1)
    code = mu if noise is None else mu + (0.5 * log_variance).exp() * noise
    hidden = silu(linear(torch.cat([code, step], 1), weights["decoder.weight"], weights["decoder.bias"]))
    return linear(hidden, weights["output.weight"], weights["output.bias"]), mu, log_variance


def _one_hot(t: int, steps: int, like: torch.Tensor) -> torch.Tensor:
    one = like.new_zeros(len(like), steps)
    one[:, t] = 1
    return one


def fit_vae(fit: Fit, options: Mapping[str, Any], run: Run, _: object = None) -> Fitting:
    """Trains the VAE: Adam, batches over positives and steps, seeded. Yields the share of iterations done."""
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
    move = VaeMove(mean=mean, sigma=sigma, weights=arrays, made_by=fit.to_json(), model=run.spec.model,
                   timesteps=run.timesteps)  # fmt: skip
    return (move,)


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
        ("encoder", d + steps, hidden), ("latent", hidden, 2 * latent), ("decoder", latent + steps, hidden),
        ("output", hidden, d),
    ):  # fmt: skip
        weights[f"{name}.weight"] = (torch.randn(outputs, inputs, generator=rng) / inputs**0.5).requires_grad_(True)
        weights[f"{name}.bias"] = torch.zeros(outputs, requires_grad=True)
    return weights


METHOD = Method(
    name="vae",
    title="VAE on positives",
    text="A VAE is trained on the positives' h alone; each sample's h is then moved to lower its reconstruction loss.",
    source="Kingma, Welling 2013, Auto-Encoding Variational Bayes, for the VAE",
    make=fit_vae,
    needs=(POSITIVES,),
    least=5,
    options={
        "iterations": Option(default=800, text="of training"),
        "latent": Option(default=16, text="numbers that the VAE keeps of an h"),
        "hidden": Option(default=128, text="units of its hidden layers"),
        "beta": Option(default=1.0, text="weight of the KL divergence"),
        "rate": Option(default=1e-3, text="learning rate"),
        "batch": Option(default=64, text="samples at once"),
        "seed": Option(default=0, text="of weights and batches"),
    },
)
