"""Noise that depends only on the sample: it is the same in any batch, in any order, on any
device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def start_noise(seeds: Sequence[int], shape: tuple[int, ...]) -> torch.Tensor:
    """Returns the noise x_T that samples start from.

    It is (n, *shape) float32 on the CPU. Row i comes only from a CPU generator with ``seeds[i]``.
    """
    return torch.stack(
        [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )


def step_noise(seeds: Sequence[int], index: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Returns the noise z (n, *shape) of step ``index``.

    It depends only on (seed, index), so a trajectory can be continued anywhere.
    """
    rows = []
    for seed in seeds:
        mixed = (seed * 0x9E3779B97F4A7C15 + (index + 1) * 0xBF58476D1CE4E5B9) % 2**63
        rows.append(torch.randn(shape, generator=torch.Generator().manual_seed(mixed)))
    return torch.stack(rows)
