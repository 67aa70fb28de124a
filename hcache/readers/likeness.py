"""How far two pictures are apart to an image encoder: 1 - cosine of their embeddings.

It says how much of a face, an object or a style an edit keeps, where no attribute is read. The
encoder is that of a reader: CLIP or SigLIP of texts, that of clicks, or any encoder by itself.

References:
    ArcFace: Additive Angular Margin Loss for Deep Face Recognition (Deng, Guo, Yang, Xue, Kotsia,
        Zafeiriou, 2018), https://arxiv.org/abs/1801.07698, for identity as a cosine of embeddings
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import xxhash

from ..analysis.similarity import WINDOW, pixel_distance, structure_distance
from ..analysis.swaps import PIXELS, STRUCTURE
from ..cache.reading import Run
from .reader import Reader

EMBEDDING = "embedding"
KEPT = 8
"""The number of batches whose embeddings are kept. The same pictures are compared with several
others.
"""

COMPARED = 32
"""The number of pairs of samples for the distance between two samples of a run."""

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A function from two batches of pictures (n, height, width, 3) uint8 to (n,). It is 0 for the same
picture.
"""


@dataclass(frozen=True, kw_only=True)
class EmbeddingDistance:
    """The 1 - cosine (n,) of the embeddings of two batches.

    ``embed`` returns embeddings (n, d) of pictures.
    """

    embed: Callable[[np.ndarray], np.ndarray] = field(repr=False)
    _kept: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Returns the distance of each picture of ``a`` from that of ``b`` in the same row."""
        cosine = np.sum(self._unit(a) * self._unit(b), axis=1)
        return np.maximum(0.0, 1 - cosine)  # rounding can make a cosine larger than 1

    def _unit(self, pictures: np.ndarray) -> np.ndarray:
        """Returns embeddings of unit length (n, d) float64, and keeps them for the next call."""
        pictures = np.ascontiguousarray(pictures)
        key = f"{pictures.shape} {xxhash.xxh3_128(pictures.data).hexdigest()}"
        if key not in self._kept:
            found = np.asarray(self.embed(pictures), np.float64)
            while len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            length = np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
            self._kept[key] = found / length
        return self._kept[key]


def encoder_distances(source: str, device: str = "auto") -> dict[str, Distance]:
    """Makes the distance of an image encoder.

    ``source`` names the encoder by folder or hub id.

    Raises:
        ModelError: the encoder cannot be found or downloaded.
    """
    from .encoder import load_encoder

    encoder = load_encoder(source, "", device)
    return {_name(encoder.digest): EmbeddingDistance(embed=encoder.pictures)}


def distances_of(reader: Reader | None) -> dict[str, Distance]:
    """Returns the distances by a reader's encoder, by name.

    A reader without an encoder has none.
    """
    if reader is None or reader.embed is None:
        return {}
    return {_name(reader.encoder): EmbeddingDistance(embed=reader.embed)}


def apart(
    pictures: np.ndarray, other: np.ndarray, distances: Mapping[str, Distance]
) -> dict[str, np.ndarray]:
    """Measures the distances of pictures from others.

    The pictures (n, height, width, 3) are compared with one other or n others: distance -> (n,).
    The distances are pixels, structure (1 - SSIM) if pictures are large enough for it, and those of
    ``distances``.
    """
    others = np.broadcast_to(other, pictures.shape)
    chosen = {PIXELS: pixel_distance, STRUCTURE: structure_distance, **distances}
    if min(pictures.shape[1:3]) < WINDOW:
        del chosen[STRUCTURE]
    return {name: distance(pictures, others) for name, distance in chosen.items()}


def samples_apart(run: Run, distances: Mapping[str, Distance]) -> dict[str, float]:
    """Measures the distances between different samples of a run.

    They are means over pairs: each of the first 32 samples is compared with the next. This is the
    null of a likeness.
    """
    pictures = run.images[:COMPARED]
    if len(pictures) < 2:
        return {}
    found = apart(pictures, np.roll(pictures, 1, axis=0), distances)
    return {name: float(values.mean()) for name, values in found.items()}


def _name(digest: str) -> str:
    """Returns a distance's name with the encoder's digest. Values of two encoders are not
    comparable.
    """
    return f"{EMBEDDING} {digest[:6]}"
