"""Common alternatives: diffusers' own loop, and the loop with forward hooks and ``torch.save``.

The code is written as in notebooks. Only the noise comes from hcache, so that both sides start from
the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import DDIMScheduler

from ..models.model import Model
from ..sampling.noise import start_noise


def plain_loop(model: Model, seeds: Sequence[int], steps: int) -> torch.Tensor:
    """Samples without storing anything.

    Returns pictures (n, height, width, 3) uint8.
    """
    scheduler = DDIMScheduler.from_config(model.scheduler.config)
    scheduler.set_timesteps(steps)
    x = start_noise(seeds, model.anatomy.x).to(model.device)
    text = model.condition(n=len(seeds)).branches["cond"].text
    with torch.no_grad():
        for t in scheduler.timesteps:
            output = full_call(model, x, t, text)
            x = scheduler.step(output[:, : x.shape[1]].float(), t, x).prev_sample
    return model.to_images(x)


def full_call(
    model: Model, x: torch.Tensor, t: torch.Tensor, text: torch.Tensor | None
) -> torch.Tensor:
    """Calls the network as diffusers does."""
    if text is None:
        return model.network(x.to(model.dtype), t).sample
    return model.network(x.to(model.dtype), t, encoder_hidden_states=text).sample


def hooked_loop(model: Model, seeds: Sequence[int], steps: int, folder: Path, skips: bool) -> int:
    """Runs the plain loop with hooks, and writes one ``.pt`` per sample.

    Hooks append to lists. A file has h, x and optionally all skips. Returns the bytes.
    """
    network, h, taken, xs = model.network, [], [], []
    hooks = [
        network.mid_block.register_forward_hook(
            lambda module, args, out: h.append(out.detach().cpu())
        )
    ]
    hooks.append(
        network.register_forward_pre_hook(lambda module, args: xs.append(args[0].detach().cpu()))
    )
    if skips:
        hooks.append(
            network.conv_in.register_forward_hook(
                lambda module, args, out: taken.append([out.cpu()])
            )
        )
        for block in network.down_blocks:
            hooks.append(
                block.register_forward_hook(
                    lambda module, args, out: taken[-1].extend(s.cpu() for s in out[1])
                )
            )
    try:
        pictures = plain_loop(model, seeds, steps)
    finally:
        for hook in hooks:
            hook.remove()
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for row, seed in enumerate(seeds):
        sample = {
            "h": torch.stack([step[row] for step in h]),
            "x": torch.stack([step[row] for step in xs]),
            "image": pictures[row].clone(),
        }
        if skips:
            sample["skips"] = [
                torch.stack([step[i][row] for step in taken]) for i in range(len(taken[0]))
            ]
        path = folder / f"{seed:05d}.pt"
        torch.save(sample, path)
        written += path.stat().st_size
    return written
