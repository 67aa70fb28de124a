"""Pictures reduced to their principal components: an embedding without an image encoder.

It contains positions and colours, but not their meaning. A head on it can read attributes that
change many pixels in the same places, and few others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

SIDE = 32
"""The side in pixels to which pictures are first reduced."""

COMPONENTS = 32
"""The largest number of components, and at most a sixth of the number of pictures. A probe gives
every component the same scale, so with as many components as pictures it would fit noise.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelComponents:
    """Principal components of small pictures.

    ``mean`` (d,) and ``axes`` (k, d) of pictures of SIDE x SIDE pixels in [0, 1].
    """

    mean: np.ndarray = field(repr=False)
    axes: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, pictures: np.ndarray) -> PixelComponents:
        """Computes the components of pictures (n, height, width, 3) uint8."""
        from sklearn.decomposition import PCA

        flat = _small(pictures)
        fitted = PCA(max(1, min(COMPONENTS, len(flat) // 6)), random_state=0).fit(flat)
        return cls(mean=fitted.mean_.astype(np.float32), axes=fitted.components_.astype(np.float32))

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Projects pictures (n, height, width, 3) uint8 to (n, k) float32."""
        return (_small(pictures) - self.mean) @ self.axes.T


def _small(pictures: np.ndarray) -> np.ndarray:
    """Returns (n, SIDE * SIDE * 3) float32 in [0, 1]."""
    size = (SIDE, SIDE)
    small = [
        np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
        for picture in pictures
    ]
    return (
        np.stack(small).reshape(len(small), -1).astype(np.float32) / 255
        if small
        else np.zeros((0, SIDE * SIDE * 3))
    )
