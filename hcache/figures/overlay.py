"""A map of values laid over a picture, in colours."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from PIL import Image

from .palette import SEQUENTIAL

SHARE = 0.55
"""Of the colours at the map's largest value; at its least the picture is as it was."""


def overlay(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A picture with a map over it.

    Args:
        picture: (height, width, 3) uint8.
        values: (h, w), enlarged to the picture. Colours run from its least to its largest value.
    """
    least, most = float(values.min()), float(values.max())
    unit = (values - least) / (most - least) if most > least else np.zeros_like(values)
    height, width = picture.shape[:2]
    large = np.asarray(
        Image.fromarray(unit.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    ).clip(0, 1)
    colours = colormaps[SEQUENTIAL.lower()](large)[..., :3] * 255
    share = SHARE * large[..., None]
    return np.rint(picture * (1 - share) + colours * share).astype(np.uint8)
