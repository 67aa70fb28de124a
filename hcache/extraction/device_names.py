"""The names of devices in a run's provenance."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence

import torch


def device_names(devices: Sequence[str]) -> str:
    """Returns the names of the hardware of PyTorch devices.

    The name is ``x86_64``, or gives the numbers and kinds of GPUs.
    """
    found = Counter(
        torch.cuda.get_device_name(d) if d.startswith("cuda") else platform.machine()
        for d in devices
    )
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in found.items())
