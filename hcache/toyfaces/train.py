"""Trains what ships in ``weights/``: the diffusion model and the attribute reader.

    python -m hcache.toyfaces.train ddpm   --work DIR [--steps N] [--device cpu|cuda]
    python -m hcache.toyfaces.train reader --work DIR

Training is seeded and goes on from its last checkpoint in ``--work``: what step k sees follows from (seed, k)
alone. The learning rate is constant but for a warm-up and a final linear decay, so a run can be shortened or
lengthened by starting it again with another ``--steps``.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMPipeline, UNet2DModel
from safetensors.torch import save_file
from torch import nn
from tqdm import tqdm

from .drawing import draw_dataset
from .factors import FACTORS
from .reader import WEIGHTS, Reader

HELD_OUT = 10_000_000
"""Seeds from here on are never trained on."""

COARSE = {8: 0.05, 64: 0.02}
"""Side of the squares over which the error is averaged -> how much that counts."""


@dataclass(frozen=True, kw_only=True)
class Training:
    steps: int
    batch: int
    learning_rate: float
    faces: int
    seed: int = 0
    warmup: int = 200
    decay: float = 0.25
    ema: float = 0.999
    save_every: int = 100

    def rate(self, step: int) -> float:
        """The learning rate of a step: linear warm-up, constant, linear decay over the last ``decay`` of all steps."""
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, left)


def toyfaces_unet() -> UNet2DModel:
    """Four levels of two resnets: 12 skips in 4 groups of 3, as in Stable Diffusion; h is (128, 8, 8).

    Narrow where the picture is large, wide at the bottleneck: cheap, and what is global has to be settled there.
    Few norm groups: one a channel at the outer level would take out each channel's mean, and with it the colours.
    """
    return UNet2DModel(
        sample_size=64,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=(16, 32, 96, 128),
        down_block_types=("DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
        attention_head_dim=32,
        norm_num_groups=4,
    )


def toyfaces_scheduler() -> DDIMScheduler:
    """Linear betas; predicted x_0 clipped, but at 1.5: while it is still noisy, clipping at 1 greys its mean colour."""
    return DDIMScheduler(
        num_train_timesteps=1000, beta_schedule="linear", timestep_spacing="trailing", clip_sample_range=1.5
    )


def render(count: int, first_seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Drawings (n, 3, 64, 64) uint8 and their factors (n, 8) float32."""
    chunks = [range(i, min(i + 500, first_seed + count)) for i in range(first_seed, first_seed + count, 500)]
    with get_context("spawn").Pool(os.cpu_count()) as pool:
        parts = list(tqdm(pool.imap(draw_dataset, chunks), total=len(chunks), desc="drawing", unit="x500"))
    images = torch.from_numpy(np.concatenate([p[0] for p in parts])).permute(0, 3, 1, 2).contiguous()
    return images, torch.from_numpy(np.concatenate([p[1] for p in parts]))


def diffusion_loss(unet: nn.Module, alpha_bar: torch.Tensor) -> Callable[..., torch.Tensor]:
    """Weighted squared error of the predicted noise; timesteps stratified over the batch.

    At high noise a small error of ε is a large one of x_0, by √((1-ᾱ)/ᾱ), and it is there that colours and pose are
    decided. The plain loss hardly sees it, which long training makes up for; a short one weighs it by that factor.
    What is coarse is a few of thousands of coefficients, so its error is counted again, as if it were of all of them.
    """
    weight = ((1 - alpha_bar) / alpha_bar).sqrt().clamp(1.0, 4.0)

    def loss(images: torch.Tensor, _: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Of drawings (n, 3, h, w) uint8 at random timesteps."""
        x_0 = images.float() / 127.5 - 1
        n, device = len(x_0), x_0.device
        u = (torch.arange(n) + torch.rand(n, generator=rng)) / n
        t = (u * len(alpha_bar)).long().clamp(max=len(alpha_bar) - 1)
        noise = torch.randn(x_0.shape, generator=rng).to(device)
        a = alpha_bar[t].view(n, 1, 1, 1).to(device)
        eps = unet(a.sqrt() * x_0 + (1 - a).sqrt() * noise, t.to(device), return_dict=False)[0]
        error = eps - noise
        total = error.square().mean((1, 2, 3))
        for side, share in COARSE.items():
            total = total + share * side**2 * nn.functional.avg_pool2d(error, side).square().mean((1, 2, 3))
        return (total * weight[t].to(device)).mean()

    return loss


def reader_loss(reader: Reader) -> Callable[..., torch.Tensor]:
    """Squared error (cross-entropy for binary factors) under random blur and noise, as few-step samples have them."""

    def loss(images: torch.Tensor, factors: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Of drawings (n, 3, h, w) uint8 with their factors (n, 8)."""
        raw = reader.logits(degrade(images.float() / 127.5 - 1, rng))
        total = raw.new_zeros(())
        for i, factor in enumerate(FACTORS):
            if factor.binary:
                total = total + nn.functional.binary_cross_entropy_with_logits(raw[:, i], factors[:, i])
            else:
                spread = (factor.high - factor.low) / 12**0.5
                total = total + ((raw[:, i] - factors[:, i]) / spread).square().mean()
        return total / len(FACTORS)

    return loss


def degrade(image: torch.Tensor, rng: torch.Generator, blur: float = 1.0, noise: float = 0.1) -> torch.Tensor:
    """Each image (n, 3, h, w) mixed with its 3 x 3 mean by a random share, plus noise of a random level."""
    n = len(image)
    share = blur * torch.rand(n, 1, 1, 1, generator=rng).to(image.device)
    level = noise * torch.rand(n, 1, 1, 1, generator=rng).to(image.device)
    soft = nn.functional.avg_pool2d(nn.functional.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return torch.lerp(image, soft, share) + level * torch.randn(image.shape, generator=rng).to(image.device)


def train(model: nn.Module, make_loss: Callable, data: tuple[torch.Tensor, torch.Tensor], plan: Training,
          checkpoint: Path, device: str) -> dict[str, torch.Tensor]:  # fmt: skip
    """Trains until ``plan.steps`` and returns the moving average of the weights. Ctrl-C saves and stops."""
    model.to(device).train()
    images, factors = (d.to(device) for d in data)
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, weight_decay=1e-4)
    average = {k: v.detach().clone().float() for k, v in model.state_dict().items()}
    step, seconds = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        average, step, seconds = saved["average"], saved["step"], saved["seconds"]
    loss_of, smooth, started = make_loss(model), None, time.monotonic() - seconds

    def save() -> None:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average,
                 "step": step, "seconds": time.monotonic() - started}  # fmt: skip
        partial = checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, checkpoint)

    bar = tqdm(total=plan.steps, initial=step, desc=checkpoint.stem, unit="step", mininterval=5)
    try:
        while step < plan.steps:
            rng = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
            rows = torch.randint(len(images), (plan.batch,), generator=rng).to(device)
            for group in optimizer.param_groups:
                group["lr"] = plan.rate(step)
            loss = loss_of(images[rows], factors[rows], rng)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            decay = min(plan.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                for k, v in model.state_dict().items():
                    average[k].lerp_(v.float(), 1 - decay)
            step += 1
            smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
            bar.update()
            bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
            if step % plan.save_every == 0:
                save()
    finally:
        save()
        bar.close()
    return average


def export_pipeline(unet: UNet2DModel, folder: Path) -> None:
    """Writes a diffusers folder with float16 weights; whoever loads it chooses the dtype to compute in."""
    DDPMPipeline(unet=unet.half(), scheduler=toyfaces_scheduler()).save_pretrained(folder)


def main(argv: list[str] | None = None) -> None:
    """The command: trains the model or the reader, and writes it where it ships from."""
    parser = argparse.ArgumentParser(prog="python -m hcache.toyfaces.train", description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=("ddpm", "reader"))
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints; training goes on from there")
    parser.add_argument("--out", type=Path, help="where the result goes (default: into the package's weights/)")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--faces", type=int, default=20_000, help="drawings to train on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    data = render(args.faces)
    checkpoint = args.work / f"{args.what}.pt"
    if args.what == "ddpm":
        plan = Training(steps=args.steps or 6000, batch=args.batch or 16, learning_rate=5e-4,
                        faces=args.faces, seed=args.seed)  # fmt: skip
        unet = toyfaces_unet()
        alpha_bar = toyfaces_scheduler().alphas_cumprod
        average = train(unet, lambda m: diffusion_loss(m, alpha_bar), data, plan, checkpoint, args.device)
        unet.load_state_dict(average)
        export_pipeline(unet.cpu(), args.out or WEIGHTS.parent / "toyfaces-ddpm-64")
    else:
        plan = Training(steps=args.steps or 4000, batch=args.batch or 64, learning_rate=2e-3,
                        faces=args.faces, seed=args.seed)  # fmt: skip
        average = train(Reader(), reader_loss, data, plan, checkpoint, args.device)
        out = args.out or WEIGHTS
        out.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.cpu().contiguous() for k, v in average.items()}, out)


if __name__ == "__main__":
    main()
