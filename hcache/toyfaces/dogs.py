"""Drawn heads of dogs: four breeds and an expression, all known about every drawing.

Breeds differ in the shape of head, ears and muzzle and in the colours of the coat, as breeds of
real dogs do. A happy dog opens its mouth and shows its tongue; where the mouth is, and how large,
depends on the breed. Factors are independent of one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from .drawing import INK, SCALE, SIZE, Colour, Pen, background_colour, ramp, shade
from .factors import Factor


@dataclass(frozen=True, kw_only=True)
class Breed:
    """The shape and colours of a breed's heads.

    Lengths are in pixels of the drawing.

    ``ears`` are ``hanging``, ``pointed``, ``folded`` or ``round``; ``coat`` is the ramp of colours
    that ``coat`` goes along, ``mask`` the colour of the muzzle.
    """

    name: str
    ears: str
    width: float
    height: float
    muzzle: tuple[float, float]
    coat: tuple[Colour, ...]
    mask: Colour


BREEDS = (
    Breed(
        name="hound",
        ears="hanging",
        width=15.5,
        height=20.0,
        muzzle=(9.0, 12.5),
        coat=((214, 150, 84), (168, 104, 52), (112, 64, 34)),
        mask=(238, 214, 180),
    ),
    Breed(
        name="spitz",
        ears="pointed",
        width=20.0,
        height=17.5,
        muzzle=(9.5, 8.0),
        coat=((206, 210, 218), (132, 138, 150), (72, 76, 90)),
        mask=(246, 246, 250),
    ),
    Breed(
        name="bulldog",
        ears="folded",
        width=22.0,
        height=18.5,
        muzzle=(15.0, 8.5),
        coat=((240, 232, 216), (222, 196, 150), (190, 146, 96)),
        mask=(84, 66, 60),
    ),
    Breed(
        name="poodle",
        ears="round",
        width=14.0,
        height=18.0,
        muzzle=(6.0, 11.0),
        coat=((244, 214, 196), (196, 112, 70), (58, 44, 44)),
        mask=(226, 190, 170),
    ),
)
NAMES = tuple(breed.name for breed in BREEDS)

FACTORS = (
    Factor(name="happy", low=0.0, high=1.0, low_means="mouth closed", high_means="tongue out"),
    Factor(name="yaw", low=-1.0, high=1.0, low_means="looks left", high_means="looks right"),
    Factor(name="coat", low=0.0, high=1.0, low_means="light", high_means="dark"),
    Factor(name="background", low=0.0, high=1.0, low_means="rose", high_means="violet"),
)
"""The continuous factors. The breed, one of :data:`BREEDS`, comes in addition."""

TONGUE = (226, 92, 112)
MOUTH = (74, 26, 34)


@dataclass(frozen=True, kw_only=True)
class Dog:
    """The factors of one dog.

    ``breed`` is a place in :data:`BREEDS`.
    """

    breed: int = 0
    happy: float = 0.0
    yaw: float = 0.0
    coat: float = 0.5
    background: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.breed < len(BREEDS):
            raise ValueError(f"breed must be 0 to {len(BREEDS) - 1}, got {self.breed}")
        for factor in FACTORS:
            value = getattr(self, factor.name)
            if not factor.low <= value <= factor.high:
                raise ValueError(
                    f"{factor.name} must lie in [{factor.low}, {factor.high}], got {value}"
                )

    def as_array(self) -> np.ndarray:
        """Returns the factors and the breed, (8,) float32.

        The last four are 1 for its breed and 0 for every other.
        """
        one_hot = [float(i == self.breed) for i in range(len(BREEDS))]
        return np.array([*(getattr(self, f.name) for f in FACTORS), *one_hot], np.float32)


def sample_dog(seed: int) -> Dog:
    """Draws the factors of a seed.

    Every factor is uniform on its range, and all breeds are equally likely.
    """
    rng = np.random.default_rng([seed, 0xD06])
    values = {f.name: f.low + (f.high - f.low) * rng.random() for f in FACTORS}
    return Dog(breed=int(rng.integers(len(BREEDS))), **values)


def draw_dataset(seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Draws the dogs of these seeds.

    Returns images (n, 64, 64, 3) uint8 and their factors (n, 8).
    """
    dogs = [sample_dog(seed) for seed in seeds]
    images = np.stack([np.asarray(draw_dog(dog)) for dog in dogs])
    return images, np.stack([dog.as_array() for dog in dogs])


def draw_dog(dog: Dog) -> Image.Image:
    """Draws a dog as an RGB image of 64 x 64 pixels."""
    image = Image.new("RGB", (SIZE * SCALE, SIZE * SCALE), background_colour(dog.background))
    pen, breed, turn = Pen(image), BREEDS[dog.breed], 5.0 * dog.yaw
    coat = ramp(breed.coat, dog.coat)
    pen.rounded(32 - 14, 54, 32 + 14, 76, 8, shade(coat, 0.78))
    pen.rounded(32 - 8, 40, 32 + 8, 60, 4, shade(coat, 0.7))
    if breed.ears in ("hanging", "round"):
        _hanging_ears(pen, breed, coat, turn)
        _head(pen, breed, coat)
    else:
        _standing_ears(pen, breed, coat, turn)
        _head(pen, breed, coat)
    if breed.ears == "round":
        for x, y in ((-7, 12), (0, 9.5), (7, 12)):
            pen.ellipse(32 + x - 0.3 * turn, y, 7, 6, shade(coat, 1.12))
    _eyes(pen, breed, turn)
    _muzzle(pen, breed, dog, turn)
    return image.filter(ImageFilter.BoxBlur(1)).resize((SIZE, SIZE), Image.Resampling.BOX)


def _head(pen: Pen, breed: Breed, coat: Colour) -> None:
    pen.ellipse(32, 31, breed.width, breed.height, coat)


def _hanging_ears(pen: Pen, breed: Breed, coat: Colour, turn: float) -> None:
    dark = shade(coat, 0.7)
    for side in (-1, 1):
        x = 32 + side * (breed.width + 2) - 0.5 * turn
        if breed.ears == "round":
            pen.ellipse(x + side * 2, 33, 7.5, 9.5, dark)
        else:
            pen.ellipse(x, 35, 5.5, 16, dark)


def _standing_ears(pen: Pen, breed: Breed, coat: Colour, turn: float) -> None:
    dark = shade(coat, 0.7)
    for side in (-1, 1):
        x, y = 32 + side * 0.62 * breed.width - 0.4 * turn, 31 - 0.72 * breed.height
        if breed.ears == "pointed":
            pen.polygon([(x - 8, y + 5), (x + side * 4, y - 14), (x + 8, y + 5)], dark)
            pen.polygon(
                [(x - 4, y + 4), (x + side * 3, y - 8), (x + 4, y + 4)], shade((238, 170, 164), 0.9)
            )
        else:
            pen.polygon([(x - 7, y + 3), (x + side * 10, y - 4), (x + 7, y + 9)], dark)


def _eyes(pen: Pen, breed: Breed, turn: float) -> None:
    for side in (-1, 1):
        x = 32 + side * 0.46 * breed.width + 0.9 * turn
        pen.ellipse(x, 27, 3.6, 3.8, (250, 248, 244))
        pen.ellipse(x + 0.15 * turn, 27.2, 2.7, 3.1, INK)
        pen.ellipse(x - 0.9, 26, 0.9, 0.9, (255, 255, 255))


def _muzzle(pen: Pen, breed: Breed, dog: Dog, turn: float) -> None:
    """Muzzle, mouth and nose. The mouth opens below the muzzle, as far down as it is happy."""
    rx, ry = breed.muzzle
    x, y = 32 + 1.15 * turn, 33 + 0.62 * ry
    opening = dog.happy * (5.5 + 0.42 * rx)
    bottom = y + 0.72 * ry
    if opening > 0.5:
        half = 0.72 * rx + 1.5
        pen.ellipse(x, bottom, half, opening + 1.6, MOUTH)
        pen.ellipse(x, bottom + 0.55 * opening, 0.62 * half, 0.72 * opening + 1.2, TONGUE)
    pen.ellipse(x, y, rx, ry, breed.mask)
    pen.line([(x, y - 0.2 * ry), (x, bottom - 0.5)], shade(breed.mask, 0.62), 1.2)
    lift = 3.2 * dog.happy
    for side in (-1, 1):
        pen.line(
            [
                (x, bottom - 0.6),
                (x + side * 0.5 * rx, bottom),
                (x + side * rx, bottom - 1.5 - lift),
            ],
            shade(breed.mask, 0.5),
            1.5,
        )
    pen.ellipse(x + 0.2 * turn, y - 0.52 * ry, 0.34 * rx + 1.2, 2.6, INK)
