"""Directional similarity in CLIP (S_dir): does a picture change as a pair of texts says?

S_dir = cos(E(edited) - E(unedited), E(text of what it is) - E(text of what it is not)), with the
embeddings E of a CLIP or SigLIP model, of unit length. 1 is a change along the texts' direction, 0
a change across it, and -1 a change against it. A picture that does not change has no direction; its
value is 0. S_dir does not see the size of a change. A published replication of Asyrp found S_dir to
rise at half the strength of an edit, so a higher value does not mean a stronger edit.

References:
    StyleGAN-NADA: CLIP-Guided Domain Adaptation of Image Generators (Gal, Patashnik, Maron,
        Chechik, Cohen-Or, 2021), https://arxiv.org/abs/2108.00946, for the direction
    Diffusion Models already have a Semantic Latent Space (Kwon, Jeong, Uh, 2022),
        https://arxiv.org/abs/2210.10960, for its use as a measure
"""

from __future__ import annotations

import numpy as np

from ...analysis.swaps import Distance
from ...errors import UsageError
from ..similarity import MEANING, Opening, Similarity

STILL = 1e-5
"""The norm below which a change of the embedding counts as none: embeddings are float32."""


def open_s_dir(opening: Opening) -> dict[str, Distance]:
    """Opens S_dir of every attribute of a reader by texts.

    Raises:
        UsageError: the run has no reader by texts.
        ModelError: the reader's model cannot be loaded.
    """
    texts = opening.texts
    if texts is None:
        raise UsageError(
            f"S_dir needs texts; read the run by texts first: python -m hcache read {opening.run}"
            " --reader texts:openai/clip-vit-base-patch32 --attributes faces"
        )
    from ...readers.encoder import load_encoder

    encoder = load_encoder(texts.model, texts.revision, opening.device, True)

    def towards(axis: np.ndarray) -> Distance:
        unit = axis / np.linalg.norm(axis)

        def similarity(edited: np.ndarray, unedited: np.ndarray) -> np.ndarray:
            change = (encoder.pictures(edited) - encoder.pictures(unedited)).astype(np.float64)
            length = np.linalg.norm(change, axis=1)
            along = change @ unit
            return np.divide(along, length, out=np.zeros(len(along)), where=length > STILL)

        return similarity

    axes = texts.axes(encoder)
    return {f"S_dir {name} {encoder.digest[:6]}": towards(axis) for name, axis in axes.items()}


SIMILARITY = Similarity(
    name="s_dir",
    title="S_dir",
    begins="S_dir",
    aspect=MEANING,
    rewards="A change in the direction of the texts; it may rise at half the strength.",
    open=open_s_dir,
    directed=True,
)
