"""A picture together with the recipe that rendered it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..images.pngs import png_bytes
from ..recipes.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A rendered picture and its recipe.

    ``picture`` is (height, width, 3) uint8. ``recipe`` has its place, pixels and versions filled
    in.
    """

    picture: np.ndarray
    recipe: Recipe

    @property
    def png(self) -> bytes:
        """Returns a PNG file that contains the recipe."""
        return png_bytes(self.picture, self.recipe.to_text())
