"""LPIPS: how far two pictures are apart to the layers of an image classifier, as people judge it.

torchmetrics computes it, and ships its linear heads. The backbone is torchvision's AlexNet, whose
ImageNet weights are a file of torch's hub folder. Nothing is downloaded here: where something is
missing, the error says what and from where.

References:
    The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (Zhang, Isola, Efros,
        Shechtman, Wang, 2018), https://arxiv.org/abs/1801.03924
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError, UsageError
from .likeness import Distance
from .pretrained import first_line

LPIPS = "LPIPS"
LEAST = 64
"""The smallest side in pixels for AlexNet's layers. Smaller pictures are enlarged."""


def lpips_distance(device: str = "auto") -> dict[str, Distance]:
    """The LPIPS distance with AlexNet, by its name.

    Raises:
        UsageError: the packages that compute it are not installed.
        ModelError: AlexNet's weights are not on this disk.
    """
    try:
        metric = import_module(
            "torchmetrics.functional.image"
        ).learned_perceptual_image_patch_similarity
        url = import_module("torchvision.models").AlexNet_Weights.DEFAULT.url
    except (ImportError, RuntimeError) as error:  # the latter: torchvision for another torch
        raise UsageError(
            f"LPIPS needs torchmetrics and torchvision ({first_line(error)}); install those"
            " that fit this torch with `pip install hcache[lpips]`"
        ) from error
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        raise ModelError(f"LPIPS needs the weights of AlexNet: download {url} as {path}")
    chosen = "cuda" if torch.cuda.is_available() else "cpu"
    place = torch.device(chosen if device == "auto" else device)

    @torch.inference_mode()
    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        one, other = (_tensor(pictures).to(place) for pictures in (a, b))
        found = metric(one, other, net_type="alex", reduction="none", normalize=True)
        return found.reshape(len(a)).double().cpu().numpy()

    return {LPIPS: distance}


def _tensor(pictures: np.ndarray) -> Any:
    """Returns pictures (n, height, width, 3) uint8 as (n, 3, height, width) in [0, 1]."""
    import torch

    found = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    if min(found.shape[2:]) >= LEAST:
        return found
    scale = -(-LEAST // min(found.shape[2:]))
    return torch.nn.functional.interpolate(found, scale_factor=scale, mode="nearest")
