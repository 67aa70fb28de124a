"""Similarities that every edit and swap is measured by.

They are pixels, SSIM, colours, and embeddings if there is an encoder.
"""

from __future__ import annotations

from ...analysis.similarity import colour_distance, pixel_distance, structure_distance
from ...analysis.swaps import COLOUR as COLOUR_NAME
from ...analysis.swaps import PIXELS, STRUCTURE
from ...readers.likeness import EMBEDDING, encoder_distances
from ..similarity import COLOUR, IDENTITY, WHOLE, Similarity
from ..similarity import STRUCTURE as STRUCTURE_ASPECT

IN_PIXELS = Similarity(
    name="pixels",
    title="pixels",
    begins=PIXELS,
    aspect=WHOLE,
    rewards="The same values at the same places; a shift by one pixel costs as much as other hair.",
    open=lambda opening: {PIXELS: pixel_distance},
    always=True,
)
SSIM = Similarity(
    name="ssim",
    title="SSIM",
    begins=STRUCTURE,
    aspect=STRUCTURE_ASPECT,
    rewards="The same edges at the same places in a window of 11 pixels, whatever the brightness.",
    open=lambda opening: {STRUCTURE: structure_distance},
    always=True,
)
COLOURS = Similarity(
    name="colour",
    title="colour",
    begins=COLOUR_NAME,
    aspect=COLOUR,
    rewards="The same colours, wherever they are.",
    open=lambda opening: {COLOUR_NAME: colour_distance},
    always=True,
)
EMBEDDINGS = Similarity(
    name="embedding",
    title="embedding",
    begins=EMBEDDING,
    aspect=IDENTITY,
    rewards="The same content to an image encoder, whatever the place, the pose and the light.",
    open=lambda opening: encoder_distances(opening.source, opening.device),
    always=True,
)
