"""Attribute readers: from pictures to labels. A card names the one that knows its images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .errors import UsageError

Reader = Callable[[np.ndarray], dict[str, np.ndarray]]


def find_reader(name: str) -> Reader:
    """The reader of that name: pictures (n, h, w, 3) uint8 -> name of the attribute -> values (n,)."""
    if name == "toyfaces":
        from .toyfaces.reader import read

        return read
    raise UsageError(f"no attribute reader {name!r}; known: toyfaces")
