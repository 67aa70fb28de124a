"""Describes the machine of a table, as far as it matters for the numbers."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import psutil

from ..allocator import SETTINGS
from ..cache.provenance import library_versions


def describe_machine(kept: bool) -> dict[str, Any]:
    """Returns processor, cores, threads, memory, GPUs and libraries.

    ``kept``: whether freed memory stays in the process.
    """
    import torch

    given = [name for name in SETTINGS if name in os.environ]
    allocator = "keeps freed memory, as hcache's own jobs do" if kept else "as the system has it"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory": psutil.virtual_memory().total,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": library_versions(),
        "allocator": f"set by the environment: {', '.join(given)}" if given else allocator,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def in_words(machine: dict[str, Any]) -> str:
    """Returns the machine in one or two lines."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    return (
        f"{machine['processor']}, {machine['cores']} cores of which {machine['threads']} are used,"
        f" {machine['memory'] / 1e9:.0f} GB, {gpus}; {machine['system']}, Python"
        f" {machine['python']}, {versions}\nboth sides of every ratio in the same process or the"
        f" same kind of process; allocator {machine['allocator']}; load when it began"
        f" {machine['load']}"
    )


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
