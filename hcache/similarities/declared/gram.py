"""Style as Gram matrices: which features of an encoder occur together, wherever they are.

Layer l of an image encoder gives features F (M places, N channels), and G = Fᵀ F / M. The distance
is √(mean over layers of ‖G_a - G_b‖² / (4 N²)): the root of the paper's style loss, with layers of
equal weight. The paper has VGG-19; here it is the encoder that the user names, a convolutional one
or the patches of a vision transformer. Values of two encoders do not compare.

References:
    Image Style Transfer Using Convolutional Neural Networks (Gatys, Ecker, Bethge, 2016),
        https://doi.org/10.1109/CVPR.2016.265
"""

from __future__ import annotations

import numpy as np

from ...analysis.swaps import Distance
from ..similarity import STYLE, Opening, Similarity

BATCH = 8
"""Pairs at once: a Gram matrix is as large as channels by channels, for every layer."""


def open_gram(opening: Opening) -> dict[str, Distance]:
    """The distance of the Gram matrices of two pictures' features.

    Raises:
        UsageError: no encoder is named.
        ModelError: it is not to be had, or has no features by place.
    """
    encoder = opening.encoder("the Gram-matrix distance")

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        found = []
        for start in range(0, len(a), BATCH):
            rows = slice(start, start + BATCH)
            squares = []
            both = (encoder.layers(each[rows]) for each in (a, b))
            for one, other in zip(*both, strict=True):
                places, channels = one.shape[1:]
                g_a, g_b = (f.transpose(1, 2) @ f / places for f in (one, other))
                squares.append((g_a - g_b).square().sum((1, 2)) / (4 * channels**2))
            found.append((sum(squares) / len(squares)).sqrt().double().cpu().numpy())
        return np.concatenate(found)

    return {f"Gram {encoder.digest[:6]}": distance}


SIMILARITY = Similarity(
    name="gram",
    title="Gram matrices",
    begins="Gram",
    aspect=STYLE,
    rewards="The same textures and colours together, wherever they are; layout hardly counts.",
    open=open_gram,
)
