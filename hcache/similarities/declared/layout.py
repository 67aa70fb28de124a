"""Consistency without segmentation: whether the same parts of two pictures belong together.

The papers compare segmentation maps. That needs a network trained for one kind of picture. Here an
encoder's last layer gives a vector for every patch. S holds the cosines of all pairs of patches of
one picture, which show which patches depict the same thing. The distance is the root mean square of
S_a - S_b, from 0 to 2. The source's measure uses the keys of the last layer; this one uses its
tokens.

References:
    Splicing ViT Features for Semantic Appearance Transfer (Tumanyan, Bar-Tal, Bagon, Dekel, 2022),
        https://arxiv.org/abs/2201.00424, for the self-similarity
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...analysis.swaps import Distance
from ..similarity import STRUCTURE, Opening, Similarity

if TYPE_CHECKING:
    import torch

BATCH = 16


def open_layout(opening: Opening) -> dict[str, Distance]:
    """Opens the distance of two pictures' cosines between their own patches.

    Raises:
        UsageError: no encoder is named.
        ModelError: the encoder cannot be loaded, or has no features by place.
    """
    encoder = opening.encoder("consistency without segmentation")

    def itself(pictures: np.ndarray) -> torch.Tensor:
        """Returns the cosines (n, places, places) between a picture's places."""
        patches = encoder.layers(pictures)[-1]
        unit = patches / patches.norm(dim=2, keepdim=True).clamp_min(1e-12)
        return unit @ unit.transpose(1, 2)

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        found = []
        for start in range(0, len(a), BATCH):
            one, other = (itself(each[start : start + BATCH]) for each in (a, b))
            found.append((one - other).square().mean((1, 2)).sqrt().double().cpu().numpy())
        return np.concatenate(found)

    return {f"layout {encoder.digest[:6]}": distance}


SIMILARITY = Similarity(
    name="layout",
    title="consistency without segmentation",
    begins="layout",
    aspect=STRUCTURE,
    rewards="The same parts at the same places, whatever their texture and colour.",
    open=open_layout,
)
