"""A picture together with the recipe that it was rendered by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..images.pngs import png_bytes
from ..recipes.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """``picture``: (height, width, 3) uint8. ``recipe``: with place, pixels and versions filled
    in.
    """

    picture: np.ndarray
    recipe: Recipe

    @property
    def png(self) -> bytes:
        """As a PNG file that carries the recipe."""
        return png_bytes(self.picture, self.recipe.to_text())
