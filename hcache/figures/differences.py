"""Pictures of the signed difference of two pictures, on one diverging scale around zero."""

from __future__ import annotations

import numpy as np

from ..analysis.similarity import LUMA
from ..errors import UsageError
from .palette import DIVERGING

CHANNELS = {"brightness": LUMA, "red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}


def signed_difference(a: np.ndarray, b: np.ndarray, channel: str = "brightness") -> np.ndarray:
    """Returns b - a of two pictures in one channel.

    Pictures are (h, w, 3) uint8, and the difference is (h, w) float64, -255 to 255.

    Raises:
        UsageError: they have different sizes, or there is no such channel.
    """
    if a.shape != b.shape:
        raise UsageError(
            f"pictures of {a.shape[1]} x {a.shape[0]} and {b.shape[1]} x {b.shape[0]} pixels have"
            " no difference pixel by pixel; compare two of one size"
        )
    if channel not in CHANNELS:
        raise UsageError(f"no channel {channel!r}; there are {', '.join(CHANNELS)}")
    return (b.astype(np.float64) - a) @ np.asarray(CHANNELS[channel], np.float64)


def draw_difference(difference: np.ndarray, scale: float) -> np.ndarray:
    """Draws a difference (h, w) as a picture (h, w, 3) uint8.

    Zero is the middle of the map and ±``scale`` are its ends. Larger values have the colours of the
    ends.
    """
    places = np.array([place for place, _ in DIVERGING])
    colours = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for _, colour in DIVERGING])
    where = np.clip(difference / (2 * scale) + 0.5, 0, 1)
    return (
        np.stack([np.interp(where, places, column) for column in colours.T], -1)
        .round()
        .astype(np.uint8)
    )
