"""LPIPS among the similarities; see :mod:`hcache.readers.perceptual`."""

from __future__ import annotations

from ...readers.perceptual import LPIPS, lpips_distance
from ..similarity import WHOLE, Similarity

SIMILARITY = Similarity(
    name="lpips",
    title="LPIPS",
    begins=LPIPS,
    aspect=WHOLE,
    rewards="What people call alike side by side; blur and small shifts cost little.",
    open=lambda opening: lpips_distance(opening.device),
)
