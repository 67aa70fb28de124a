"""Keypoint matches: how many corners of one picture also occur in the other.

ORB finds corners and describes each by 256 bits. Two corners match if each is the other's nearest
and no more than a fifth of their bits differ. With m matches of n_a and n_b corners the distance is
1 - 2 m / (n_a + n_b). If only one picture has corners, the distance is 1. If neither has any,
nothing distinguishes them and it is 0. Pictures smaller than 256 pixels are enlarged first.

References:
    ORB: An efficient alternative to SIFT or SURF (Rublee, Rabaud, Konolige, Bradski, 2011),
        https://doi.org/10.1109/ICCV.2011.6126544
"""

from __future__ import annotations

import numpy as np

from ...analysis.similarity import LUMA
from ...analysis.swaps import Distance
from ...bounded import ByteCache
from ...errors import UsageError
from ...images.pngs import pixels_digest
from ..similarity import STRUCTURE, Opening, Similarity

NAME = "keypoints"
LEAST = 256
CORNERS = 200
DIFFER = 0.2
"""The share of bits that may differ: 50 of 256, as in ORB-SLAM for certain matches."""

CORNER_BYTES = 2**25
"""The bytes for corners of the last pictures: 655 of them, if each has all its corners. Finding
them takes some 50 ms, and a table compares the same picture with several others.
"""

_corners = ByteCache(CORNER_BYTES)


def open_keypoints(opening: Opening) -> dict[str, Distance]:
    """Opens the share of corners that two pictures do not share.

    Raises:
        UsageError: scikit-image is not installed.
    """
    try:
        from skimage.feature import ORB, match_descriptors
        from skimage.transform import resize
    except ImportError as error:
        raise UsageError(
            f'{NAME} need scikit-image; install it with `pip install "hcache[similarity]"`'
        ) from error

    def corners(picture: np.ndarray) -> np.ndarray:
        """Returns descriptors (k, 256) of a picture's corners; k may be 0."""
        return _corners.get(pixels_digest(picture), lambda: find_corners(picture))

    def find_corners(picture: np.ndarray) -> np.ndarray:
        grey, least = picture @ LUMA / 255, min(picture.shape[:2])
        if least < LEAST:
            scale = LEAST / least
            grey = resize(grey, [round(side * scale) for side in grey.shape], order=1)
        found = ORB(n_keypoints=CORNERS)
        try:
            found.detect_and_extract(grey)
        except RuntimeError:  # raised if there are no corners
            return np.zeros((0, 256), bool)
        return np.unique(np.asarray(found.descriptors), axis=0)  # of two alike only one could match

    def apart(one: np.ndarray, other: np.ndarray) -> float:
        if not (len(one) and len(other)):
            return float(len(one) != len(other))
        pairs = match_descriptors(one, other, max_distance=DIFFER, cross_check=True)
        return 1 - 2 * len(pairs) / (len(one) + len(other))

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.array(
            [apart(corners(one), corners(other)) for one, other in zip(a, b, strict=True)]
        )

    return {NAME: distance}


SIMILARITY = Similarity(
    name="keypoints",
    title="keypoint matches",
    begins=NAME,
    aspect=STRUCTURE,
    rewards="The same corners and details, also where they have moved; smooth pictures have few.",
    open=open_keypoints,
    cheap=True,
)
