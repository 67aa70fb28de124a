"""The reader of drawn dogs: expression, pose, coat, background, and how likely each breed is."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from . import reader
from .dogs import FACTORS, NAMES
from .losses import Loss, as_signed, degrade

WEIGHTS = reader.WEIGHTS.with_name("dogs-reader.safetensors")
READINGS = (*(factor.name for factor in FACTORS), *(f"breed {name}" for name in NAMES))
"""The factors, each in its own range, then the probability of each breed."""


class DogReader(reader.FaceReader):
    """A network that reads drawn dogs.

    Image (n, 3, 64, 64) in [-1, 1] -> readings (n, 8), in the order of :data:`READINGS`.
    """

    def __init__(self) -> None:
        super().__init__(outputs=len(READINGS))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Returns the readings (n, 8)."""
        raw, k = self.logits(image), len(FACTORS)
        return torch.cat([raw[:, :k], raw[:, k:].softmax(1)], 1)


def dog_reader_loss(network: DogReader) -> Loss:
    """Returns the loss of a reader of dogs.

    It is the squared error of factors and the cross-entropy of breeds, under random blur and noise.
    """

    def loss(images: torch.Tensor, factors: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Computes the loss of drawings with their factors and breeds."""
        raw = network.logits(degrade(as_signed(images), rng))
        k = len(FACTORS)
        spread = raw.new_tensor([(f.high - f.low) / 12**0.5 for f in FACTORS])
        error = ((raw[:, :k] - factors[:, :k]) / spread).square().mean()
        return error + nn.functional.cross_entropy(raw[:, k:], factors[:, k:])

    return loss


@lru_cache(maxsize=1)
def load_dog_reader() -> DogReader:
    """Loads the reader that ships with hcache."""
    network = DogReader()
    network.load_state_dict(load_file(WEIGHTS))
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def read(images: np.ndarray, batch: int = 256) -> dict[str, np.ndarray]:
    """Reads images (n, 64, 64, 3) uint8.

    Returns name -> readings (n,) float32.
    """
    return _batched(load_dog_reader(), images, batch)


def _batched(
    network: Callable[[torch.Tensor], torch.Tensor], images: np.ndarray, batch: int
) -> dict[str, np.ndarray]:
    tensor = reader.to_tensor
    parts = [network(tensor(images[i : i + batch])) for i in range(0, len(images), batch)]
    values = torch.cat(parts).numpy() if parts else np.zeros((0, len(READINGS)), np.float32)
    return {name: values[:, i] for i, name in enumerate(READINGS)}
