"""Local binary patterns: which textures a picture has, wherever they are.

Every pixel's brightness is compared with that of its 8 neighbours. This gives a pattern per pixel.
The uniform patterns are counted over the picture, whatever their rotation. The distance is half the
chi-squared statistic of two such histograms, Σ (p - q)² / (p + q) / 2. It is 0 for equal
histograms, and 1 if no pattern occurs in both.

References:
    Multiresolution Gray-Scale and Rotation Invariant Texture Classification with Local Binary
        Patterns (Ojala, Pietikäinen, Mäenpää, 2002), https://doi.org/10.1109/TPAMI.2002.1017623
    Face Description with Local Binary Patterns: Application to Face Recognition (Ahonen, Hadid,
        Pietikäinen, 2006), https://doi.org/10.1109/TPAMI.2006.244, for the statistic
"""

from __future__ import annotations

import numpy as np

from ...analysis.similarity import LUMA
from ...analysis.swaps import Distance
from ...errors import UsageError
from ..similarity import STYLE, Opening, Similarity

POINTS, RADIUS = 8, 1
NAME = "local binary patterns"


def open_patterns(opening: Opening) -> dict[str, Distance]:
    """Opens the distance of two pictures' histograms of patterns.

    Raises:
        UsageError: scikit-image is not installed.
    """
    try:
        from skimage.feature import local_binary_pattern
    except ImportError as error:
        raise UsageError(
            f'{NAME} need scikit-image; install it with `pip install "hcache[similarity]"`'
        ) from error

    def histogram(picture: np.ndarray) -> np.ndarray:
        grey = np.rint(picture @ LUMA).astype(np.uint8)
        codes = local_binary_pattern(grey, POINTS, RADIUS, method="uniform").astype(int)
        return np.bincount(codes.ravel(), minlength=POINTS + 2) / codes.size

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        p, q = (np.array([histogram(each) for each in pictures]) for pictures in (a, b))
        both = p + q
        each = np.divide(np.square(p - q), both, out=np.zeros_like(both), where=both > 0)
        return each.sum(1) / 2

    return {NAME: distance}


SIMILARITY = Similarity(
    name="patterns",
    title="local binary patterns",
    begins=NAME,
    aspect=STYLE,
    rewards="The same fine texture, such as hair or brush strokes; it sees no layout or colour.",
    open=open_patterns,
    cheap=True,
)
