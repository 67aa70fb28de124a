"""Style as Gram matrices: which features of an encoder occur together, wherever they are.

Layer l of an image encoder gives features F (M places, N channels), and G = Fᵀ F / M. The distance
is √(mean over layers of ‖G_a - G_b‖² / (4 N²)): the root of the paper's style loss, with equal
weights of all layers. The paper uses VGG-19. Here the user names the encoder: a convolutional
network, or a vision transformer, whose patches are the places. Values of two different encoders
cannot be compared.

References:
    Image Style Transfer Using Convolutional Neural Networks (Gatys, Ecker, Bethge, 2016),
        https://doi.org/10.1109/CVPR.2016.265
"""

from __future__ import annotations

import numpy as np

from ...analysis.swaps import Distance
from ..similarity import STYLE, Opening, Similarity

BATCH = 8
"""The number of pairs at once: each layer has a Gram matrix of channels by channels."""


def open_gram(opening: Opening) -> dict[str, Distance]:
    """Opens the distance of the Gram matrices of two pictures' features.

    Raises:
        UsageError: no encoder is named.
        ModelError: the encoder cannot be loaded, or has no features by place.
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
