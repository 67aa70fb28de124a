"""Noise that belongs to its sample: the same in any batch, in any order, on any device."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def start_noise(seeds: Sequence[int], shape: tuple[int, ...]) -> torch.Tensor:
    """The noise x_T that samples start from.

    (n, *shape) float32 on the CPU, row i from a CPU generator of ``seeds[i]`` alone.
    """
    return torch.stack(
        [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )


def step_noise(seeds: Sequence[int], index: int, shape: tuple[int, ...]) -> torch.Tensor:
    """The noise z (n, *shape) of step ``index``.

    From (seed, index) alone, so that a trajectory can be taken up anywhere.
    """
    rows = []
    for seed in seeds:
        mixed = (seed * 0x9E3779B97F4A7C15 + (index + 1) * 0xBF58476D1CE4E5B9) % 2**63
        rows.append(torch.randn(shape, generator=torch.Generator().manual_seed(mixed)))
    return torch.stack(rows)
