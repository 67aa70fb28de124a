"""Draws toy faces with Pillow, a data set with known factors.

A face is drawn at ``SCALE`` times its size and reduced with a box filter, which antialiases every
edge. Features are drawn large on purpose. A factor that changes few pixels is decided late in
denoising, when the bottleneck has no more influence. No method could find such a factor in h-space.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw

from .factors import Face, sample_face

SIZE = 64
SCALE = 4

Colour = tuple[int, int, int]

SKIN = ((255, 224, 200), (232, 184, 144), (178, 120, 80), (104, 66, 46))
HAIR = ((246, 216, 128), (206, 128, 56), (122, 66, 38), (34, 28, 34))
INK = (44, 34, 40)
LIPS = (150, 36, 48)
WHITE = (255, 255, 255)
LENS = (86, 190, 246)


def _rounded(values: Iterable[float]) -> Colour:
    red, green, blue = (int(round(value)) for value in values)
    return red, green, blue


def ramp(colours: tuple[Colour, ...], u: float) -> Colour:
    """Returns the colour at ``u`` on a piecewise linear ramp.

    ``u`` is in [0, 1]."""
    position = u * (len(colours) - 1)
    i = min(int(position), len(colours) - 2)
    a, b = np.array(colours[i]), np.array(colours[i + 1])
    return _rounded(a + (b - a) * (position - i))


def shade(colour: Colour, factor: float) -> Colour:
    """Makes a colour darker or lighter.

    A factor below 1 darkens it. A factor above 1 lightens it towards white.
    """
    c = np.array(colour, float)
    c = c * factor if factor <= 1 else c + (255 - c) * (factor - 1)
    return _rounded(c)


def mix(a: Colour, b: Colour, u: float) -> Colour:
    """Mixes ``a`` and ``b``: 0 gives ``a``, 1 gives ``b``."""
    return _rounded(p + (q - p) * u for p, q in zip(a, b, strict=True))


def background_colour(u: float) -> Colour:
    """Returns a hue from rose over green to violet.

    It is not the whole circle, because its two ends would look the same.
    """
    return _rounded(255 * v for v in colorsys.hsv_to_rgb(0.02 + 0.76 * u, 0.42, 0.92))


class Pen:
    """Pillow's drawing calls in units of final pixels.

    The image is ``SCALE`` times as large.
    """

    def __init__(self, image: Image.Image) -> None:
        self.draw = ImageDraw.Draw(image)

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        fill: Colour | None = None,
        outline: Colour | None = None,
        width: float = 0,
    ) -> None:
        """Draws an ellipse with centre (x, y) and radii (rx, ry)."""
        box = [SCALE * (x - rx), SCALE * (y - ry), SCALE * (x + rx), SCALE * (y + ry)]
        self.draw.ellipse(box, fill=fill, outline=outline, width=round(SCALE * width))

    def polygon(self, points: Iterable[tuple[float, float]], fill: Colour) -> None:
        """Fills a polygon."""
        self.draw.polygon([(SCALE * x, SCALE * y) for x, y in points], fill=fill)

    def line(self, points: Iterable[tuple[float, float]], fill: Colour, width: float) -> None:
        """Draws a line through points, with round ends."""
        points = [(SCALE * x, SCALE * y) for x, y in points]
        self.draw.line(points, fill=fill, width=round(SCALE * width), joint="curve")
        r = SCALE * width / 2
        for x, y in (points[0], points[-1]):
            self.draw.ellipse([x - r, y - r, x + r, y + r], fill=fill)

    def rounded(
        self, x0: float, y0: float, x1: float, y1: float, radius: float, fill: Colour
    ) -> None:
        """Fills a rectangle with round corners."""
        self.draw.rounded_rectangle(
            [SCALE * v for v in (x0, y0, x1, y1)], SCALE * radius, fill=fill
        )


def draw_face(face: Face) -> Image.Image:
    """Draws a face as an RGB image of 64 x 64 pixels."""
    image = Image.new("RGB", (SIZE * SCALE, SIZE * SCALE), background_colour(face.background))
    pen = Pen(image)
    skin, hair = ramp(SKIN, face.skin), ramp(HAIR, face.hair_colour)
    turn = 6.5 * face.yaw
    _hair_behind(pen, face, hair, turn)
    _body(pen, skin)
    _head(pen, skin, turn)
    _fringe(pen, hair, turn)
    _cheeks(pen, face, skin, turn)
    _nose(pen, skin, turn)
    if face.glasses:
        _lenses(pen, skin, turn)
    _eyes(pen, face, hair, turn)
    if face.glasses:
        _frames(pen, turn)
    _mouth(pen, face, turn)
    return image.resize((SIZE, SIZE), Image.Resampling.BOX)


def _hair_behind(pen: Pen, face: Face, hair: Colour, turn: float) -> None:
    x = 32 - 0.25 * turn
    bottom = 26 + 36 * face.hair_length
    pen.ellipse(x, 27, 24.5, 24.5, shade(hair, 0.86))
    if bottom > 30:
        pen.rounded(x - 24.5, 24, x + 24.5, bottom + 3, 7, shade(hair, 0.86))


def _body(pen: Pen, skin: Colour) -> None:
    pen.rounded(9, 56, 55, 76, 10, (236, 238, 244))
    pen.rounded(25, 46, 39, 60, 6, shade(skin, 0.84))


def _head(pen: Pen, skin: Colour, turn: float) -> None:
    for side in (-1, 1):
        x = 32 + side * 19.5 - 0.55 * turn
        pen.ellipse(x, 36, 4, 5.5, shade(skin, 0.9))
    pen.ellipse(32, 34, 19.5, 22.5, skin)


def _fringe(pen: Pen, hair: Colour, turn: float) -> None:
    parting = 32 + 1.3 * turn
    angles = np.linspace(np.pi * 1.02, np.pi * 1.98, 40)
    rim = [(32 + 22 * np.cos(a) - 0.1 * turn, 30 + 22.5 * np.sin(a)) for a in angles]
    pen.polygon(
        [*rim, (52, 27), (parting + 9, 17.5), (parting, 14.5), (parting - 9, 17.5), (12, 27)], hair
    )


def _eyes(pen: Pen, face: Face, hair: Colour, turn: float) -> None:
    ry = 0.8 + 4.4 * face.eye_opening
    for side in (-1, 1):
        x, y = 32 + side * 8.6 + turn, 32
        rx = 5.6 - 0.12 * side * turn
        pen.line([(x - rx, y - 7.4), (x, y - 8.6), (x + rx, y - 7.4)], shade(hair, 0.7), 1.4)
        pen.ellipse(x, y, rx + 0.7, ry + 0.7, INK)
        if face.eye_opening > 0.08:
            pen.ellipse(x, y, rx, ry, (252, 252, 255))
            pen.ellipse(x + 0.2 * turn, y, min(3.2, rx), min(3.4, ry), (46, 74, 98))


def _cheeks(pen: Pen, face: Face, skin: Colour, turn: float) -> None:
    glow = mix(skin, (240, 70, 84), 0.56 * max(0.0, face.smile))
    for side in (-1, 1):
        pen.ellipse(32 + side * 11.6 + 0.6 * turn, 42.2, 5.4, 4.4, glow)


def _nose(pen: Pen, skin: Colour, turn: float) -> None:
    pen.ellipse(32 + 1.35 * turn, 37.6, 2.6, 2.6, shade(skin, 0.82))


def _mouth(pen: Pen, face: Face, turn: float) -> None:
    x, y, half = 32 + turn, 47.0 - 1.8 * face.smile, 11.2
    u = np.linspace(-1, 1, 24)
    upper = y + 6.4 * face.smile * (0.35 - u * u)
    opening = max(0.0, face.smile - 0.1) * 9.6 * (1 - u * u)
    if face.smile > 0.1:
        pen.polygon(
            [
                *zip(x + half * u, upper, strict=True),
                *zip(x - half * u, upper + opening, strict=True),
            ],
            LIPS,
        )
        teeth = upper + 0.66 * opening
        pen.polygon(
            [*zip(x + half * u, upper, strict=True), *zip(x - 0.94 * half * u, teeth, strict=True)],
            WHITE,
        )
        pen.line(zip(x + half * u, upper + opening, strict=True), LIPS, 2.0)
    pen.line(zip(x + half * u, upper, strict=True), LIPS, 3.0)


def _lenses(pen: Pen, skin: Colour, turn: float) -> None:
    for side in (-1, 1):
        pen.ellipse(32 + side * 9.4 + turn, 32, 9.2, 8.8, mix(skin, LENS, 0.85))


def _frames(pen: Pen, turn: float) -> None:
    for side in (-1, 1):
        x = 32 + side * 9.4 + turn
        pen.ellipse(x, 32, 9.8, 9.4, outline=INK, width=3)
        pen.line([(x + side * 8.4, 30.5), (32 + side * 19.5 - 0.3 * turn, 29.5)], INK, 2.4)


def draw_dataset(seeds: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
    """Draws the faces of the given seeds.

    Returns images (n, 64, 64, 3) uint8 and factors (n, 8) float32.
    """
    faces = [sample_face(seed) for seed in seeds]
    images = np.stack([np.asarray(draw_face(face)) for face in faces])
    return images, np.stack([face.as_array() for face in faces])
