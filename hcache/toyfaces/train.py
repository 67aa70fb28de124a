"""Trains the networks that ship in ``weights/``: diffusion models, an autoencoder and readers.

    python -m hcache.toyfaces.train ddpm|adm|ldm|dogs|reader|dogs-reader --work DIR
        [--steps N] [--start FOLDER] [--device cpu|cuda]

Training is seeded and resumes from its last checkpoint in ``--work``. On one kind of device,
(seed, k) decides what step k sees. The learning rate is constant, with a warm-up and a final linear
decay, so starting again with another ``--steps`` shortens or lengthens a training.
Models on pixels are trained first on ε and then on v. ``ldm`` trains its autoencoder first. With
``--start``, the weights of a folder replace what is trained first.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DModel, VQModel
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from . import dogs, networks
from .dogs_reader import WEIGHTS as DOGS_READER
from .dogs_reader import DogReader, dog_reader_loss
from .drawing import draw_dataset
from .losses import as_signed, autoencoder_loss, diffusion_loss, reader_loss, velocity_loss
from .reader import WEIGHTS, FaceReader

HELD_OUT = 10_000_000
"""The first of the seeds that are never trained on."""

SMOOTHING = 0.98
"""The smoothing of the loss in the progress bar, from step to step."""

LATENT_COARSE = {2: 0.05, 16: 0.02}
"""The same as ``losses.COARSE``, for latents with a quarter of the side."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """The plan of a training.

    ``warmup``: steps of the linear warm-up. ``decay``: the share of the steps in which the learning
    rate falls linearly. ``ema``: the decay of the weights' moving average.
    """

    steps: int
    batch: int
    learning_rate: float
    seed: int = 0
    warmup: int = 200
    decay: float = 0.25
    ema: float = 0.999
    save_every: int = 100

    def rate(self, step: int) -> float:
        """Returns the learning rate of a step.

        It has a linear warm-up, then is constant, and falls linearly over the last ``decay`` of all
        steps.
        """
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, left)


def render(
    count: int, first_seed: int = 0, draw: Callable[[range], Any] = draw_dataset
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws the training data with ``draw``.

    Returns drawings (n, 3, 64, 64) uint8 and their factors (n, 8) float32.
    """
    chunks = [
        range(i, min(i + 500, first_seed + count))
        for i in range(first_seed, first_seed + count, 500)
    ]
    with get_context("spawn").Pool(os.cpu_count()) as pool:
        parts = list(tqdm(pool.imap(draw, chunks), total=len(chunks), desc="drawing", unit="x500"))
    images = (
        torch.from_numpy(np.concatenate([p[0] for p in parts])).permute(0, 3, 1, 2).contiguous()
    )
    return images, torch.from_numpy(np.concatenate([p[1] for p in parts]))


def train(
    model: nn.Module,
    make_loss: Callable,
    data: tuple[torch.Tensor, torch.Tensor],
    plan: Training,
    checkpoint: Path,
    device: str,
) -> dict[str, torch.Tensor]:
    """Trains a network, and returns the moving average of its weights.

    It continues from the checkpoint, if there is one. Ctrl-C saves and stops.
    """
    cuda = torch.device(device).type == "cuda"
    model.to(device).train()
    if not cuda:  # before anything refers to its tensors: this replaces them
        # ty: ignore[no-matching-overload]  # torch does not declare it
        model.to(memory_format=torch.channels_last)
    images, factors = (d.to(device) for d in data)
    at_work = _AtWork.of(model, plan, checkpoint, device)
    began, rng, loss_of = at_work.step, torch.Generator(device), make_loss(model)
    smooth = torch.zeros((), device=device)

    def descend() -> None:
        """Takes one step down the gradient. Nothing in it waits for the device."""
        rows = torch.randint(len(images), (plan.batch,), generator=rng, device=device)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not cuda):
            loss = loss_of(images[rows], factors[rows], rng)
        at_work.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        at_work.optimizer.step()
        smooth.lerp_(loss.detach(), 1 - SMOOTHING)

    replay = Recorded(descend, rng)
    bar = tqdm(total=plan.steps, initial=began, desc=checkpoint.stem, unit="step", mininterval=5)
    try:
        while at_work.step < plan.steps:
            rng.manual_seed(plan.seed * 1_000_003 + at_work.step)
            at_work.rate.fill_(plan.rate(at_work.step))
            replay()
            at_work.count(plan.ema)
            bar.update()
            if at_work.step % plan.save_every == 0:
                loss = smooth.item() / (1 - SMOOTHING ** (at_work.step - began))
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                at_work.save()
    finally:
        at_work.save()
        bar.close()
    return at_work.average


@dataclass(kw_only=True)
class _AtWork:
    """A training at work: what a checkpoint holds, and where it goes.

    ``rate`` is the optimizer's learning rate, ``average`` the moving average of the weights,
    ``started`` when the training would have begun had it never stopped, in monotonic seconds.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    rate: torch.Tensor
    weights: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    checkpoint: Path
    step: int = 0
    started: float

    @classmethod
    def of(cls, model: nn.Module, plan: Training, checkpoint: Path, device: str) -> _AtWork:
        """Returns a new training, or one that continues from its checkpoint."""
        rate = torch.tensor(plan.learning_rate, device=device)
        optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=rate,
            weight_decay=1e-4,
            fused=True,
            capturable=torch.device(device).type == "cuda",
        )
        weights = model.state_dict()
        average = {k: v.detach().clone() for k, v in weights.items()}
        step, seconds = 0, 0.0
        if checkpoint.exists():
            saved = torch.load(checkpoint, map_location=device, weights_only=True)
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            average, step, seconds = saved["average"], saved["step"], saved["seconds"]
            for group in optimizer.param_groups:
                group["lr"] = rate
        return cls(
            model=model,
            optimizer=optimizer,
            rate=rate,
            weights=weights,
            average=average,
            checkpoint=checkpoint,
            step=step,
            started=time.monotonic() - seconds,
        )

    def count(self, most: float) -> None:
        """Adds the weights after a step to the average; ``most``: its decay."""
        average_in = get_ema_multi_avg_fn(min(most, (1 + self.step) / (10 + self.step)))
        average_in(list(self.average.values()), list(self.weights.values()), None)
        self.step += 1

    def save(self) -> None:
        """Writes the checkpoint completely or not at all."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
            "seconds": time.monotonic() - self.started,
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)


class Recorded:
    """A function without arguments that draws on a generator. On CUDA its kernels are recorded and
    then replayed.

    These networks are small: a GPU computes a kernel in less time than it takes to launch it one by
    one.
    """

    WARM = 3
    """Calls before it is recorded, in a stream of their own, in which libraries settle on their
    kernels.
    """

    def __init__(self, call: Callable[[], None], rng: torch.Generator) -> None:
        self._call, self._rng, self._calls = call, rng, 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self._rng.device.type != "cuda":
            self._call()
        elif self._graph is not None:
            self._graph.replay()
        elif self._calls < self.WARM:
            self._aside()
        else:
            self._graph = torch.cuda.CUDAGraph()
            self._graph.register_generator_state(self._rng)
            with torch.cuda.graph(self._graph):
                self._call()
            self._graph.replay()
        self._calls += 1

    def _aside(self) -> None:
        stream, here = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            self._call()
        here.wait_stream(stream)


def train_pixels(
    kind: str,
    data: tuple[torch.Tensor, torch.Tensor],
    plan: Training,
    first: Training,
    work: Path,
    out: Path,
    device: str,
    start: Path | None = None,
) -> None:
    """Trains a model on drawings and writes its folder.

    It learns to predict first ε and then v.
    Training on ε teaches the network to use h, and leaves grain in its samples. A short training on
    v removes the grain. A network that is trained on v alone does not use h (docs/results).

    Args:
        kind: A key of ``PIXELS``.
        data: The result of :func:`render`.
        plan: The plan of the training on v.
        first: The plan of the training on ε.
        start: A folder whose weights replace the training on ε.
    """
    unet = PIXELS[kind]()
    alpha_bar = networks.pixel_scheduler().alphas_cumprod.to(device)
    if start is not None:
        found = UNet2DModel.from_pretrained(start, subfolder="unet").state_dict()
    else:
        found = train(
            unet,
            lambda m: diffusion_loss(m, alpha_bar),
            data,
            first,
            work / f"{kind}-epsilon.pt",
            device,
        )
    unet.load_state_dict(found)
    unet.load_state_dict(
        train(unet, lambda m: velocity_loss(m, alpha_bar), data, plan, work / f"{kind}.pt", device)
    )
    networks.write_pixel_folder(unet.cpu(), out)


def train_latent(
    data: tuple[torch.Tensor, torch.Tensor],
    plan: Training,
    first: Training,
    work: Path,
    out: Path,
    device: str,
    start: Path | None = None,
    autoencoder: Path | None = None,
) -> None:
    """Trains an autoencoder and then a U-Net in its latents.

    The autoencoder is trained by the plan ``first``, or taken from the folder ``autoencoder``. Both
    networks are written into one folder.
    """
    if autoencoder is None:
        network = train_autoencoder(data, first, work, device, start)
    else:
        network = VQModel.from_pretrained(autoencoder, subfolder="vqvae").to(device).eval()
    with torch.inference_mode():
        latents = [
            network.encode(as_signed(part).to(device)).latents.cpu() for part in data[0].split(100)
        ]
    unet, alpha_bar = networks.ldm_unet(), networks.latent_scheduler().alphas_cumprod.to(device)
    if start is not None:
        unet.load_state_dict(UNet2DModel.from_pretrained(start, subfolder="unet").state_dict())
    average = train(
        unet,
        lambda m: diffusion_loss(m, alpha_bar, coarse=LATENT_COARSE),
        (torch.cat(latents), data[1]),
        plan,
        work / "ldm.pt",
        device,
    )
    unet.load_state_dict(average)
    networks.write_latent_folder(unet.cpu(), network.cpu(), out)


def train_autoencoder(
    data: tuple[torch.Tensor, torch.Tensor],
    plan: Training,
    work: Path,
    device: str,
    start: Path | None = None,
) -> VQModel:
    """Trains the autoencoder, for half of the steps without its codebook.

    The second half has a codebook that starts as latents of drawings. Every code is then used.
    Codes that start elsewhere are mostly never the nearest. Weights of ``start`` already have a
    codebook, and need only the second half.
    """
    network = networks.vq_autoencoder()
    half = replace(plan, steps=plan.steps // 2)
    if start is not None:
        network.load_state_dict(VQModel.from_pretrained(start, subfolder="vqvae").state_dict())
        network.load_state_dict(
            train(
                network,
                lambda m: autoencoder_loss(m, quantised=True),
                data,
                half,
                work / "vq.pt",
                device,
            )
        )
        return network.to(device).eval()
    first = train(
        network,
        lambda m: autoencoder_loss(m, quantised=False),
        data,
        half,
        work / "autoencoder.pt",
        device,
    )
    network.load_state_dict(first)
    network.to(device)
    rng = torch.Generator().manual_seed(plan.seed)
    rows = torch.randint(len(data[0]), (500,), generator=rng)
    latents = (
        networks.standardise(network, as_signed(data[0][rows]).to(device))
        .movedim(1, -1)
        .reshape(-1, 3)
    )
    chosen = torch.randperm(len(latents), generator=rng)[: networks.LATENT_CODES]
    network.quantize.embedding.weight.data.copy_(latents[chosen.to(device)])
    second = train(
        network, lambda m: autoencoder_loss(m, quantised=True), data, half, work / "vq.pt", device
    )
    network.load_state_dict(second)
    return network.to(device).eval()


def train_reader(
    kind: str,
    data: tuple[torch.Tensor, torch.Tensor],
    plan: Training,
    work: Path,
    out: Path,
    device: str,
) -> None:
    """Trains the reader of faces or of dogs and writes its weights."""
    make, make_loss, _ = READERS[kind]
    average = train(make(), make_loss, data, plan, work / f"{kind}.pt", device)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.cpu().contiguous() for k, v in average.items()}, out)


PIXELS = {"ddpm": networks.ddpm_unet, "adm": networks.adm_unet, "dogs": networks.dogs_unet}
"""Models on pixels -> their network. All predict v."""

READERS = {
    "reader": (FaceReader, reader_loss, WEIGHTS),
    "dogs-reader": (DogReader, dog_reader_loss, DOGS_READER),
}
"""Readers -> network, loss, and where the weights ship from."""

OF_DOGS = ("dogs", "dogs-reader")
"""The networks that are trained on drawn dogs; all others are trained on drawn faces."""

PLANS = {
    "ddpm": Training(steps=1500, batch=16, learning_rate=3e-4),
    "adm": Training(steps=1500, batch=16, learning_rate=3e-4),
    "ldm": Training(steps=8000, batch=32, learning_rate=5e-4),
    "dogs": Training(steps=1500, batch=16, learning_rate=3e-4),
    "reader": Training(steps=4000, batch=64, learning_rate=2e-3),
    "dogs-reader": Training(steps=4000, batch=64, learning_rate=2e-3),
}

FIRST = {
    "ddpm": Training(steps=10_000, batch=16, learning_rate=5e-4),
    "adm": Training(steps=10_000, batch=16, learning_rate=5e-4),
    "ldm": Training(steps=3000, batch=16, learning_rate=1e-3),
    "dogs": Training(steps=6000, batch=16, learning_rate=5e-4),
}
"""The first training: on ε for models on pixels, of the autoencoder for the latent one."""


def build_parser() -> argparse.ArgumentParser:
    """Returns the command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m hcache.toyfaces.train", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("what", choices=list(PLANS))
    parser.add_argument(
        "--work",
        type=Path,
        required=True,
        help="folder for checkpoints; training resumes from it",
    )
    parser.add_argument("--out", type=Path, help="output (default: in the package's weights/)")
    parser.add_argument("--steps", type=int)
    parser.add_argument(
        "--first-steps",
        type=int,
        help="steps of what is trained first: on ε (ddpm, adm, dogs), or the autoencoder (ldm)",
    )
    parser.add_argument(
        "--autoencoder", type=Path, help="folder whose autoencoder ldm uses unchanged"
    )
    parser.add_argument("--batch", type=int)
    parser.add_argument(
        "--start", type=Path, help="folder in diffusers' format with the first weights"
    )
    parser.add_argument("--rate", type=float, help="learning rate")
    parser.add_argument(
        "--faces", type=int, default=20_000, help="number of drawings to train on (faces or dogs)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Trains a model or a reader and writes it."""
    args = build_parser().parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    torch.backends.cudnn.benchmark = True
    data = render(args.faces, draw=dogs.draw_dataset if args.what in OF_DOGS else draw_dataset)
    plan = PLANS[args.what]
    plan = replace(
        plan,
        steps=args.steps or plan.steps,
        batch=args.batch or plan.batch,
        seed=args.seed,
        learning_rate=args.rate or plan.learning_rate,
    )
    if args.what in READERS:
        out = args.out or READERS[args.what][2]
        train_reader(args.what, data, plan, args.work, out, args.device)
        return
    name = "toydogs-ddpm-64" if args.what == "dogs" else f"toyfaces-{args.what}-64"
    out = args.out or WEIGHTS.parent / name
    first = FIRST[args.what]
    first = replace(first, steps=args.first_steps or first.steps, seed=args.seed)
    if args.what == "ldm":
        train_latent(data, plan, first, args.work, out, args.device, args.start, args.autoencoder)
    else:
        train_pixels(args.what, data, plan, first, args.work, out, args.device, args.start)


if __name__ == "__main__":
    main()
