"""hcache: caches what passes through a diffusion U-Net's bottleneck and skips, and measures what it
means.

    from hcache import load_model, denoise, open_run

Names are imported when first used: reading a cache loads no torch.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# A checkout runs without an installer, which would refuse.
if sys.version_info < (3, 11):  # noqa: UP036
    raise ImportError(
        "hcache needs Python 3.11 or newer, and this is"
        f" {sys.version_info[0]}.{sys.version_info[1]}; start it with a newer one, such as"
        " `python3.11 -m hcache`",
        name=__name__,  # with it `python -m hcache` prints only this line, without a traceback
    )
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
"""Switches HDF5's locks off. h5py reads this once, when it is first imported. Disks of clusters
often cannot lock, and HDF5's locks are not needed here: finished shards never change, and hcache's
own lock controls who writes.
"""

if TYPE_CHECKING:
    from .cache.reading import Run, open_run
    from .errors import HcacheError
    from .features import Features
    from .models.loading import load_anatomy, load_model
    from .models.model import Model
    from .sampling.loop import Step, denoise
    from .specs import Anatomy, RunSpec

_HOMES = {
    "Anatomy": "specs",
    "Features": "features",
    "HcacheError": "errors",
    "Model": "models.model",
    "Run": "cache.reading",
    "RunSpec": "specs",
    "Step": "sampling.loop",
    "denoise": "sampling.loop",
    "load_anatomy": "models.loading",
    "load_model": "models.loading",
    "open_run": "cache.reading",
}

__all__ = [
    "Anatomy",
    "Features",
    "HcacheError",
    "Model",
    "Run",
    "RunSpec",
    "Step",
    "__version__",
    "denoise",
    "load_anatomy",
    "load_model",
    "open_run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hcache' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
