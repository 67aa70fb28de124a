"""A cache that is bounded by the bytes of what it holds, for arrays that sessions share.

Streamlit's ``cache_resource`` counts entries, whatever their size: 24 matrices may be 2 MB, or 16
GB.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np


class ArrayCache:
    """The arrays used last, up to so many bytes together. One that is larger by itself is not
    kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._kept: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """What is kept takes so much."""
        with self._lock:
            return sum(array.nbytes for array in self._kept.values())

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of a key, made if it is not kept; read-only, because it is shared."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        array = make()
        array.setflags(write=False)
        with self._lock:
            if array.nbytes <= self.most_bytes:
                self._kept[key] = array
                self._kept.move_to_end(key)
                total = sum(kept.nbytes for kept in self._kept.values())
                while total > self.most_bytes:
                    total -= self._kept.popitem(last=False)[1].nbytes
        return array
