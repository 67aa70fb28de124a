"""What devices are called in a run's provenance."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence

import torch


def device_names(devices: Sequence[str]) -> str:
    """``x86_64``, or how many of which GPUs, for devices as PyTorch names them."""
    found = Counter(
        torch.cuda.get_device_name(d) if d.startswith("cuda") else platform.machine()
        for d in devices
    )
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in found.items())
