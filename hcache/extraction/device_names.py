"""What devices are called in a run's provenance."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence

import torch


def device_names(devices: Sequence[str]) -> str:
    """Names the hardware behind devices that PyTorch names.

    The name is ``x86_64``, or says how many GPUs of which kinds.
    """
    found = Counter(
        torch.cuda.get_device_name(d) if d.startswith("cuda") else platform.machine()
        for d in devices
    )
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in found.items())
