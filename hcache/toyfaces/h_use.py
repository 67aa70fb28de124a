"""Measures how much a decoder uses h: what h adds to its first block, and what is lost without h.

    found = h_use(load_model("toyfaces-ldm-64"), samples=64, steps=20)

An edit of h that changes nothing may say something about a model's h-space. It may also say that
the network never learned to use its innermost level. These numbers distinguish the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from ..features import Features
from ..models.model import Model
from ..sampling.loop import Moment, denoise
from .factors import NAMES
from .reader import read

SEED = 3_000_000
"""The seed of the first sample. None of these samples is used to fit a direction."""


def first_block_shares(model: Model, features: Features) -> tuple[float, float]:
    """Measures the shares of h and the first skip in the decoder.

    They are what each adds to the decoder's first convolution.

    The first resnet of the decoder normalises h and the first skip of group 1 together, applies its
    activation and a convolution. A convolution is linear, so its output is the sum of what h's
    channels give and what the skip's give.

    Args:
        model: A model with a U-Net.
        features: The features of n samples at one step.

    Returns:
        The root mean square of each part, over samples, channels and places, without the bias.
    """
    resnet = model.network.up_blocks[0].resnets[0]
    skip = features["skip.1.0"]
    with torch.inference_mode():
        joined = resnet.nonlinearity(resnet.norm1(torch.cat([features.h, skip], 1)))
        kernel, channels = resnet.conv1.weight, features.h.shape[1]
        parts = (
            (joined[:, :channels], kernel[:, :channels]),
            (joined[:, channels:], kernel[:, channels:]),
        )
        h, skipped = (nn.functional.conv2d(x, k, padding=resnet.conv1.padding) for x, k in parts)
    return float(h.square().mean().sqrt()), float(skipped.square().mean().sqrt())


def without_h(features: Features, _: Moment) -> Features:
    """Replaces h by its mean over the batch, as an edit.

    The mean is the same for every sample.
    """
    return features.replace({"h": features.h.mean(0, keepdim=True).expand_as(features.h)})


def h_use(model: Model, samples: int = 64, steps: int = 20) -> dict[str, Any]:
    """Takes both measures, on samples that no direction was fitted to.

    Returns:
        ``first_block``: by step, ``[h, skip]`` as :func:`first_block_shares` gives them.
        ``without``: by factor, the mean absolute change of its reading when h is replaced by its
        mean over the samples at every step, in standard deviations of the reading.
    """
    seeds = range(SEED, SEED + samples)
    shares, last = [], None
    for step in denoise(model, seeds, steps):
        shares.append(first_block_shares(model, step.features))
        last = step.x_next
    *_, removed = denoise(model, seeds, steps, edit=without_h)
    assert last is not None, "there is a step"
    before, after = (read(model.to_images(x).numpy()) for x in (last, removed.x_next))
    return {
        "samples": samples,
        "steps": steps,
        "first_block": [list(share) for share in shares],
        "without": {
            name: float(np.abs(after[name] - before[name]).mean() / before[name].std())
            for name in NAMES
        },
    }
