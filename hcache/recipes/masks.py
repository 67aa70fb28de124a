"""Masks in [0, 1] that say where in the picture an edit acts. They are averaged to the resolution
of each site.

A mask is data in a recipe: a rectangle in fractions of the picture, or a small grey picture that is
white where the edit acts. The masked edit is b + m (edited - b), at every site that the edit
changes.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import force_setattr
from PIL import Image, ImageDraw

from ..errors import UsageError

LARGEST = 64
"""The largest side of a mask picture in pixels. No site of a U-Net's inner half is finer."""

_MOST_BYTES = 64 * 1024
_FINE = 4
"""The number of positions per side of a pixel that are tested for a painted area."""

Point = tuple[float, float]
Part = Annotated[float, Meta(ge=0, le=1)]
"""Fractions of the width or the height of the picture."""


def corners(sides: Sequence[float]) -> tuple[float, float, float, float]:
    """Returns left, top, right and bottom of a rectangle.

    There must be exactly four.
    """
    if len(sides) != 4:
        raise UsageError(
            f"a mask's rectangle is left, top, right, bottom; got {len(sides)} numbers"
        )
    left, top, right, bottom = sides
    return left, top, right, bottom


class Mask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A region of the picture, as a rectangle or a picture.

    ``rectangle`` is (left, top, right, bottom) in fractions of the picture from its upper left
    corner. ``png`` is a grey PNG file in base64.
    """

    rectangle: tuple[Part, Part, Part, Part] | None = None
    png: Annotated[str, Meta(max_length=2 * _MOST_BYTES)] = ""

    def __post_init__(self) -> None:
        if (self.rectangle is None) == (not self.png):
            raise UsageError("a mask is a rectangle or a grey picture: give one of the two")
        if self.rectangle is None:
            self._pixels()
            return
        left, top, right, bottom = (float(side) for side in corners(self.rectangle))
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise UsageError(
                "a mask's rectangle is left, top, right, bottom in fractions of the picture, 0 <="
                f" left < right <= 1 and 0 <= top < bottom <= 1; got {left:g}, {top:g}, {right:g},"
                f" {bottom:g}"
            )
        force_setattr(self, "rectangle", (left, top, right, bottom))

    @classmethod
    def from_picture(cls, data: bytes) -> Mask:
        """Returns a mask from a PNG file.

        Raises:
            UsageError: it is not a PNG, not grey, or too large. The message says which.
        """
        if len(data) > _MOST_BYTES:
            raise UsageError(
                f"a mask has at most {LARGEST} pixels on a side; this file has {len(data)} bytes"
            )
        return cls(png=base64.b64encode(data).decode())

    @classmethod
    def from_array(cls, values: np.ndarray) -> Mask:
        """Returns a mask from an array. The values (height, width) in [0, 1] are rounded to
        1/255.
        """
        values = np.asarray(values, np.float64)
        if (
            values.ndim != 2
            or not values.size
            or not (np.isfinite(values) & (values >= 0) & (values <= 1)).all()
        ):
            raise UsageError(
                f"a mask is an array (height, width) of values in [0, 1]; got shape {values.shape}"
            )
        buffer = io.BytesIO()
        Image.fromarray(np.round(values * 255).astype(np.uint8)).save(buffer, "PNG")
        return cls.from_picture(buffer.getvalue())

    @classmethod
    def painted(
        cls, areas: Sequence[Sequence[Point]], before: Mask | None = None, adds: bool = True
    ) -> Mask:
        """Returns areas in a picture as a mask.

        Each area is a polygon, given by its corners. Areas are added to another mask, or cut out of
        it.

        Args:
            areas: Corners (x, y) in fractions of the picture from its upper left corner. Parts
                outside the picture are cut off.
            before: The mask to start from; None for an empty one.
            adds: Whether the areas are added to ``before``. If false, they are removed from it.
        """
        values = (
            np.zeros((LARGEST, LARGEST))
            if before is None
            else before.at(LARGEST, LARGEST).astype(np.float64)
        )
        for area in areas:
            if len(area) < 3:
                continue
            fine = Image.new("L", (_FINE * LARGEST, _FINE * LARGEST))
            corners = [(float(x) * fine.width - 0.5, float(y) * fine.height - 0.5) for x, y in area]
            ImageDraw.Draw(fine).polygon(corners, fill=1)
            cover = (
                np.asarray(fine, np.float64).reshape(LARGEST, _FINE, LARGEST, _FINE).mean((1, 3))
            )
            values = np.maximum(values, cover) if adds else values * (1 - cover)
        return cls.from_array(values)

    @property
    def share(self) -> float:
        """The share of the picture that it covers."""
        return float(self.at(1, 1)[0, 0])

    def at(self, height: int, width: int) -> np.ndarray:
        """Returns the share of every grid cell that the mask covers.

        The result is (height, width) float32 in [0, 1].
        """
        if self.rectangle is not None:
            left, top, right, bottom = self.rectangle
            found = (
                _cover(height, np.array([top, bottom]))[:, None, 0]
                * _cover(width, np.array([left, right]))[:, 0]
            )
        else:
            values = self._pixels()
            down, across = (
                _cover(n, np.linspace(0, 1, m + 1))
                for n, m in ((height, len(values)), (width, values.shape[1]))
            )
            found = down @ values @ across.T
        return np.clip(np.round(found, 6), 0, 1).astype(
            np.float32
        )  # rounded, so that all ones average to exactly 1

    def _pixels(self) -> np.ndarray:
        """Returns the values of the picture (height, width) float64 in [0, 1]."""
        try:
            data = base64.b64decode(self.png, validate=True)
            image = Image.open(io.BytesIO(data), formats=["PNG"])
            size, mode = image.size, image.mode
            if max(size) <= LARGEST and mode in ("1", "L"):
                return np.asarray(image.convert("L"), np.float64) / 255
        except (
            OSError,
            ValueError,
            SyntaxError,
            binascii.Error,
            Image.DecompressionBombError,
        ) as error:
            raise UsageError(
                f"this mask is no PNG file: {str(error).splitlines()[0][:200]}"
            ) from error
        raise UsageError(
            f"a mask is a grey PNG (mode L) of at most {LARGEST} x {LARGEST} pixels, white where"
            f" the edit acts; got {size[0]} x {size[1]} of mode {mode}"
        )


def _cover(cells: int, edges: np.ndarray) -> np.ndarray:
    """Returns how much of each of ``cells`` equal cells of [0, 1] lies between neighbouring
    ``edges`` (m + 1,): (cells, m).
    """
    low = np.arange(cells)[:, None] / cells
    overlap = np.minimum(low + 1 / cells, edges[None, 1:]) - np.maximum(low, edges[None, :-1])
    return np.clip(overlap, 0, None) * cells
