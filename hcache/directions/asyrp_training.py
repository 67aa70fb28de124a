r"""Trains an attribute block: f(h, t), from a source text to a target text.

The samples are taken along the denoising twice, side by side: once as they are, which the run
holds, and once edited asymmetrically by f as it is at that moment. At each step of the two, with t
>= t_edit, the predicted x_0 (P_t) of both are held against each other,

    L = 1 - cos(ΔI, ΔT) + λ |P_t edited - P_t|,

f takes one step of its optimiser, and the edited sample goes on to x_{t-1} by the P_t that it had
before. The gradient reaches f through the decoder half only.

What differs from the published code: it takes ΔI from the clean picture, where here it is from the
unedited P_t, which is as blurred as the edited one; it multiplies λ by the cosine of the two texts;
and its optimiser is plain gradient descent at a rate of 0.5, where here it is Adam, whose steps do
not depend on how large a model's gradients are.

References:
    Diffusion Models already have a Semantic Latent Space (Kwon, Jeong, Uh, 2022),
    https://arxiv.org/abs/2210.10960
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

import numpy as np
import torch

from ..cache.reading import Run
from ..errors import AnalysisError, UsageError
from ..features import Features
from ..models.codecs import Autoencoder
from ..models.conditioners import Guided
from ..models.halves import time_embedding
from ..models.model import Model
from ..sampling.conditions import conditions_of
from ..sampling.noise import step_noise
from ..sampling.schedule import DiffusionSchedule, schedule_of
from .asyrp_block import GROUPS, LAYERS, PLAIN, Block, delta_h, in_run_units, widths_of
from .asyrp_clip import Clip, directional_loss, load_clip
from .direction import check_full
from .fitting import Fit, Fitting


@dataclass(frozen=True, kw_only=True)
class BlockTraining:
    """The settings of a training.

    They do not include run, samples and texts. They are the method's options of the same names.
    """

    iterations: int
    batch: int
    learning_rate: float
    reconstruction: float
    t_edit: float
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("iterations", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if not self.learning_rate > 0 or not self.reconstruction >= 0:
            raise UsageError(
                "the learning rate must be above 0 and the weight of reconstruction 0 or more, got"
                f" {self.learning_rate} and {self.reconstruction}"
            )

    def steps(self, timesteps: Sequence[float]) -> range:
        """Returns the denoising steps that are trained. They are the first ones, down to
        ``t_edit``.
        """
        count = sum(t >= self.t_edit for t in timesteps)
        if not count:
            raise UsageError(
                f"no step has t >= {self.t_edit:g}; the first is at {timesteps[0]:g}: lower t_edit"
            )
        return range(count)


@dataclass(frozen=True)
class TrainingProgress:
    """The progress of a training after one step.

    It has the share that is done, and the loss before the step.
    """

    share: float
    loss: float


def fit_block(fit: Fit, options: Mapping[str, Any], run: Run, model: Model) -> Fitting:
    """Trains a block as the options say.

    The result has unit length on the run.
    """
    names = ("iterations", "batch", "learning_rate", "reconstruction", "t_edit", "seed")
    training = BlockTraining(**{name: options[name] for name in names})
    training.steps(run.timesteps)
    check_full(run)
    samples = list(fit.positives) or spread_samples(run, options["samples"])
    clip = load_clip(options["clip"], model.device)
    text = clip.direction(options["source"], options["target"])
    losses = []
    trained = train_block(run, model, samples, clip, text, training)
    while True:
        try:
            progress = next(trained)
        except StopIteration as end:
            block = end.value
            break
        losses.append(progress.loss)
        yield progress.share
    along = len(losses) // training.iterations
    told = {
        "loss": {"first": float(np.mean(losses[:along])), "last": float(np.mean(losses[-along:]))}
    }
    return (in_run_units([block], [1.0], run, model, {**fit.to_json(), **told}),)


def spread_samples(run: Run, count: int) -> list[int]:
    """Returns up to ``count`` of a run's samples, evenly spread."""
    if count < 1:
        raise UsageError(f"samples must be 1 or more, got {count}")
    rows = np.unique(np.linspace(0, len(run) - 1, min(count, len(run))).round().astype(int))
    return [int(sample) for sample in run.sample_ids[rows]]


def train_block(
    run: Run,
    model: Model,
    samples: Sequence[int],
    clip: Clip,
    text: torch.Tensor,
    training: BlockTraining,
) -> Generator[TrainingProgress, None, Block]:
    """Trains a block on some samples of a run.

    Args:
        run: The run, whose x_t are the unedited trajectories.
        model: The run's model.
        samples: Their numbers.
        clip: The CLIP model that judges the pictures.
        text: ΔT (d,).
        training: The other settings.

    Raises:
        AnalysisError: the loss is no longer finite.
    """
    generator = torch.Generator().manual_seed(training.seed)
    trainer = BlockTrainer(
        run, model, clip, text, training, first_weights(*widths_of(model), generator)
    )
    steps, done = training.steps(run.timesteps), 0
    batches = shuffled(samples, training.batch, generator)
    for _ in range(training.iterations):
        chosen = next(batches)
        x = trainer.x(chosen, 0)
        for index in steps:
            loss, x = trainer.step(chosen, x, index)
            if not np.isfinite(loss):
                raise AnalysisError(
                    f"the loss became {loss} at step {index}; lower the learning rate"
                )
            done += 1
            yield TrainingProgress(done / (training.iterations * len(steps)), loss)
    return trainer.block()


def shuffled(samples: Sequence[int], batch: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Yields batches without end, with every sample once before any sample repeats."""
    while True:
        order = [samples[i] for i in torch.randperm(len(samples), generator=generator).tolist()]
        for start in range(0, len(order), batch):
            yield order[start : start + batch]


def first_weights(c: int, d: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Returns a plain block with PyTorch's initial weights.

    Weights of layers are uniform in ±1/√(inputs), and those of norms are 1 and 0. The last layer is
    not zero, unlike in many residual blocks, because ΔI has no direction if nothing changes.
    """
    weights, inputs = {}, {}
    for name, shape in LAYERS[PLAIN].shapes(c, d).items():
        layer, _, part = name.rpartition(".")
        inputs.setdefault(layer, shape[1] if len(shape) > 1 else None)
        if inputs[layer] is None:
            weights[name] = torch.full(shape, float(part == "weight"))
        else:
            weights[name] = (2 * torch.rand(shape, generator=generator) - 1) / inputs[layer] ** 0.5
    return weights


class BlockTrainer:
    """The network f during training, with everything that a step needs."""

    def __init__(
        self,
        run: Run,
        model: Model,
        clip: Clip,
        text: torch.Tensor,
        training: BlockTraining,
        weights: Mapping[str, Any],
    ) -> None:
        self.run, self.model, self.clip, self.text, self.training = run, model, clip, text, training
        self.weights = {
            name: tensor.to(model.device).requires_grad_() for name, tensor in weights.items()
        }
        self.groups = gcd(GROUPS, model.anatomy.shape("h")[0])
        self.optimizer = torch.optim.Adam(self.weights.values(), lr=training.learning_rate)
        self.schedule = schedule_of(model, run.spec.steps, run.spec.schedule)
        # The sampler may clip P_t, and where it is clipped no gradient passes: the loss takes it as
        # it is.
        diffusion = isinstance(self.schedule, DiffusionSchedule)  # a flow does not clip
        self.unclipped = replace(self.schedule, clip=None) if diffusion else self.schedule

    def x(self, samples: Sequence[int], index: int) -> torch.Tensor:
        """Returns the cached x before a step, (n, c, h, w)."""
        return torch.from_numpy(np.stack([self.run.x(sample, index) for sample in samples])).to(
            self.model.device
        )

    def step(
        self, samples: Sequence[int], x: torch.Tensor, index: int
    ) -> tuple[float, torch.Tensor]:
        """Takes one step of the optimiser at one denoising step. It returns (loss, the edited x
        after it).
        """
        guided = conditions_of(self.model, self.run, samples).at(index)
        source = self.x(samples, index)
        with torch.no_grad():
            output = self._decode(guided, self._encode(guided, source, index), index)
            _, unedited = self.unclipped.split(output, source, index)
            before = self.clip.pictures(self._pictures(unedited))
            features = self._encode(guided, x, index)
            eps, _ = self.schedule.split(self._decode(guided, features, index), x, index)
            temb = time_embedding(
                self.model.network, 1, self.schedule.timesteps[index], x.device
            ).float()
        with torch.enable_grad():
            output = self._decode(
                guided, {name: self._edit(part, temb) for name, part in features.items()}, index
            )
            _, edited = self.unclipped.split(output, x, index)
            after = self.clip.pictures(self._pictures(edited))
            kept = (edited - unedited).abs().mean()
            loss = directional_loss(after, before, self.text) + self.training.reconstruction * kept
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        with torch.no_grad():
            _, x_0 = self.schedule.split(output, x, index)
            eta, seeds = self.run.spec.eta, [self.run.seed(sample) for sample in samples]
            noise = (
                step_noise(seeds, index, tuple(x.shape[1:])).to(x)
                if self.schedule.noisy(index, eta)
                else None
            )
            return float(loss), self.schedule.advance(x_0, eps, index, eta, noise)

    def block(self) -> Block:
        """Returns the trained block with its present weights."""
        weights = {
            name: tensor.detach().cpu().numpy().copy() for name, tensor in self.weights.items()
        }
        return Block(weights=weights, groups=self.groups)

    def _encode(self, guided: Guided, x: torch.Tensor, index: int) -> dict[str, Features]:
        """Returns the features of every branch of guidance."""
        t = self.schedule.timesteps[index]
        return {
            name: self.model.encode(x, t, condition) for name, condition in guided.branches.items()
        }

    def _decode(self, guided: Guided, features: Mapping[str, Features], index: int) -> torch.Tensor:
        """Returns the prediction of the network with all branches combined."""
        t, branches = self.schedule.timesteps[index], guided.branches
        return guided.combine(
            {name: self.model.decode(part, t, branches[name]) for name, part in features.items()}
        )

    def _edit(self, features: Features, temb: torch.Tensor) -> Features:
        """Returns the features with the current f added to h."""
        delta = delta_h(self.weights, self.groups, features.h.float(), temb)
        return features.replace({"h": features.h + delta.to(features.h.dtype)})

    def _pictures(self, x_0: torch.Tensor) -> torch.Tensor:
        """Returns P_t as pictures with gradients. A codec's own ``decode`` does not keep
        gradients.
        """
        codec = self.model.codec
        if not isinstance(codec, Autoencoder):
            return codec.decode(x_0)
        latents = (x_0 / codec.scale + codec.shift).to(codec.network.dtype)
        return codec.network.decode(latents, return_dict=False)[0].float()
