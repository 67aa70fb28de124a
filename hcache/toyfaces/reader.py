"""The attribute reader: a small CNN that reads all factors from a 64 x 64 image.

It labels generated faces, so every measure of the instrument can be compared with the truth. Its
features (the layer before the last) also serve the Fréchet distance of the model card.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from .factors import FACTORS, NAMES

WEIGHTS = Path(__file__).parent / "weights" / "reader.safetensors"


class FaceReader(nn.Module):
    """A network that reads the factors of an image.

    Image (n, 3, 64, 64) in [-1, 1] -> factors (n, 8), each in its own range (glasses: a
    probability).
    """

    def __init__(self, width: int = 16, features: int = 64, outputs: int = len(FACTORS)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for out in (width, 2 * width, 3 * width, 4 * width):
            layers += [
                nn.Conv2d(channels, out, 3, stride=2, padding=1),
                nn.GroupNorm(8, out),
                nn.SiLU(),
            ]
            channels = out
        self.body = nn.Sequential(
            *layers, nn.Conv2d(channels, channels, 3, padding=1), nn.SiLU(), nn.Flatten()
        )
        self.neck = nn.Sequential(nn.Linear(channels * 16, features), nn.SiLU())
        self.head = nn.Linear(features, outputs)

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """Computes features (n, features) of images, the layer before the last."""
        return self.neck(self.body(image))

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """Returns factors (n, 8) before the sigmoid.

        Only binary factors get a sigmoid. Continuous ones are final.
        """
        return self.head(self.features(image))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Returns the readings (n, k)."""
        raw = self.logits(image)
        columns = [
            torch.sigmoid(raw[:, i]) if f.binary else raw[:, i] for i, f in enumerate(FACTORS)
        ]
        return torch.stack(columns, 1)


@lru_cache(maxsize=1)
def load_reader() -> FaceReader:
    """Loads the reader that ships with hcache."""
    reader = FaceReader()
    reader.load_state_dict(load_file(WEIGHTS))
    return reader.eval().requires_grad_(False)


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """Converts images to a tensor in [-1, 1].

    The shape goes from (n, 64, 64, 3) uint8 to (n, 3, 64, 64) float32.
    """
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.inference_mode()
def read(images: np.ndarray, batch: int = 256) -> dict[str, np.ndarray]:
    """Reads images: factor name -> (n,) float32.

    Images are (n, 64, 64, 3) uint8.
    """
    reader = load_reader()
    parts = [reader(to_tensor(images[i : i + batch])) for i in range(0, len(images), batch)]
    values = torch.cat(parts).numpy() if parts else np.zeros((0, len(NAMES)), np.float32)
    return {name: values[:, i] for i, name in enumerate(NAMES)}


@torch.inference_mode()
def read_features(images: np.ndarray, batch: int = 256) -> np.ndarray:
    """Returns the reader's features (n, 64) float32 of images.

    Images are (n, 64, 64, 3) uint8.
    """
    reader = load_reader()
    return torch.cat(
        [reader.features(to_tensor(images[i : i + batch])) for i in range(0, len(images), batch)]
    ).numpy()


vars(read)["embed"] = read_features  # its image encoder; see readers.function
