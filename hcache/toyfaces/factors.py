"""The factors of variation of a toy face. They are known exactly for every drawing.

All factors are drawn independently, so any dependence in a model's samples comes from the model.
This module imports neither torch nor Pillow, so labels and pages can name factors without them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One factor of a face.

    It has a range, a flag for binary factors (which take only the two ends), and words for the two
    ends.

    ``share`` is the share of drawings with the high end of a binary factor. It is not a half: if a
    share p has the high end, no edit can move the mean by more than √((1-p)/p) spreads, which is
    one for a half.
    """

    name: str
    low: float
    high: float
    low_means: str
    high_means: str
    binary: bool = False
    share: float = 0.5


FACTORS = (
    Factor(name="smile", low=-1.0, high=1.0, low_means="frown", high_means="open smile"),
    Factor(name="yaw", low=-1.0, high=1.0, low_means="looks left", high_means="looks right"),
    Factor(name="eye_opening", low=0.0, high=1.0, low_means="closed", high_means="wide open"),
    Factor(name="skin", low=0.0, high=1.0, low_means="light", high_means="dark"),
    Factor(name="hair_colour", low=0.0, high=1.0, low_means="blond", high_means="black"),
    Factor(name="hair_length", low=0.0, high=1.0, low_means="short", high_means="long"),
    Factor(name="background", low=0.0, high=1.0, low_means="rose", high_means="violet"),
    Factor(
        name="glasses",
        low=0.0,
        high=1.0,
        low_means="none",
        high_means="glasses",
        binary=True,
        share=0.25,
    ),
)

NAMES = tuple(f.name for f in FACTORS)
BINARY = tuple(f.name for f in FACTORS if f.binary)


@dataclass(frozen=True, kw_only=True)
class Face:
    """The factors of one face.

    The ranges are those of :data:`FACTORS`. Left and right are as the viewer sees them.
    """

    smile: float = 0.0
    yaw: float = 0.0
    eye_opening: float = 0.7
    skin: float = 0.3
    hair_colour: float = 0.5
    hair_length: float = 0.5
    background: float = 0.5
    glasses: float = 0.0

    def __post_init__(self) -> None:
        for factor in FACTORS:
            value = getattr(self, factor.name)
            if not factor.low <= value <= factor.high:
                raise ValueError(
                    f"{factor.name} must lie in [{factor.low}, {factor.high}], got {value}"
                )

    def as_array(self) -> np.ndarray:
        """Returns the factors (8,) float32, in the order of :data:`NAMES`."""
        return np.array([getattr(self, name) for name in NAMES], np.float32)

    def replace(self, **changes: float) -> Face:
        """Returns a face with some factors changed."""
        return dataclasses.replace(self, **changes)


def sample_face(seed: int) -> Face:
    """Draws the factors of a seed.

    Every factor is uniform on its range, and independent of all others. One face in four has
    glasses.
    """
    rng = np.random.default_rng([seed, 0x7FACE5])
    values = {}
    for factor in FACTORS:
        u = rng.random()
        values[factor.name] = (
            float(u < factor.share)
            if factor.binary
            else factor.low + (factor.high - factor.low) * u
        )
    return Face(**values)
